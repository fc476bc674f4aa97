//! The completions for shells: what clap generates from the flags, and what it does not know. That
//! is the short options of nmap that the command takes (`-oX`), and the arguments of commands.

use clap::{Command, CommandFactory, ValueHint};
use clap_complete::Shell;

use super::args::Args;
use super::exit::{Code, Failure};
use super::foreign;
use super::print;

/// Prints the completions for a shell.
pub fn completions(shell: Shell) -> Result<Code, Failure> {
    let script = script(shell);
    print(|out| {
        out.extend(script.as_bytes());
        Ok(())
    })
}

fn script(shell: Shell) -> String {
    let mut command = Args::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, env!("CARGO_PKG_NAME"), &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = foreign::short_names().fold(script.into_owned(), |script, (short, long)| {
        with_short(shell, &script, short, long)
    });
    match shell {
        Shell::Bash => with_files(&script, &command),
        Shell::Zsh => with_commands(&script, &command),
        _ => script,
    }
}

/// The script with a short name of an option wherever it has the long one: beside it for bash, in a
/// line of its own for zsh and fish.
fn with_short(shell: Shell, script: &str, short: &str, long: &str) -> String {
    // What is written where there is the long name.
    let names = match shell {
        Shell::Bash => vec![
            (format!(" {long} "), format!(" {long} {short} ")),
            (format!(" {long})"), format!(" {long}|{short})")),
        ],
        // + is for a value in the same word or in the next one.
        Shell::Zsh => vec![
            (format!("{long}=["), format!("{short}+[")),
            (format!("{long}["), format!("{short}[")),
        ],
        // -o is for several letters behind one hyphen.
        Shell::Fish => vec![(
            format!(" -l {} ", &long[2..]),
            format!(" -o {} ", &short[1..]),
        )],
        _ => Vec::new(),
    };
    let line = |line: &str| {
        let renamed = names
            .iter()
            .fold(line.to_owned(), |line, (from, to)| line.replace(from, to));
        if shell == Shell::Bash || renamed == line {
            renamed
        } else {
            line.to_owned() + &renamed
        }
    };
    script.split_inclusive('\n').map(line).collect()
}

/// The script for bash with files where a command takes some without an option, which generated
/// functions do not have. An empty reply leaves them to `-o default`, which knows how to quote.
fn with_files(script: &str, command: &Command) -> String {
    let takes_files = |command: &&Command| {
        let mut places = command.get_positionals();
        places.any(|place| place.get_value_hint() == ValueHint::AnyPath)
    };
    let commands = command.get_subcommands().filter(takes_files);
    let commands: Vec<&str> = commands.map(Command::get_name).collect();
    let commands = commands.join("|");
    let name = command.get_name();
    let registered = format!("complete -F _{name} ");
    script.replace(&registered, &format!("complete -F _{name}_or_files "))
        + &format!(
            "
_{name}_or_files() {{
    if [[ $COMP_CWORD -gt 1 && ${{COMP_WORDS[1]}} == @({commands}) && $2 != -* && $3 != -* ]]; then
        COMPREPLY=()
    else
        _{name} \"$@\"
    fi
}}
"
        )
}

/// The script for zsh that knows a command by its name. As generated it takes the first word for a
/// target always, and a command for the second; so there is an empty target before a command.
fn with_commands(script: &str, command: &Command) -> String {
    let commands: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
    let begun = "    local ret=1\n";
    let moved = format!(
        "{begun}    if (( CURRENT > 2 )) && [[ $words[2] == ({}) ]]; then
        words[2]=('' \"$words[2]\")
        (( CURRENT++ ))
    fi
",
        commands.join("|")
    );
    script.replacen(begun, &moved, 1)
}
