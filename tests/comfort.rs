//! What surrounds a scan: settings, presets, completions, the manual page, and what is said before
//! anything is done.

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use simulator::namespace::{in_namespace, skip};
use support::command::{Ran, end_record, json_lines, portreeve, ran, run};

/// The command with the settings of this home folder.
fn at_home(home: &Path, arguments: &str) -> Command {
    let mut command = portreeve(arguments);
    command
        .env_remove("PORTREEVE_CONFIG")
        .env_remove("XDG_CONFIG_HOME")
        .env("HOME", home)
        .current_dir(home);
    command
}

fn start_record(ran: &Ran) -> Value {
    json_lines(&ran.stdout)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no record: {}", ran.stderr))
}

/// As where HOME is another user's: `sudo -u nobody`, a container with HOME=/root.
#[test]
fn settings_that_nobody_asked_for_and_nobody_can_read_are_left_out() {
    let home = tempfile::tempdir().expect("a scratch folder");
    fs::create_dir_all(home.path().join(".config/portreeve")).expect("a folder");
    let file = home.path().join(".config/portreeve/config.toml");
    let scan = "127.0.0.1 -p 1-3 --json";
    // Even root cannot read these.
    let check = |what: &str, warning: &str| {
        let ran = run(at_home(home.path(), scan));
        end_record(&ran.stdout);
        assert!(
            ran.stderr.contains("are left out") && ran.stderr.contains(warning),
            "{what}: {}",
            ran.stderr
        );
        let named = format!("{scan} --config .config/portreeve/config.toml");
        run(at_home(home.path(), &named)).check_refusal(what, 2, "settings cannot be read");
    };
    fs::create_dir(&file).expect("a folder");
    check("a folder", "no regular file");
    fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink("config.toml", &file).expect("a link");
    check("a link to itself", "symbolic links");
    fs::remove_file(&file).expect("removed");
    let made = Command::new("mkfifo").arg(&file).status();
    assert!(made.expect("mkfifo runs").success());
    let ran = run(at_home(home.path(), scan));
    assert!(ran.stderr.contains("no regular file"), "{}", ran.stderr);
    fs::remove_file(&file).expect("removed");
    let ran = run(at_home(home.path(), scan));
    assert_eq!(ran.stderr, "");
    // One that can be read and not understood may exclude something.
    fs::write(&file, b"exclude = \"127.0.0.1\" # \xFF\n").expect("written");
    run(at_home(home.path(), scan)).check_refusal("no UTF-8", 2, "settings cannot be read");
}

#[test]
fn settings_come_from_words_variables_and_files_in_that_order() {
    let home = tempfile::tempdir().expect("a scratch folder");
    fs::create_dir_all(home.path().join(".config/portreeve")).expect("a folder");
    let file = home.path().join(".config/portreeve/config.toml");
    fs::write(
        &file,
        "# mine\nmax-retries = 1\nmax-rate = 500\nmin-timeout = \"50ms\"\n",
    )
    .expect("written");
    let found = |words: &str, rate: Option<&str>| {
        let mut command = at_home(home.path(), &format!("127.0.0.1 -p 1-3 --json {words}"));
        command.envs(rate.map(|rate| ("PORTREEVE_MAX_RATE", rate)));
        let start = start_record(&run(command));
        ["max_retries", "max_rate_per_s", "min_timeout_us"]
            .map(|name| start[name].as_u64().expect("a number"))
    };
    assert_eq!(found("", None), [1, 500, 50_000]);
    assert_eq!(found("", Some("600")), [1, 600, 50_000]);
    assert_eq!(found("--max-rate 700 -T5", Some("600")), [2, 700, 50_000]);
    assert_eq!(found("--config none", None), [10, 10_000, 100_000]);
    let mut verbose = at_home(home.path(), "127.0.0.1 -p 1-3 -v");
    verbose.env("PORTREEVE_MAX_RATE", "600");
    let told = format!(
        "from the variable PORTREEVE_MAX_RATE: --max-rate=600\n\
         from {}: --max-retries=1 --min-timeout=50ms\n",
        file.display()
    );
    assert_eq!(run(verbose).stderr, told);
    assert_eq!(run(at_home(home.path(), "127.0.0.1 -p 1-3")).stderr, "");

    let refused = |text: &str, parts: &[&str]| {
        fs::write(&file, text).expect("written");
        let Ran {
            code,
            stdout,
            stderr,
        } = run(at_home(home.path(), "127.0.0.1 -p 1"));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(
            parts.iter().all(|part| stderr.contains(part)),
            "{parts:?}: {stderr}"
        );
    };
    refused(
        "max_rate = 1\n",
        &[
            "config.toml",
            "\"max_rate\" is no option; \"max-rate\" is one",
        ],
    );
    refused("max-rate = \"fast\"\n", &["config.toml", "fast", "none"]);
    refused(
        "verbose = 1\nquiet = true\n",
        &["--quiet", "--verbose", "comes from the settings"],
    );
    refused("max-rate 5\n", &["config.toml", "line 1"]);
    fs::write(&file, b"\xff\n").expect("written");
    let ran = run(at_home(home.path(), "127.0.0.1 -p 1 --config nowhere.toml"));
    assert!(
        ran.code == Some(2)
            && ran.stderr.contains("nowhere.toml")
            && ran.stderr.contains("--config none"),
        "{}",
        ran.stderr
    );
    let ran = run(at_home(home.path(), "127.0.0.1 -p 1 --config /dev/zero"));
    assert!(
        ran.code == Some(2) && ran.stderr.contains("more than 1 MiB"),
        "{}",
        ran.stderr
    );
    // What only writes asks for no settings.
    assert_eq!(run(at_home(home.path(), "limits")).code, Some(0));
}

#[test]
fn a_checkpoint_keeps_the_settings_that_it_began_with() {
    let home = tempfile::tempdir().expect("a scratch folder");
    fs::write(
        home.path().join("mine.toml"),
        "timing = 5\nexclude-ports = \"7\"\n",
    )
    .expect("written");
    let scan = "127.0.0.1 -p 1-9 --config mine.toml --checkpoint c -oJ a.jsonl -q";
    assert_eq!(run(at_home(home.path(), scan)).code, Some(0));
    let text = fs::read_to_string(home.path().join("c")).expect("a checkpoint");
    assert!(
        text.contains("--max-timeout=300ms") && text.contains("--exclude-ports=7"),
        "{text}"
    );
    let end = end_record(&fs::read_to_string(home.path().join("a.jsonl")).expect("a report"));
    assert_eq!(end["planned"], 8);
}

#[test]
fn what_will_be_done_is_said_before_it_is_done() {
    let words = "10.9.0.0/24 -p 1-100 -T2 --explain";
    let Ran {
        code,
        stdout,
        stderr,
    } = run(portreeve(&format!("{words} --dry-run")));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for part in [
        "25,600 endpoints on 256 addresses",
        "-Pn scans all",
        "never more than 100 attempts a second",
        "at best 4 min 16 s",
        "standard output",
    ] {
        assert!(stdout.contains(part), "{part:?} is not in {stdout}");
    }
    // One after the other none is left out.
    let Ran { stdout, .. } = run(portreeve(
        "10.9.0.0/24 -p 1-100 --sequential --explain --dry-run",
    ));
    assert!(
        stdout.contains("every port of every address is asked"),
        "{stdout}"
    );
    let Ran { stdout, stderr, .. } = run(portreeve("127.0.0.1 -p 1-3 --explain --json"));
    assert!(
        stderr.starts_with("Scanned: 3 endpoints on 1 address")
            && stderr.contains("JSON lines to standard output"),
        "{stderr}"
    );
    assert_eq!(end_record(&stdout)["planned"], 3);
}

#[test]
fn banners_and_notices_are_in_every_report() {
    in_namespace("banners_and_notices_are_in_every_report", || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let listener = TcpListener::bind("127.0.0.1:22").expect("a free port");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream
                .write_all(b"SSH-2.0-x\x1b[31m<&\r\n")
                .expect("it listens");
            let mut heard = String::new();
            std::io::Read::read_to_string(&mut stream, &mut heard).expect("the notice");
            heard
        });
        let mut command = portreeve(
            "127.0.0.1 -p 22-23 --banner --banner-wait 5s -oX a.xml -oJ a.jsonl --output-csv a.csv -oL a.list",
        );
        command
            .args(["--notice", "scan by example.org"])
            .current_dir(folder.path());
        let Ran {
            code,
            stdout,
            stderr,
        } = run(command);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert_eq!(server.join().expect("it ended"), "scan by example.org\r\n");
        assert!(
            stdout.contains("BANNER")
                && stdout.contains(r"SSH-2.0-x\u{1b}[31m<&")
                && !stdout.contains('\x1b'),
            "{stdout}"
        );
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a report");
        assert!(
            read("a.xml")
                .contains(r#"<script id="banner" output="SSH-2.0-x\u{1b}[31m&lt;&amp;\r\n"/>"#),
            "{}",
            read("a.xml")
        );
        assert!(
            read("a.csv").contains(r"SSH-2.0-x\u{1b}[31m<&\r\n"),
            "{}",
            read("a.csv")
        );
        assert!(
            read("a.list").contains("banner tcp 22 127.0.0.1"),
            "{}",
            read("a.list")
        );
        let lines = json_lines(&read("a.jsonl"));
        let finding = lines
            .iter()
            .find(|line| line["port"] == 22)
            .expect("a finding");
        assert_eq!(
            finding["banner_hex"],
            "5353482d322e302d781b5b33316d3c260d0a"
        );
        assert_eq!(end_record(&read("a.jsonl"))["notices"]["connections"], 1);
    });
}

/// What a command prints, which has nothing to complain of.
fn printed(words: &str) -> String {
    let ran = run(portreeve(words));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words}");
    ran.stdout
}

#[test]
fn shells_can_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&format!("completions {shell}"));
        assert!(script.contains("max-rate"), "{shell}");
    }
    let zsh = printed("completions zsh");
    for part in ["'-oX+[", "'*-iL+[", "'-Pn[", "(limits|resume|"] {
        assert!(zsh.contains(part), "{part}");
    }
    let fish = printed("completions fish");
    for part in [" -o oX ", " -o iL ", " -o Pn "] {
        assert!(fish.contains(part), "{part}");
    }
}

#[test]
fn bash_completes_options_and_files() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    fs::write(folder.path().join("a.checkpoint"), "").expect("written");
    fs::write(folder.path().join("script"), printed("completions bash")).expect("written");
    let check = |typed: &str, expect: &[&str]| {
        let output = Command::new("bash")
            .args(["--norc", "-c", COMPLETE, "bash"])
            .args(typed.split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap_or_else(|error| skip(&format!("bash cannot be run: {error}")));
        let found = ran(output);
        let words: Vec<&str> = found.stdout.split_whitespace().collect();
        assert_eq!(words, expect, "{typed} {}", found.stderr);
    };
    let limits = "--max-fds --max-rate --max-retries --max-timeout --max-unanswered";
    let limits: Vec<&str> = limits.split(' ').collect();
    check("--max-", &limits);
    let formats = ["-oA", "-oG", "-oJ", "-oL", "-oN", "-oX"];
    check("-o", &formats);
    check("merge a.jsonl -o", &formats);
    check("::1 -oX a.", &["a.checkpoint"]);
    check("-iL a.", &["a.checkpoint"]);
    // Nothing leaves it to bash, which knows files.
    check("resume ", &[]);
    check("resume --", &["--help"]);
    check("res", &["resume"]);
}

/// Asks bash, which has read the completions, what the last of these words may become.
const COMPLETE: &str = r#"
source ./script
function=$(complete -p portreeve | sed 's/.* -F \([^ ]*\).*/\1/')
COMP_WORDS=(portreeve "$@"); COMP_CWORD=$#
$function portreeve "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}" | sort"#;

#[test]
fn the_manual_has_every_option() {
    let manual = printed("man");
    let options = printed("--help");
    let long = options
        .split_whitespace()
        .filter(|word| word.starts_with("--") && word.len() > 2);
    for option in long.map(|word| word.trim_end_matches([',', '.', ';', ')'])) {
        assert!(
            manual.contains(&option.replace('-', "\\-")),
            "{option} is not in the manual"
        );
    }
    assert!(
        manual.starts_with(".ie") || manual.starts_with(".TH"),
        "{manual:.100}"
    );
    let codes = ".SH \"EXIT CODES\"\n.TP\n\\fB0\\fR\n";
    assert!(manual.contains(codes), "{manual}");
    assert!(printed("man experiment").contains("portreeve\\-experiment"));
    assert_eq!(run(portreeve("man nothing")).code, Some(2));
}
