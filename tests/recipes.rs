//! The recipes of README.md and docs/RECIPES.md, run one after the other as they stand there, in a
//! namespace where their targets are this machine. Those that would take hours are ended after
//! seconds, as a user might.

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use support::command::ran;

const LONGEST_S: &str = "6";

/// The commands of a page's table, as a shell takes them.
fn recipes(page: &str) -> Vec<String> {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
    let command = |line: &str| {
        Some(
            line.strip_prefix("| ")?
                .split_once("| `portreeve ")?
                .1
                .strip_suffix("` |")?
                .to_owned(),
        )
    };
    text.lines()
        .filter_map(command)
        .map(|command| format!("portreeve {}", command.replace("\\|", "|")))
        .collect()
}

#[test]
fn every_recipe_works_as_it_is_written() {
    let [ten, more] = ["README.md", "docs/RECIPES.md"].map(recipes);
    assert!(ten.len() == 10 && more.len() > 15, "{ten:?} {more:?}");
    in_namespace("every_recipe_works_as_it_is_written", || {
        for route in [
            "-4 route add local 192.0.2.0/24 dev lo",
            "-4 route add local 10.0.0.0/16 dev lo",
            "-6 route add local 2001:db8::/64 dev lo",
        ] {
            let done = Command::new("ip")
                .args(route.split(' '))
                .status()
                .unwrap_or_else(|error| skip(&format!("ip cannot be run: {error}")));
            assert!(done.success(), "{route}");
        }
        for port in [22, 80, 443, 8_081] {
            let listener = TcpListener::bind(("::", port)).expect("a free port");
            // Until the test ends: every connection is taken, so that no queue is ever full.
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
        let _reader = UdpSocket::bind(("::", 443)).expect("a free port");
        let folder = tempfile::tempdir().expect("a scratch folder");
        fs::write(
            folder.path().join("hosts.txt"),
            "192.0.2.7 # the server\n192.0.2.16/30\n",
        )
        .expect("written");
        let ours = Path::new(env!("CARGO_BIN_EXE_portreeve"))
            .parent()
            .expect("a folder")
            .to_owned();
        let path = std::env::join_paths(std::iter::once(ours).chain(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        )));
        let path = path.expect("a path");
        for recipe in ten.iter().chain(&more) {
            let mut command = Command::new("timeout");
            command
                .args([LONGEST_S, "sh", "-c", recipe])
                .env("PATH", &path)
                .env("PORTREEVE_CONFIG", "none");
            let output = command
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .output();
            let ran = ran(
                output.unwrap_or_else(|error| skip(&format!("timeout cannot be run: {error}")))
            );
            // Of sixteen parts only one is there to be joined.
            let expected = if recipe.contains("merge part-") {
                &[3][..]
            } else {
                &[0, 124]
            };
            assert!(
                ran.code.is_some_and(|code| expected.contains(&code)),
                "{recipe}: {:?} {} {}",
                ran.code,
                ran.stdout,
                ran.stderr
            );
            assert!(
                !ran.stderr.contains("error") && !ran.stderr.contains("not found"),
                "{recipe}: {}",
                ran.stderr
            );
            assert!(
                recipe.contains(" -q")
                    || recipe.contains('>')
                    || !ran.stdout.is_empty()
                    || ran.code == Some(124),
                "{recipe} says nothing"
            );
        }
        for made in [
            "scan.xml",
            "scan.checkpoint",
            "part-3.jsonl",
            "limits.svg",
            "portreeve.1",
            "stats.jsonl",
            "ports.txt",
        ] {
            assert!(
                fs::metadata(folder.path().join(made)).is_ok_and(|data| data.len() > 0),
                "{made} is missing"
            );
        }
    });
}
