//! The command on a terminal: its keys, and the mode in which it leaves the terminal, whatever
//! happens to it.
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use simulator::namespace::in_namespace;
use simulator::tun::{Reply, TunNetwork};
use support::command::{portreeve, signal, wait};
use support::terminal::Terminal;

/// Whether the terminal passes keys on one by one, without echo.
fn is_key_by_key(terminal: &File) -> bool {
    // SAFETY: an all-zero termios is a valid one, and tcgetattr only writes it.
    let modes = unsafe {
        let mut mode: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut mode), 0);
        mode.c_lflag & (libc::ICANON | libc::ECHO)
    };
    assert!(
        modes == 0 || modes == libc::ICANON | libc::ECHO,
        "half a mode"
    );
    modes == 0
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never comes to that: {what}");
        std::thread::yield_now();
    }
}

/// Whether a signal has stopped the child.
fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("its state");
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('T'))
}

/// The shell on a terminal, with `$P` for the command.
fn shell(terminal: &Terminal, script: &str) -> Child {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .env("P", env!("CARGO_BIN_EXE_portreeve"))
        .env("PORTREEVE_CONFIG", "none");
    terminal.spawn(shell)
}

/// Nobody reads the screen here, and nothing is written when it is full.
fn draw(terminal: &Terminal) {
    let mut screen = terminal.screen.try_clone().expect("a descriptor");
    std::thread::spawn(move || while screen.read(&mut [0; 4_096]).is_ok_and(|count| count > 0) {});
}

const UNTIL_KEYS: &str = "until stty -a <$T | grep -q -e -icanon; do :; done";

/// A second scan neither takes the first one's mode for the usual one, nor its keys.
#[test]
fn two_scans_on_one_terminal_leave_it_as_it_was() {
    in_namespace("two_scans_on_one_terminal_leave_it_as_it_was", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        for second in [
            // It outlives the first one, …
            "$P 10.9.1.2 -p 1-9 --timeout 1 --max-retries 1",
            // … or comes after one that was killed.
            "kill -9 $!; wait $!; $P 10.9.1.2 -p 1 --timeout 1 --max-retries 0",
        ] {
            let terminal = Terminal::new();
            let other = terminal.open();
            draw(&terminal);
            let first = "$P 10.9.1.2 -p 1-9 --timeout 1 --max-retries 0";
            let script = format!("T=$(tty); {first} <$T & {UNTIL_KEYS}; {second}; wait; exit 0");
            let mut shell = shell(&terminal, &script);
            assert_eq!(wait(&mut shell), Some(0));
            assert!(!is_key_by_key(&other), "{second}");
        }
    });
}

#[test]
fn a_scan_that_is_suspended_gives_the_terminal_back_until_it_goes_on() {
    in_namespace(
        "a_scan_that_is_suspended_gives_the_terminal_back_until_it_goes_on",
        || {
            let _network = TunNetwork::start(|_, _| Reply::Silence);
            let mut terminal = Terminal::new();
            let other = terminal.open();
            let mut child = terminal.spawn(portreeve("10.9.1.2 -p 1-9 --timeout 60"));
            let mut screen = terminal.screen.try_clone().expect("a descriptor");
            until("it listens", || is_key_by_key(&other));
            for _ in 0..2 {
                terminal.screen.write_all(b"\x1A").expect("Ctrl-Z");
                until("it stops", || is_stopped(&child));
                assert!(!is_key_by_key(&other), "while it is suspended");
                signal(&child, libc::SIGCONT);
                until("it listens again", || is_key_by_key(&other));
            }
            terminal.screen.write_all(b"d").expect("a key");
            let mut drawn = Vec::new();
            // The progress is printed, with a line end; the line that is redrawn has none.
            until("it answers", || {
                let mut bytes = [0; 4_096];
                let count = screen.read(&mut bytes).expect("it draws");
                drawn.extend(&bytes[..count]);
                String::from_utf8_lossy(&drawn).contains("no estimate yet\r\n")
            });
            draw(&terminal);
            signal(&child, libc::SIGTERM);
            assert_eq!(wait(&mut child), Some(130));
            assert!(!is_key_by_key(&other), "after SIGTERM");
        },
    );
}

#[test]
fn what_was_typed_ahead_is_left_to_the_shell() {
    let mut terminal = Terminal::new();
    let mut other = terminal.open();
    terminal.screen.write_all(b"ls d\nx").expect("typed");
    draw(&terminal);
    let mut child = terminal.spawn(portreeve("127.0.0.1 -p 1-300 --max-rate 1000"));
    assert_eq!(wait(&mut child), Some(0));
    let mut line = [0; 5];
    other.read_exact(&mut line).expect("it is still there");
    assert_eq!(&line, b"ls d\n");
    assert!(!is_key_by_key(&other));
}

/// A report that names the terminal is the only one there.
#[test]
fn a_terminal_by_its_name_is_standard_output() {
    let mut terminal = Terminal::new();
    let other = terminal.open();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", other.as_raw_fd()));
    let name = name.expect("its name");
    let command = portreeve(&format!("127.0.0.1 -p 1 -q -oG {}", name.display()));
    let mut child = terminal.spawn(command);
    assert_eq!(wait(&mut child), Some(0));
    let mut bytes = [0; 4_096];
    let count = terminal.screen.read(&mut bytes).expect("a report");
    let text = String::from_utf8_lossy(&bytes[..count]);
    assert!(
        text.starts_with("# ") && !text.contains("planned ="),
        "{text}"
    );
}

/// What a short scan draws where TERM and NO_COLOR are these, on a terminal of so many columns.
fn drawn(term: Option<&str>, no_color: bool, columns: u16) -> String {
    let mut command = portreeve("127.0.0.1 -p 1-300 --max-rate 1000");
    command.env_remove("TERM").env("LC_ALL", "C");
    command.envs(term.map(|term| ("TERM", term)));
    command.envs(no_color.then_some(("NO_COLOR", "1")));
    let (text, code) = Terminal::of_size(columns, 24).drawn(command);
    assert_eq!(code, Some(0));
    assert!(text.is_ascii() && text.contains("300 planned ="), "{text}");
    text
}

#[test]
fn a_terminal_gets_what_it_says_that_it_can() {
    const BOLD: &str = "\u{1b}[1m";
    const REDRAWN: &str = "\r\u{1b}[2K";
    for (term, no_color, has_color, has_progress) in [
        (Some("xterm"), false, true, true),
        (Some("xterm"), true, false, true),
        (Some("dumb"), false, false, false),
        (Some(""), false, false, false),
        (None, false, false, false),
    ] {
        let text = drawn(term, no_color, 80);
        assert_eq!(
            (text.contains(BOLD), text.contains(REDRAWN)),
            (has_color, has_progress),
            "TERM={term:?}, NO_COLOR {no_color}: {text:?}"
        );
        assert!(has_progress || !text.contains('\u{1b}'), "{text:?}");
    }
    // The line that is redrawn must fit into one.
    let text = drawn(Some("xterm"), true, 20);
    let lines = text.split(REDRAWN);
    let longest = lines.map(|line| line.split("\r\n").next().unwrap_or("").len());
    assert!(longest.max() <= Some(20), "{text:?}");
}

/// The bars of a chart are the only letters of ours beyond ASCII.
#[test]
fn a_chart_has_letters_that_the_locale_has() {
    for (locale, bar) in [("C.UTF-8", '█'), ("C", '#'), ("", '#')] {
        let mut command = portreeve("experiment 127.0.0.1 -p 1-3 --repeat 1 --sweep max-fds=1,2");
        command.env_remove("LC_ALL").env_remove("LC_CTYPE");
        command.env("LANG", locale);
        let (text, code) = Terminal::of_size(80, 24).drawn(command);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(bar), "{locale}: {text}");
        assert!(bar == '█' || text.is_ascii(), "{locale}: {text}");
    }
}
