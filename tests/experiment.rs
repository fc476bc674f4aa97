//! `portreeve experiment` as a user runs it, in a namespace of its own: what it makes, measures,
//! writes and says.

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use simulator::namespace::in_namespace;
use simulator::tun::{Reply, TunNetwork};
use support::command::{Ran, json_lines, portreeve, run, signal, wait};

#[test]
fn without_a_target_it_shows_something_true() {
    in_namespace("without_a_target_it_shows_something_true", || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let csv = file("a.csv");
        let json = file("a.jsonl");
        let svg = file("a.svg");
        let sweeps = "--sweep max-fds=64,1k --sweep fresh-sockets=no,yes --repeat 1";
        let Ran {
            code,
            stdout,
            stderr,
        } = run(portreeve(&format!(
            "experiment {sweeps} --csv {csv} --json {json} --svg {svg}"
        )));
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        assert!(
            stderr.contains("2,048 endpoints on 128 addresses")
                && stderr.contains("4 settings, 4 runs"),
            "{stderr}"
        );
        assert!(
            stdout.contains(
                "The same verdicts in all 4 runs: 128 open, 1,664 closed, 256 filtered, 0 unscanned"
            ),
            "{stdout}"
        );
        assert!(
            !stdout.contains('█') && !stdout.contains('\x1b'),
            "no chart into a pipe: {stdout}"
        );

        let runs = json_lines(&fs::read_to_string(json).expect("a file"));
        let settings: Vec<_> = runs
            .iter()
            .map(|run| (run["max-fds"].as_u64(), run["fresh-sockets"].as_u64()))
            .collect();
        assert_eq!(
            settings,
            [
                (Some(64), Some(0)),
                (Some(64), Some(1)),
                (Some(1_000), Some(0)),
                (Some(1_000), Some(1))
            ]
        );
        for run in &runs {
            let number = |name: &str| {
                run[name]
                    .as_f64()
                    .unwrap_or_else(|| panic!("no {name} in {run}"))
            };
            assert_eq!(
                (number("open"), number("filtered"), number("own_errors")),
                (128.0, 256.0, 0.0),
                "{run}"
            );
            assert!(
                number("peak_sockets") <= number("max-fds") && number("cpu_us_per_probe") > 0.0,
                "{run}"
            );
            assert_eq!(run["verdicts"], runs[0]["verdicts"]);
        }
        assert!(
            runs[0]["sockets_opened"].as_u64() < runs[1]["sockets_opened"].as_u64(),
            "kept sockets are fewer"
        );

        let csv = fs::read_to_string(csv).expect("a file");
        let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert!(
            lines.len() == 5 && lines.iter().all(|line| line.len() == lines[0].len()),
            "{csv}"
        );
        assert_eq!(&lines[0][..3], ["round", "max-fds", "fresh-sockets"]);
        assert!(fs::read_to_string(svg).expect("a file").contains("max-fds"));
    });
}

#[test]
fn rate_controllers_are_compared_by_their_names() {
    in_namespace("rate_controllers_are_compared_by_their_names", || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let csv = folder.path().join("a.csv");
        let json = folder.path().join("a.jsonl");
        let Ran {
            code,
            stdout,
            stderr,
        } = run(portreeve(&format!(
            "experiment 127.0.0.1 -p 1-200 --sweep controller=adaptive,aimd,fixed --repeat 1 \
             --csv {} --json {}",
            csv.display(),
            json.display()
        )));
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let names = ["adaptive", "aimd", "fixed"];

        let rows = stdout
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let rows: Vec<&str> = rows.filter(|first| names.contains(first)).collect();
        assert_eq!(rows, names, "{stdout}");

        let csv = fs::read_to_string(csv).expect("a file");
        assert!(csv.starts_with("round,controller,"), "{csv}");
        let fields: Vec<_> = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1))
            .collect();
        assert_eq!(fields, names.map(Some));

        let runs = json_lines(&fs::read_to_string(json).expect("a file"));
        let values: Vec<_> = runs.iter().map(|run| run["controller"].as_str()).collect();
        assert_eq!(values, names.map(Some));
    });
}

#[test]
fn descriptors_that_others_take_cost_time_and_change_no_answer() {
    in_namespace(
        "descriptors_that_others_take_cost_time_and_change_no_answer",
        || {
            let arguments = "experiment 127.0.0.1 -p 1-500 --sweep fresh-sockets=no,yes --repeat 1 --assume-nofile 64";
            let free = run(portreeve(arguments));
            let crowded = run(portreeve(&format!("{arguments} --occupy-fds 45")));
            assert_eq!(
                (free.code, crowded.code),
                (Some(0), Some(0)),
                "{}{}",
                crowded.stdout,
                crowded.stderr
            );
            let same =
                "The same verdicts in all 2 runs: 0 open, 500 closed, 0 filtered, 0 unscanned";
            assert!(
                free.stdout.contains(same) && free.stdout.contains("none\n"),
                "{}",
                free.stdout
            );
            assert!(
                crowded.stdout.contains(same) && crowded.stdout.contains(" EMFILE\n"),
                "{}",
                crowded.stdout
            );
        },
    );
}

#[test]
fn a_limit_that_changes_the_answer_is_called_out() {
    in_namespace("a_limit_that_changes_the_answer_is_called_out", || {
        let _network = TunNetwork::with_delays(|_, _| (Reply::Accept, Duration::from_millis(300)));
        let arguments =
            "experiment 10.9.1.2 -p 1-10 --max-retries 0 --sweep timeout=50ms,2s --repeat 1";
        let Ran { code, stdout, .. } = run(portreeve(arguments));
        assert_eq!(code, Some(3), "{stdout}");
        assert!(
            stdout.contains("The verdicts differ: a limit changed the answer."),
            "{stdout}"
        );
        assert!(
            stdout.contains("10 open, 0 closed, 0 filtered, 0 unscanned: timeout 2s (run 1)"),
            "{stdout}"
        );
        assert!(
            stdout.contains("0 open, 0 closed, 10 filtered, 0 unscanned: timeout 50ms (run 1)"),
            "{stdout}"
        );
    });
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    in_namespace("ctrl_c_keeps_what_was_measured", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        let folder = tempfile::tempdir().expect("a scratch folder");
        let csv = folder.path().join("a.csv");
        let arguments = format!(
            "experiment 10.9.1.2 -p 1 --timeout 60 --sweep max-fds=1 --csv {}",
            csv.display()
        );
        let mut child = portreeve(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
        // Told after the handlers are set.
        std::io::BufRead::read_line(&mut stderr, &mut String::new()).expect("a line");
        signal(&child, libc::SIGINT);
        assert_eq!(wait(&mut child), Some(130));
        assert_eq!(
            fs::read_to_string(csv).expect("the file"),
            "",
            "no run came to its end"
        );
    });
}

#[test]
fn what_cannot_be_done_is_said() {
    for (arguments, code, text) in [
        ("experiment --sweep max-fds=0", 2, "write 1 or more"),
        (
            "experiment --sweep speed=1",
            2,
            "\"speed\" cannot be varied",
        ),
        (
            "experiment --sweep controller=cubic",
            2,
            "\"cubic\" is no rate controller; write controller=adaptive,aimd,fixed",
        ),
        (
            "experiment --sweep max-fds=1 --sweep max-fds=2",
            2,
            "both --sweep vary the same",
        ),
        ("experiment -p 80", 2, "no target"),
        ("experiment -6", 2, "no target"),
        (
            "experiment --csv /tmp/portreeve-one --svg /tmp/../tmp/portreeve-one",
            2,
            "a file of its own",
        ),
        ("experiment --json -", 2, "a file each"),
        (
            "experiment --assume-nofile 99999999999",
            2,
            "--assume-nofile 99999999999",
        ),
        (
            "experiment --csv /nonexistent/file",
            4,
            "/nonexistent/file cannot be written",
        ),
        (
            "experiment 127.0.0.1 -p 1 --sweep max-fds=1 --repeat 1 --csv /dev/full",
            4,
            "/dev/full cannot be written",
        ),
    ] {
        let ran = run(portreeve(arguments));
        ran.check_refusal(arguments, code, text);
        assert_eq!(
            ran.stdout.contains("The same verdicts"),
            arguments.ends_with("/dev/full"),
            "the table is told all the same"
        );
    }
}
