//! A first target that reads like a command: `limts`, or `limits` behind an option. As a host it
//! would be looked up, and with a search domain perhaps be scanned. It knows words, no targets.

use clap::CommandFactory;

use super::args::{Args, ScanArgs};
use super::exit::Failure;

/// Asks back if the first target is or nearly is a command's name. Ports that were chosen show that
/// a host is meant.
pub fn check_command(args: &ScanArgs) -> Result<(), Failure> {
    let chooses_ports = args.ports.is_some() || args.top_ports.is_some() || args.fast;
    let word = args.targets.first().filter(|_| !chooses_ports);
    let Some((word, command)) = word.and_then(|word| Some((word, near_command(word)?))) else {
        return Ok(());
    };
    let question = if *word == command {
        format!("a command comes first; did you mean portreeve {command}?")
    } else {
        format!("{word:?} is no command; did you mean {command}?")
    };
    Err(Failure::Usage(format!(
        "{question} To scan a host of that name, say which ports: portreeve -p PORTS {word}"
    )))
}

/// The command that a word is near to: a letter is wrong, missing, too many, or has changed places
/// with its neighbour; in long names, two of them.
fn near_command(word: &str) -> Option<String> {
    let is_near = |name: &str| {
        let most = match name.len() {
            0..4 => 0,
            4..8 => 1,
            _ => 2,
        };
        strsim::osa_distance(name, word) <= most
    };
    let mut command = Args::command();
    // This adds clap's own: help.
    command.build();
    command
        .get_subcommands()
        .map(clap::Command::get_name)
        .find(|name| is_near(name))
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_taken_for_commands() {
        for (word, command) in [
            ("limits", Some("limits")),
            ("limts", Some("limits")),
            ("hlep", Some("help")),
            ("verison", Some("version")),
            ("merg", Some("merge")),
            ("dif", Some("diff")),
            ("resum", Some("resume")),
            ("experimnets", Some("experiment")),
            ("man", Some("man")),
            ("mac", None),
            ("mail", None),
            ("host", None),
            ("limits.example", None),
            ("10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(near_command(word).as_deref(), command, "{word:?}");
        }
    }
}
