//! The command's own: flags, outputs, progress, signals, exit codes. It uses only what the library shows everybody.

mod args;
mod exit;
mod experiment;
mod keys;
mod outputs;
mod progress;
mod request;
mod signals;
mod throttle;

use std::io::{self, IsTerminal, Write};

use clap::Parser;
use portreeve::engine::{self, Scanner};
use portreeve::plan::Plan;
use portreeve::report::text::described;
use portreeve::report::{Exit, Summary};
use portreeve::scan::State;

use args::{Args, Command};
use exit::{Code, Failure};
use request::Request;
use throttle::Throttle;

/// Parses, runs, and maps the result to an exit code.
pub fn main() -> Code {
    let arguments: Vec<_> = std::env::args_os().collect();
    let args = match Args::try_parse_from(args::nmap_spellings(arguments.clone())) {
        Ok(args) => args,
        Err(message) => {
            let code = if message.use_stderr() { Code::Usage } else { Code::Found };
            // Nobody is left to tell when the terminal itself is gone.
            let _ = message.print();
            return code;
        }
    };
    match run(args, arguments.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()) {
        Ok(code) => code,
        Err(Failure::ClosedPipe) => Code::Found,
        Err(failure) => {
            tell(&format!("error: {failure}"));
            failure.code()
        }
    }
}

fn run(args: Args, arguments: Vec<String>) -> Result<Code, Failure> {
    match &args.command {
        Some(Command::Limits { json, max_fds }) => return limits(*json, *max_fds),
        Some(Command::Experiment(args)) => return experiment::run(args),
        None => {}
    }
    let signals = signals::listen().map_err(Failure::Signals)?;
    let Request { plan, options, services } = request::from_args(&args)?;
    if !args.quiet {
        plan.warnings().iter().for_each(|warning| tell(&format!("warning: {warning}")));
    }
    if args.dry_run {
        return dry_run(&plan, args.verbose > 0);
    }
    // Failing to raise it leaves the limit there is; the cap follows from that.
    let _ = engine::raise_descriptor_limit();
    let bar = progress::bar(args.quiet);
    let mut outputs = outputs::open(&args, &services, arguments, &bar)?;
    let rate = options.settings.rate;
    let mut scanner = Scanner::new(plan, options)?;
    if let (Some(address), false) = (scanner.metrics_address(), args.quiet) {
        tell(&format!("metrics at http://{address}/metrics"));
    }
    let stop = scanner.stop_handle();
    let throttle = Throttle::new(scanner.rate_handle(), rate);
    signals::stop_with(&stop).map_err(Failure::Signals)?;
    let reads_stdin = args.scan.input_file.iter().any(|file| file.as_os_str() == "-");
    outputs.show_progress(progress::Line::new(bar, signals, stop, throttle, keys::Keys::listen(!reads_stdin && !args.quiet)));
    let summary = scanner.run(&mut outputs)?;
    if outputs.nobody_left() {
        return Err(Failure::ClosedPipe);
    }
    Ok(code(&summary))
}

/// Prints what this machine allows.
fn limits(json: bool, max_fds: Option<u32>) -> Result<Code, Failure> {
    let found = engine::nofile().map_err(|error| Failure::Engine(engine::Error::Limits(error)))?;
    // As a scan would begin.
    let _ = engine::raise_descriptor_limit();
    let machine = engine::machine(found, max_fds).map_err(|error| Failure::Engine(engine::Error::Limits(error)))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json { machine.write_json(&mut out) } else { machine.write_text(&mut out) };
    written.and_then(|()| out.flush()).map(|()| Code::Found).map_err(|error| Failure::from_write("standard output", error))
}

fn code(summary: &Summary) -> Code {
    match summary.exit {
        Exit::Interrupted => Code::Interrupted,
        Exit::Incomplete | Exit::ReportFailed => Code::Incomplete,
        Exit::Complete if summary.stats.in_state(State::Open) > 0 => Code::Found,
        Exit::Complete => Code::NothingOpen,
    }
}

/// Prints what would be probed: how much, and with `each` every endpoint in the order of probing.
fn dry_run(plan: &Plan, each: bool) -> Result<Code, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let hint = if each { "" } else { "; -v lists them" };
    let written = writeln!(out, "{}; no probe was sent{hint}", described(&plan.outline()))
        .and_then(|()| plan.endpoints().take_while(|_| each).try_for_each(|endpoint| writeln!(out, "{endpoint}")))
        .and_then(|()| out.flush());
    written.map(|()| Code::Found).map_err(|error| Failure::from_write("standard output", error))
}

/// One line to standard error. Nobody is left to tell when that fails.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether standard output takes colours: a terminal, and no NO_COLOR (no-color.org).
fn wants_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
