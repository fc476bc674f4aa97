//! The command as a user runs it: its output, its exit code, its JSON; with a descriptor limit
//! where one is wanted.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The command with these arguments, separated by spaces.
pub fn portreeve(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .env_remove("NO_COLOR")
        .env("PORTREEVE_CONFIG", "none");
    // What ignores signals when it begins goes on ignoring them, and a shell's background has it
    // so.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGHUP] {
        with_signal(&mut command, signal, libc::SIG_DFL);
    }
    command
}

/// Has a signal ignored (`SIG_IGN`), or not, when the command begins.
pub fn with_signal(command: &mut Command, signal: i32, action: libc::sighandler_t) {
    let set = move || match set_signal(signal, action) {
        libc::SIG_ERR => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: signal(2) is async-signal-safe, and nothing else happens between fork and exec.
    unsafe { command.pre_exec(set) };
}

fn set_signal(signal: i32, action: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: only the two actions that are no functions are given.
    unsafe { libc::signal(signal, action) }
}

/// The same under `ulimit -n`: soft and hard.
pub fn with_descriptor_limit(mut command: Command, limit: u64) -> Command {
    let limit = libc::rlimit {
        rlim_cur: limit,
        rlim_max: limit,
    };
    let set = move || match setrlimit(&limit) {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: setrlimit(2) is async-signal-safe, and nothing else happens between fork and exec.
    unsafe { command.pre_exec(set) };
    command
}

fn setrlimit(limit: &libc::rlimit) -> i32 {
    // SAFETY: setrlimit only reads the struct behind the reference.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }
}

/// Runs it to its end, in a folder.
pub fn run_in(folder: &Path, arguments: &str) -> Ran {
    let mut command = portreeve(arguments);
    command.current_dir(folder);
    run(command)
}

/// What came of a run.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails the test unless it ended with this code and said this among its errors.
    pub fn check_refusal(&self, arguments: &str, code: i32, part: &str) {
        assert!(
            self.code == Some(code) && self.stderr.contains(part),
            "{arguments}: {:?} {}",
            self.code,
            self.stderr
        );
    }
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Ran {
    command.output().map(ran).expect("the command runs")
}

pub fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// JSON lines, each of them whole.
pub fn json_lines(text: &str) -> Vec<Value> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is not whole"
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

/// The end record, after checking that it adds up.
pub fn end_record(text: &str) -> Value {
    let lines = json_lines(text);
    let first = lines.first().expect("a first line");
    let last = lines.last().expect("a last line");
    assert_eq!(
        (&first["type"], &last["type"]),
        (&"start".into(), &"end".into())
    );
    let count = |state: &str| {
        last[state]
            .as_u64()
            .unwrap_or_else(|| panic!("{state} in {last}"))
    };
    let sum: u64 = ["open", "closed", "filtered", "unscanned"]
        .into_iter()
        .map(count)
        .sum::<u64>()
        + last["not_open"].as_u64().unwrap_or(0);
    assert_eq!(count("planned"), sum, "{last}");
    last.clone()
}

/// Ends with the child's exit code; a child that hangs is ended and fails the test.
pub fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status.code();
        }
        if Instant::now() > deadline {
            child.kill().expect("the child can be ended");
            panic!("the command hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a child that this test started.
pub fn signal(child: &Child, signal: i32) {
    // SAFETY: kill(2) has no preconditions; the child is ours and not yet waited for, so its id is
    // its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}
