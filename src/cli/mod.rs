//! The command's own: flags, outputs, progress, signals, exit codes. It uses only what the library
//! shows everybody.

mod advice;
mod args;
mod checkpoint;
mod exit;
mod experiment;
mod files;
mod keys;
mod outputs;
mod progress;
mod request;
mod settings;
mod shard;
mod signals;
mod throttle;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use portreeve::engine::{self, Options, Scanner};
use portreeve::plan::Plan;
use portreeve::report::explain::{Ahead, explain};
use portreeve::report::merge::{Joined, MergeError, Part};
use portreeve::report::text::described;
use portreeve::report::{Exit, Summary, counted, grouped, printable};
use portreeve::scan::State;

use args::{Args, Command, MergeArgs, OutputArgs};
use checkpoint::{CheckpointFile, LoadError, Run, Unfinished};
use exit::{Code, Failure};
use request::Request;
use settings::{Refusal, Typed};
use throttle::Throttle;

/// Parses, runs, and maps the result to an exit code.
pub fn main() -> Code {
    let arguments: Vec<_> = std::env::args_os().collect();
    let done = match settings::parse(args::nmap_spellings(arguments.clone()), &|name| {
        std::env::var_os(name)
    }) {
        Ok(typed) => run(typed, &arguments),
        Err(Refusal::Setting(failure)) => Err(failure),
        Err(Refusal::Clap(message)) => {
            if message.use_stderr() {
                // It repeats what was typed.
                tell(message.render().to_string().trim_end());
                return Code::Usage;
            }
            // Nobody is left to tell when the terminal itself is gone.
            let _ = message.print();
            return Code::Found;
        }
    };
    match done {
        Ok(code) => code,
        Err(Failure::ClosedPipe) => Code::Found,
        Err(failure) => {
            tell(&format!("error: {failure}"));
            failure.code()
        }
    }
}

fn run(Typed { args, words }: Typed, arguments: &[OsString]) -> Result<Code, Failure> {
    match &args.command {
        Some(Command::Limits { json, max_fds }) => limits(*json, *max_fds),
        Some(Command::Experiment(args)) => experiment::run(args),
        Some(Command::Resume { file }) => resume(file),
        Some(Command::Merge(args)) => merge(args, arguments),
        Some(Command::Completions { shell }) => print(|out| {
            clap_complete::generate(*shell, &mut Args::command(), env!("CARGO_PKG_NAME"), out);
            Ok(())
        }),
        Some(Command::Man { command }) => print(|out| manual(command.as_deref()).render(out)),
        None => begun_before(&args, &words)
            .and_then(|(file, unfinished)| scan(args, &words, arguments, file, unfinished)),
    }
}

/// The page of a command, or of all.
fn manual(command: Option<&str>) -> clap_mangen::Man {
    let mut all = Args::command();
    // Names a command's page after both: portreeve-experiment.
    all.build();
    clap_mangen::Man::new(
        command
            .and_then(|name| all.find_subcommand(name))
            .unwrap_or(&all)
            .clone(),
    )
}

/// Writes to standard output what is made as a whole.
fn print(make: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<Code, Failure> {
    let mut text = Vec::new();
    let written = make(&mut text).and_then(|()| io::stdout().lock().write_all(&text));
    written
        .map(|()| Code::Found)
        .map_err(|error| Failure::from_write("standard output", error))
}

/// Goes on with a scan that was broken off.
fn resume(path: &Path) -> Result<Code, Failure> {
    let refused =
        |what: String| Failure::Usage(format!("{} cannot be resumed: {what}", path.display()));
    let (file, unfinished) =
        CheckpointFile::open(path).map_err(|error| refused(error.to_string()))?;
    let Some(unfinished) = unfinished else {
        tell(&format!(
            "{}: that scan came to its end; nothing is left to do",
            path.display()
        ));
        return Ok(Code::Found);
    };
    let directory = &unfinished.run.directory;
    std::env::set_current_dir(directory).map_err(|error| {
        let what = format!(
            "it was begun in {}, and its files are named from there: {error}",
            directory.display()
        );
        refused(what + "; put that folder back, or scan from the beginning")
    })?;
    let arguments: Vec<OsString> = unfinished
        .run
        .arguments
        .iter()
        .map(OsString::from)
        .collect();
    let args = Args::try_parse_from(args::nmap_spellings(arguments.clone()))
        .map_err(|error| refused(error.to_string()))?;
    scan(args, &arguments, &arguments, Some(file), Some(unfinished))
}

/// The checkpoint's file, and what is in it if this very command line has begun that before and not
/// finished: whoever starts it again, be it a person or an engine that runs failed tasks once more,
/// wants the rest of it.
fn begun_before(
    args: &Args,
    arguments: &[OsString],
) -> Result<(Option<CheckpointFile>, Option<Unfinished>), Failure> {
    let Some(path) = &args.checkpoint else {
        return Ok((None, None));
    };
    let name = path.display();
    let refused = |what: &str| Failure::Usage(format!("--checkpoint {name}: {what}"));
    let opened = match CheckpointFile::open(path) {
        Err(error) if error.is_missing() => CheckpointFile::create(path).map(|file| (file, None)),
        other => other,
    };
    let (file, unfinished) = opened.map_err(|error| match error {
        LoadError::Write(error) => Failure::Write {
            name: name.to_string(),
            error,
        },
        LoadError::InUse => refused(&error.to_string()),
        error => refused(&format!("{error}; give another name, or remove it")),
    })?;
    let Some(unfinished) = unfinished else {
        return Ok((Some(file), None));
    };
    let run = &unfinished.run;
    let is_same = arguments.iter().skip(1).map(|word| word.to_str()).eq(run
        .arguments
        .iter()
        .skip(1)
        .map(|word| Some(word.as_str())))
        && std::env::current_dir().is_ok_and(|here| here == run.directory);
    let is_same = is_same
        && args.shard.map_or(Ok(true), |wanted| {
            request::shard(wanted).map(|shard| shard == run.shard())
        })?;
    if !is_same {
        return Err(refused(&format!(
            "another scan is in it, not finished: `portreeve resume {name}` goes on with that; remove it to begin this one"
        )));
    }
    Ok((Some(file), Some(unfinished)))
}

/// Scans, from the beginning or from where another process was. `words` are the arguments together
/// with what was set elsewhere.
fn scan(
    mut args: Args,
    words: &[OsString],
    arguments: &[OsString],
    file: Option<CheckpointFile>,
    unfinished: Option<Unfinished>,
) -> Result<Code, Failure> {
    let signals = signals::listen().map_err(Failure::Signals)?;
    if let Some(Unfinished { run, .. }) = &unfinished {
        args.scan.seed = run.seed;
        args.shard = Some(shard::Wanted::Shard(run.shard()));
    }
    let mut lookups = Vec::new();
    let mut resolve = |name: &str| {
        let found = unfinished.as_ref().map_or_else(
            || engine::resolve(name),
            |unfinished| unfinished.run.lookup(name),
        )?;
        lookups.push((name.to_owned(), found.clone()));
        Ok(found)
    };
    let Request {
        plan,
        options,
        services,
    } = request::from_args(&args, &mut resolve)?;
    let quiet = args.output.quiet;
    if !quiet {
        plan.warnings()
            .iter()
            .for_each(|warning| tell(&format!("warning: {}", advice::warning(warning))));
    }
    // Failing to raise it leaves the limit there is; the cap follows from that.
    let _ = engine::raise_descriptor_limit();
    if args.dry_run {
        return dry_run(plan, options, &args);
    }
    if unfinished
        .as_ref()
        .is_some_and(|unfinished| unfinished.run.plan != plan.digest())
    {
        let what = "what is to be scanned is not the same any more (a file of targets, or the names of services, has changed)";
        return Err(Failure::Usage(format!(
            "the scan cannot be resumed: {what}; put it back, or scan from the beginning"
        )));
    }
    let (known, from) = unfinished
        .map(|Unfinished { run, from }| (run, from))
        .unzip();
    let checkpoint = file.as_ref().map(|file| file.path().to_owned());
    if let (Some(path), Some(from), false) = (&checkpoint, &from, quiet) {
        let done = grouped(from.summary.stats.settled());
        let all = counted(plan.len(), "endpoint", "endpoints");
        let files = known
            .iter()
            .flat_map(|run| &run.outputs)
            .filter(|output| output.path.as_os_str() != "-");
        let files: Vec<String> = files
            .map(|output| output.path.display().to_string())
            .collect();
        let reports = if files.is_empty() {
            String::new()
        } else {
            format!("; reports go on in {}", files.join(", "))
        };
        tell(&format!(
            "going on where {} was left: {done} of {all} are done{reports}",
            path.display()
        ));
    }
    let run = file
        .is_some()
        .then(|| Run::new(words, &plan, lookups))
        .transpose()?;
    let bar = progress::bar(quiet);
    let kept = file
        .as_ref()
        .map(|file| [file.path().to_owned(), file.next_path()]);
    let taken = kept
        .iter()
        .flatten()
        .chain(&args.scan.input_file)
        .chain(&args.scan.exclude_file);
    let to = outputs::Destination {
        output: &args.output,
        stats: args.stats.as_deref(),
        taken: taken.map(PathBuf::as_path).collect(),
        is_kept: file.is_some(),
        listed: None,
        services: &services,
        bar: &bar,
    };
    let mut outputs = outputs::open(
        &to,
        &without_name(arguments),
        known.as_ref().map(|run| run.outputs.as_slice()),
    )?;
    if let (Some(file), Some(run)) = (file, run) {
        outputs.keep(file, run);
    }
    let rate = options.settings.rate;
    let mut scanner = match from {
        Some(from) => Scanner::resume(plan, options, from)?,
        None => Scanner::new(plan, options)?,
    };
    if let (Some(address), false) = (scanner.metrics_address(), quiet) {
        tell(&format!("metrics at http://{address}/metrics"));
    }
    if args.explain {
        tell(explained(&scanner, &args.output).trim_end());
    }
    let stop = scanner.stop_handle();
    let throttle = Throttle::new(scanner.rate_handle(), rate);
    signals::stop_with(&stop).map_err(Failure::Signals)?;
    let reads_stdin = args
        .scan
        .input_file
        .iter()
        .any(|file| file.as_os_str() == "-");
    outputs.show_progress(progress::Line::new(
        bar.clone(),
        signals,
        stop,
        throttle,
        keys::Keys::listen(!reads_stdin && !quiet),
    ));
    let summary = scanner.run(&mut outputs);
    if let Some(path) =
        checkpoint.filter(|path| !quiet && scanner.summary().stopped.is_some() && path.exists())
    {
        tell(&format!("to go on: portreeve resume {}", path.display()));
    }
    let summary = summary?;
    if outputs.nobody_left() {
        return Err(Failure::ClosedPipe);
    }
    Ok(code(&summary))
}

/// Joins what shards have written.
fn merge(MergeArgs { files, output }: &MergeArgs, arguments: &[OsString]) -> Result<Code, Failure> {
    let read = |path: &PathBuf| match path.as_os_str() == "-" {
        true => Part::read("standard input", io::stdin().lock()),
        false => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| MergeError::Read {
                name: name.clone(),
                error,
            })?;
            Part::read(&name, BufReader::new(file))
        }
    };
    let mut parts = Vec::new();
    for path in files {
        match read(path) {
            Ok(part) => parts.push(part),
            // A shard that was broken off at once must not take the others with it.
            Err(error @ MergeError::Untold { .. }) if files.len() > 1 => {
                tell(&format!("warning: {error}"))
            }
            Err(error) => return Err(error.into()),
        }
    }
    let joined = Joined::new(parts)?;
    joined
        .lacks()
        .iter()
        .for_each(|lack| tell(&format!("warning: {lack}")));
    let listed = joined.states();
    let is_only_counted = |state: &State| {
        outputs::show(output).is_some_and(|asked| asked.lists(*state)) && !listed.lists(*state)
    };
    let only_counted: Vec<&str> = State::ALL
        .into_iter()
        .filter(is_only_counted)
        .map(State::as_str)
        .collect();
    if !only_counted.is_empty() {
        let states = only_counted.join(", ");
        tell(&format!(
            "warning: not every file lists what is {states}; the scans have to be run with --show, too"
        ));
    }
    let services = request::services();
    let bar = progress::bar(true);
    let taken = files.iter().map(PathBuf::as_path).collect();
    let to = outputs::Destination {
        output,
        stats: None,
        taken,
        is_kept: false,
        listed: Some(listed),
        services: &services,
        bar: &bar,
    };
    let mut outputs = outputs::open(&to, &without_name(arguments), None)?;
    let summary = joined.tell(&mut outputs).map_err(engine::Error::Report)?;
    Ok(code(&summary))
}

fn without_name(arguments: &[OsString]) -> Vec<String> {
    arguments
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Prints what this machine allows.
fn limits(json: bool, max_fds: Option<u32>) -> Result<Code, Failure> {
    let found = engine::nofile().map_err(|error| Failure::Engine(engine::Error::Limits(error)))?;
    // As a scan would begin.
    let _ = engine::raise_descriptor_limit();
    let machine = engine::machine(found, max_fds)
        .map_err(|error| Failure::Engine(engine::Error::Limits(error)))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if json {
        machine.write_json(&mut out)
    } else {
        machine.write_text(&mut out)
    };
    written
        .and_then(|()| out.flush())
        .map(|()| Code::Found)
        .map_err(|error| Failure::from_write("standard output", error))
}

fn code(summary: &Summary) -> Code {
    match summary.exit {
        Exit::Interrupted => Code::Interrupted,
        Exit::Incomplete | Exit::ReportFailed => Code::Incomplete,
        Exit::Complete if summary.stats.in_state(State::Open) > 0 => Code::Found,
        Exit::Complete => Code::NothingOpen,
    }
}

/// What the scan will do, in sentences.
fn explained(scanner: &Scanner, output: &OutputArgs) -> String {
    let outline = scanner.plan().outline();
    let notice = scanner
        .options()
        .notice
        .as_deref()
        .map(String::from_utf8_lossy);
    let begin = scanner.beginning(&outline);
    let reports = outputs::described(output);
    explain(&Ahead {
        plan: scanner.plan(),
        begin: &begin,
        notice: notice.as_deref(),
        reports: &reports,
    })
}

/// Prints what would be probed: how much, in sentences if those are asked for, and with `-v` every
/// endpoint in the order of probing.
fn dry_run(plan: Plan, options: Options, args: &Args) -> Result<Code, Failure> {
    let each = args.output.verbose > 0;
    let print = |plan: &Plan, text: &str| {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = write!(out, "{text}")
            .and_then(|()| {
                plan.endpoints()
                    .take_while(|_| each)
                    .try_for_each(|endpoint| writeln!(out, "{endpoint}"))
            })
            .and_then(|()| out.flush());
        written
            .map(|()| Code::Found)
            .map_err(|error| Failure::from_write("standard output", error))
    };
    if args.explain {
        // It sends nothing before it runs.
        let scanner = Scanner::new(
            plan,
            Options {
                metrics: None,
                ..options
            },
        )?;
        return print(scanner.plan(), &explained(&scanner, &args.output));
    }
    let hint = if each { "" } else { "; -v lists them" };
    print(
        &plan,
        &format!("{}; no probe was sent{hint}\n", described(&plan.outline())),
    )
}

/// Lines to standard error, without anything that would act on a terminal: file names, arguments
/// and settings may come from anybody. Nobody is left to tell when that fails.
fn tell(lines: &str) {
    let lines: Vec<String> = lines.split('\n').map(printable).collect();
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
}

/// Whether standard output takes colours: a terminal, and no NO_COLOR (no-color.org).
fn wants_color() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
