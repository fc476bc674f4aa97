//! The samples of the pages: what follows `$ portreeve …` is what the command prints, but for
//! its numbers. In a namespace where ports 22 and 8080 of this machine are open.
//! `PORTREEVE_BLESS=1` writes what is printed now into the pages.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use support::command::with_descriptor_limit;

const PAGES: [&str; 3] = ["README.md", "docs/OUTPUT.md", "docs/TROUBLESHOOTING.md"];

/// What code is set off by in the pages.
const INDENT: &str = "    ";

/// A page in pieces: commands with what they print, and what is between.
enum Piece {
    Prose(Vec<String>),
    Sample(String, Vec<String>),
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::Prose(Vec::new())];
    for line in text.lines() {
        let code = line.strip_prefix(INDENT);
        if let Some(command) = code.and_then(|code| code.strip_prefix("$ ")) {
            pieces.push(Piece::Sample(command.to_owned(), Vec::new()));
            continue;
        }
        match pieces.last_mut().expect("a first piece") {
            Piece::Sample(_, printed) if code.is_some() || line.is_empty() => {
                printed.push(code.unwrap_or_default().to_owned());
            }
            Piece::Sample(..) => pieces.push(Piece::Prose(vec![line.to_owned()])),
            Piece::Prose(lines) => lines.push(line.to_owned()),
        }
    }
    pieces.into_iter().flat_map(without_last_blanks).collect()
}

/// Blank lines behind a sample belong to the page.
fn without_last_blanks(piece: Piece) -> [Piece; 2] {
    match piece {
        Piece::Sample(command, mut printed) => {
            let last = printed.iter().rposition(|line| !line.is_empty());
            let blanks = printed.split_off(last.map_or(0, |last| last + 1));
            [Piece::Sample(command, printed), Piece::Prose(blanks)]
        }
        prose => [prose, Piece::Prose(Vec::new())],
    }
}

/// What a command prints, standard error included, as a shell shows it.
fn printed(command: &str) -> Vec<String> {
    let ours = Path::new(env!("CARGO_BIN_EXE_portreeve"))
        .parent()
        .expect("a folder");
    let path = format!(
        "{}:{}",
        ours.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let shown = command.replace("cargo run --release --", "portreeve");
    let mut command = Command::new("timeout");
    command
        .args(["30", "sh", "-c", &format!("exec 2>&1; {shown}")])
        .env("PATH", path)
        .env("PORTREEVE_CONFIG", "none")
        .stdin(Stdio::null());
    // So that the same limit decides everywhere.
    let output = with_descriptor_limit(command, 1_024)
        .output()
        .unwrap_or_else(|error| skip(&format!("timeout cannot be run: {error}")));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// A line without what differs from run to run: numbers, their units, the width of columns.
fn form(line: &str) -> String {
    let is_number = |word: &str| word.starts_with(|letter: char| letter.is_ascii_digit());
    let mut words: Vec<String> = Vec::new();
    let mut was_number = false;
    for word in line.split_whitespace() {
        let is_unit = ["us", "us,", "us;", "ms", "ms,", "ms;", "s", "s,", "s;"].contains(&word);
        if is_unit && was_number {
            words.push("TIME".into());
        } else {
            words.push(without_numbers(word));
        }
        was_number = is_number(word);
    }
    words.join(" ")
}

fn without_numbers(word: &str) -> String {
    let mut form = String::new();
    let mut letters = word.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_followed = letters.peek().is_some_and(char::is_ascii_digit);
        let is_within = ['.', ','].contains(&letter) && is_followed && form.ends_with('#');
        if !letter.is_ascii_digit() && !is_within {
            form.push(letter);
        } else if !form.ends_with('#') {
            form.push('#');
        }
    }
    form
}

/// The forms of the lines. Those of findings come in random order. That a socket happens to meet
/// itself is chance.
fn forms(lines: &[String]) -> Vec<String> {
    let is_chance = |line: &&String| line.contains("met one of our own");
    let lines = lines.iter().filter(|line| !is_chance(line));
    let mut forms: Vec<String> = lines.map(|line| form(line)).collect();
    let findings = forms.iter().position(String::is_empty);
    forms[..findings.unwrap_or(0)].sort();
    forms
}

/// Runs the samples of a page: the page as it should be, and which samples are not so.
fn run(text: &str) -> (String, Vec<String>) {
    let mut page: Vec<String> = Vec::new();
    let mut different = Vec::new();
    for piece in pieces(text) {
        let (command, sample) = match piece {
            Piece::Prose(lines) => {
                page.extend(lines);
                continue;
            }
            Piece::Sample(command, sample) => (command, sample),
        };
        page.push(format!("{INDENT}$ {command}"));
        let now = printed(&command);
        let is_so = forms(&now) == forms(&sample);
        let lines = if is_so { &sample } else { &now };
        page.extend(lines.iter().map(|line| match line.is_empty() {
            true => String::new(),
            false => format!("{INDENT}{line}"),
        }));
        if !is_so {
            different.push(format!("$ {command}\n{}", now.join("\n")));
        }
    }
    (page.join("\n") + "\n", different)
}

#[test]
fn every_sample_is_what_the_command_prints() {
    in_namespace("every_sample_is_what_the_command_prints", || {
        for port in [22, 8_080] {
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        for name in PAGES {
            let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let text = fs::read_to_string(&path).expect("a page");
            let (page, different) = run(&text);
            assert!(page.contains("    $ "), "{name} has no samples");
            if std::env::var_os("PORTREEVE_BLESS").is_some() {
                fs::write(&path, page).expect("written");
                continue;
            }
            assert!(
                different.is_empty(),
                "{name}: these commands print something else now; PORTREEVE_BLESS=1 accepts it\n{}",
                different.join("\n\n")
            );
            assert_eq!(
                page, text,
                "{name}: a page that is taken to pieces is the same again"
            );
        }
    });
}

#[test]
fn forms_have_no_numbers() {
    let check = |line: &str, expect: &str| assert_eq!(form(line), expect);
    check(
        "8080/tcp   open    syn-ack  27 us",
        "#/tcp open syn-ack # TIME",
    );
    check(
        "Complete in 1.5 s, 16,304 probes/s",
        "Complete in # TIME # probes/s",
    );
    check("127.0.0.1,,8080,tcp,27,1", "#,,#,tcp,#");
    check("16 open", "# open");
}
