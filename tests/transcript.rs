//! The first minutes of a new user, as docs/FIRST-MINUTES.md has them: on terminals of several
//! widths and into a pipe, in a namespace whose hosts are this machine.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use portreeve::report::wrapped;
use simulator::namespace::{in_namespace, skip};
use support::command::{portreeve, run};
use support::terminal::Terminal;

const COMMANDS: [&str; 10] = [
    "",
    "192.0.2.1",
    "192.0.2.1 -p 22,23,8080",
    "192.0.2.1 -p 22 --banner -q",
    "192.0.2.0/27 -F",
    "192.0.2.0/27 -F --dry-run",
    "limts",
    "192.0.2.300",
    "192.0.2.1 --prots 22",
    "192.0.2.1 -sV -oX scan.xml",
];

const HEAD: &str = "# The first minutes

What a new user may type first, on terminals with 24 rows and into a pipe. `<n>` and `<time>` stand
for what differs from run to run. Terminals that understand no escape sequences (`TERM=dumb`), have
no colours (NO_COLOR) or no letters beyond ASCII (the C locale) show the same words.

`cargo test --test transcript` compares this page with what the command does;
`PORTREEVE_BLESS=1` accepts a change.
";

#[test]
fn the_first_minutes_are_as_documented() {
    in_namespace("the_first_minutes_are_as_documented", || {
        make_hosts();
        let usual = [("TERM", "xterm"), ("LC_ALL", "C.UTF-8")];
        let [narrow, normal, wide] = [40, 80, 200].map(|columns| on_terminal(columns, &usual));
        let page = [
            ("80 columns", settled(&normal, 80)),
            ("40 columns", settled(&narrow, 40)),
            ("200 columns", settled(&wide, 200)),
            ("Into a pipe", settled(&into_pipe(), usize::MAX)),
        ];
        compare(&page);

        assert!(colors(&normal) > 10, "a terminal has colours");
        let dumb = on_terminal(80, &[("TERM", "dumb")]);
        let uncolored = on_terminal(80, &[("TERM", "xterm"), ("NO_COLOR", "1")]);
        let ascii = on_terminal(80, &[("TERM", "xterm"), ("LC_ALL", "C")]);
        assert!(dumb.iter().all(|text| !text.contains('\u{1b}')), "{dumb:?}");
        assert_eq!(colors(&uncolored), 0, "{uncolored:?}");
        assert!(ascii.iter().all(|text| text.is_ascii()), "{ascii:?}");
        for texts in [dumb, uncolored, ascii] {
            assert_eq!(settled(&texts, 80), page[0].1);
        }
    });
}

/// 32 addresses, twelve of them with one to six services.
fn make_hosts() {
    let route = "-4 route add local 192.0.2.0/24 dev lo".split(' ');
    let done = Command::new("ip").args(route).status();
    let done = done.unwrap_or_else(|error| skip(&format!("ip cannot be run: {error}")));
    assert!(done.success());
    for host in 1..=12 {
        for port in &[22, 8_080, 80, 443, 5_900, 3_306][..1 + host % 6] {
            let listener = TcpListener::bind(format!("192.0.2.{host}:{port}"));
            let listener = listener.expect("a free port");
            let greeting: &[u8] = if *port == 22 {
                b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"
            } else {
                b""
            };
            std::thread::spawn(move || {
                // Who scans has often gone.
                let greet = |mut stream: std::net::TcpStream| stream.write_all(greeting);
                listener
                    .incoming()
                    .flatten()
                    .for_each(|stream| drop(greet(stream)));
            });
        }
    }
}

/// What each command draws on a terminal of so many columns.
fn on_terminal(columns: u16, environment: &[(&str, &str)]) -> Vec<String> {
    let drawn = |words: &str| {
        let mut command = portreeve(words);
        command.env_remove("TERM").env_remove("LC_ALL");
        command.envs(environment.iter().copied());
        let (text, _) = Terminal::of_size(columns, 24).drawn(command);
        for line in shown(&text).lines() {
            let has_room = line.chars().count() <= columns.into() || !line.trim().contains(' ');
            assert!(has_room, "{columns} columns: {line}");
        }
        text
    };
    COMMANDS.map(drawn).into()
}

/// What each command prints, and then what it says on standard error.
fn into_pipe() -> Vec<String> {
    let printed = |words: &str| {
        let ran = run(portreeve(words));
        ran.stdout + &ran.stderr
    };
    COMMANDS.map(printed).into()
}

/// How many changes of colour there are.
fn colors(texts: &[String]) -> usize {
    let is_color = |part: &&str| {
        part.split_once('m')
            .is_some_and(|(code, _)| !code.contains(char::is_alphabetic))
    };
    texts
        .iter()
        .map(|text| text.split("\u{1b}[").skip(1).filter(is_color).count())
        .sum()
}

/// What is left on the screen: a line from its last beginning, without escape sequences.
fn shown(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let lines = text.split('\n').map(|line| {
        let last = line.rsplit('\r').next().unwrap_or_default();
        let mut parts = last.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_owned();
        let behind = |part: &str| {
            part.trim_start_matches(|letter: char| !letter.is_alphabetic())[1..].to_owned()
        };
        first + &parts.map(behind).collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The commands and what they show, as code of a page, without what differs from run to run.
fn settled(texts: &[String], columns: usize) -> String {
    let mut page = String::new();
    for (command, text) in COMMANDS.iter().zip(texts) {
        page += format!("\n    $ portreeve {command}").trim_end();
        page += "\n";
        for line in without_chance(&shown(text), columns).lines() {
            page += format!("    {line}").trim_end();
            page += "\n";
        }
    }
    page
}

/// The same text whatever the seed and the clock were. Lines that hold numbers of this run are
/// broken anew.
fn without_chance(text: &str, columns: usize) -> String {
    let varies = |line: &str| {
        line.contains(MET_ITSELF) || VARYING.iter().any(|begin| line.starts_with(begin))
    };
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut() {
            Some(last) if varies(last) && line.starts_with("  ") => *last += &line[1..],
            _ => lines.push(line.into()),
        }
    }
    lines.retain(|line| !line.contains(MET_ITSELF));
    let is_found = |line: &String| line.starts_with("open ");
    for found in lines.chunk_by_mut(|one, other| is_found(one) && is_found(other)) {
        found.sort();
    }
    let fixed = |line: &String| match varies(line) {
        true => wrapped(&without_numbers(line), columns),
        false => without_time(line),
    };
    let lines: Vec<String> = lines.iter().map(fixed).collect();
    lines.join("\n")
}

/// What lines begin with that hold numbers of this run.
const VARYING: [&str; 3] = ["Complete in ", "Round trips: ", "3,200 endpoints on "];
/// Told now and then of a machine that scans itself.
const MET_ITSELF: &str = "may have met one of our own";
const UNITS: [&str; 3] = ["us", "ms", "s"];

fn is_number(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit())
}

fn without_numbers(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let core = word.trim_end_matches([',', ';', ')']);
        let end = &word[core.len()..];
        let core = match core {
            number if is_number(number) => "<n>",
            unit if UNITS.contains(&unit) => {
                words.pop();
                "<time>"
            }
            "retry" => "retries",
            other => other,
        };
        words.push(format!("{core}{end}"));
    }
    words.join(" ")
}

/// A row of a table without the round trip at its end.
fn without_time(line: &str) -> String {
    let is_time = |(number, unit): (&str, &str)| is_number(number) && UNITS.contains(&unit);
    match line.rsplit_once("  ") {
        Some((row, last)) if last.split_once(' ').is_some_and(is_time) => format!("{row}  <time>"),
        _ => line.into(),
    }
}

fn compare(page: &[(&str, String)]) {
    let mut text = HEAD.to_owned();
    for (title, transcript) in page {
        text += &format!("\n## {title}\n{transcript}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FIRST-MINUTES.md");
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        fs::write(&path, &text).expect("a writable checkout");
    }
    assert_eq!(
        text,
        fs::read_to_string(&path).expect("the page"),
        "PORTREEVE_BLESS=1 accepts it"
    );
}
