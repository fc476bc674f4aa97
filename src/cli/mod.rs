//! The command: flags, outputs, progress, signals, exit codes. It uses only the library's public
//! interface.
//!
//! - From words to values: `args` (flags), `foreign` (other scanners' flags), `settings`
//!   (environment, file and presets), `request` (values), `credentials` (dropped), `misspelt`
//!   (commands). Nothing behind `request` knows flags.
//! - The work: `scan` (behind `lookups`), `merge` and `diff` (which read `inputs`),
//!   `experiment`, `manual`, `completions`.
//! - The reports: `opening`, `outputs`, `files`, `stdout`, `spill`, and `checkpoint` to continue
//!   later; `durable` locks and flushes files.
//! - During a scan: `progress`, `keys`, `signals`, `throttle`; what `terminal`s can show.
//! - Before all: `randomness`. Exit codes and errors: `exit`, `advice`.

mod advice;
mod args;
mod checkpoint;
mod completions;
mod credentials;
mod diff;
mod durable;
mod exit;
mod experiment;
mod files;
mod foreign;
mod inputs;
mod keys;
mod lookups;
mod manual;
mod merge;
mod misspelt;
mod opening;
mod outputs;
mod progress;
mod randomness;
mod remaining;
mod request;
mod scan;
mod settings;
mod shard;
mod signals;
mod spill;
mod stdout;
mod terminal;
mod throttle;
mod values;

use std::ffi::OsString;
use std::io::{self, Write};

use portreeve::engine;
use portreeve::report::printable;

use credentials::without_credentials;
use exit::{Code, Failure};
use request::Request;
use settings::{Refusal, Typed};
use stdout::Stdout;

/// Parses, runs, and maps the result to an exit code.
pub fn main() -> Code {
    // First of all: the settings are files, too.
    if engine::has_borrowed_rights() {
        return fail(&Failure::BorrowedRights);
    }
    randomness::draw_keys();
    signals::outlive_limits();
    let arguments: Vec<_> = std::env::args_os().collect();
    let environment = |name: &str| std::env::var_os(name);
    let done = match settings::parse(arguments.clone(), &environment) {
        Ok(typed) => run(typed, &arguments),
        Err(Refusal::Setting(failure)) => Err(failure),
        Err(Refusal::Clap(message)) => return refuse(&message),
    };
    match done {
        Ok(code) => code,
        Err(Failure::ClosedPipe) => Code::Success,
        Err(failure) => fail(&failure),
    }
}

/// Tells why the command failed.
fn fail(failure: &Failure) -> Code {
    tell(&format!("error: {failure}"));
    failure.code()
}

/// Prints a usage error, or the help that was asked for.
fn refuse(message: &clap::Error) -> Code {
    if message.use_stderr() {
        // It may repeat what was typed.
        tell(message.render().to_string().trim_end());
        return Code::Usage;
    }
    // If the terminal is gone, there is nobody left to tell.
    let _ = message.print();
    Code::Success
}

fn run(typed: Typed, arguments: &[OsString]) -> Result<Code, Failure> {
    match Request::new(typed, arguments)? {
        Request::Scan(request) => scan::run(&request),
        Request::Resume(file) => scan::resume(&file),
        Request::Merge(request) => merge::run(&request),
        Request::Diff(request) => diff::run(&request),
        Request::Experiment(request) => experiment::run(*request),
        Request::Limits { json, max_fds } => limits(json, max_fds),
        Request::Completions(shell) => completions::completions(shell),
        Request::Manual(command) => manual::page(command.as_deref()),
        Request::Version => manual::version(),
    }
}

/// Prints what this machine allows.
fn limits(json: bool, max_fds: Option<u32>) -> Result<Code, Failure> {
    let found = engine::nofile().ok();
    // As a scan does.
    let _ = engine::raise_descriptor_limit();
    let machine = engine::machine(found, max_fds);
    print(|out| {
        if json {
            return machine.write_json(out);
        }
        let mut text = Vec::new();
        machine.write_text(&mut text)?;
        out.write_all(terminal::fitted(&String::from_utf8_lossy(&text)).as_bytes())
    })
}

/// Writes a whole text to standard output.
fn print(make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<Code, Failure> {
    let mut text = Vec::new();
    let written = make(&mut text).and_then(|()| Stdout::default().write_all(&text));
    written
        .map(|()| Code::Success)
        .map_err(|error| Failure::from_write("standard output", error))
}

/// Writes lines to standard error, escaped and wrapped for a terminal and without passwords: file
/// names, arguments and settings may come from anybody. If that fails, there is nobody left to
/// tell.
fn tell(lines: &str) {
    let lines = without_credentials(lines);
    let lines: Vec<String> = lines.split('\n').map(printable).collect();
    let lines = terminal::fitted_to_errors(&lines.join("\n"));
    let _ = writeln!(io::stderr(), "{lines}");
}
