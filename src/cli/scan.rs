//! A scan, from the request to the exit code: from its beginning, or continued from a checkpoint.
//! It knows no flags.

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use portreeve::engine::{self, Options, Scanner, StopHandle};
use portreeve::plan::{Plan, Warning};
use portreeve::report::explain::{Ahead, LOOKED_AT, explain};
use portreeve::report::text::described;
use portreeve::report::{Checkpoint, counted, grouped};
use portreeve::scan::{Reason, State};

use super::checkpoint::{CheckpointFile, LoadError, Run, Unfinished};
use super::exit::{Code, Failure};
use super::keys::Keys;
use super::lookups::{INTERRUPTED, known, look_up};
use super::opening::{self, Destination};
use super::outputs::Outputs;
use super::request::{Action, Drawn, OutputRequest, ScanRequest};
use super::settings::Added;
use super::signals::Signals;
use super::stdout::{Stdout, is_stdout};
use super::throttle::Throttle;
use super::{advice, progress, settings, signals, tell, terminal};

/// The names that were looked up, and their addresses.
type Lookups = Vec<(String, Vec<SocketAddr>)>;

/// What is told of user names and passwords in URLs.
const NO_CREDENTIALS: &str = "note: user names and passwords in URLs are not used, and no report \
                              or checkpoint keeps them; other users see them while this runs";

/// What is told of a scan that was stopped for it.
const NO_MEMORY: &str = "error: no memory is left for the rest of this scan; raise the limit of \
                         memory (ulimit -v), or scan less at a time (--shard)";

/// The checkpoint of a scan, if it has one.
#[derive(Default)]
struct Kept {
    /// The file that checkpoints are written to.
    file: Option<CheckpointFile>,
    /// The scan to be continued.
    unfinished: Option<Unfinished>,
}

/// Scans from the beginning, or continues what this very command line has begun.
pub fn run(request: &ScanRequest) -> Result<Code, Failure> {
    let kept = match &request.action {
        Action::Scan {
            checkpoint: Some(path),
        } => begun_before(path, request)?,
        _ => Kept::default(),
    };
    scan(request, kept)
}

/// Continues a scan that was interrupted.
pub fn resume(path: &Path) -> Result<Code, Failure> {
    let refused =
        |what: String| Failure::Usage(format!("{} cannot be resumed: {what}", path.display()));
    let (file, unfinished) =
        CheckpointFile::open(path).map_err(|error| refused(error.to_string()))?;
    let Some(unfinished) = unfinished else {
        tell(&format!(
            "{}: that scan came to its end; nothing is left to do",
            path.display()
        ));
        return Ok(Code::Success);
    };
    let directory = &unfinished.run.directory;
    std::env::set_current_dir(directory).map_err(|error| {
        refused(format!(
            "it was begun in {}, and its files are named from there: {error}; \
             put that folder back, or scan from the beginning",
            directory.display()
        ))
    })?;
    let arguments: Vec<OsString> = unfinished
        .run
        .arguments
        .iter()
        .map(OsString::from)
        .collect();
    let typed =
        settings::parse_kept(arguments.clone()).map_err(|error| refused(error.to_string()))?;
    let request = ScanRequest::new(typed, &arguments)?;
    scan(
        &request,
        Kept {
            file: Some(file),
            unfinished: Some(unfinished),
        },
    )
}

/// Opens the checkpoint's file, with its scan if this very command line has begun that and not
/// finished it: whoever starts it again, a person or a system that repeats failed tasks, wants the
/// rest of it.
fn begun_before(path: &Path, request: &ScanRequest) -> Result<Kept, Failure> {
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
    if let Some(unfinished) = &unfinished
        && !is_same(&unfinished.run, request)?
    {
        return Err(refused(&format!(
            "another scan is in it, not finished: `portreeve resume {name}` goes on with that; remove it to begin this one"
        )));
    }
    Ok(Kept {
        file: Some(file),
        unfinished,
    })
}

/// Whether a run was begun with the same words, in the same folder, for the same shard.
fn is_same(run: &Run, request: &ScanRequest) -> Result<bool, Failure> {
    let words = request.words.iter().skip(1).map(|word| word.to_str());
    let known = run.arguments.iter().skip(1).map(|word| Some(word.as_str()));
    let is_here = || std::env::current_dir().is_ok_and(|here| here == run.directory);
    if !words.eq(known) || !is_here() {
        return Ok(false);
    }
    let shard = request.plan.shard()?;
    Ok(shard.is_none_or(|shard| shard == run.shard()))
}

fn scan(request: &ScanRequest, kept: Kept) -> Result<Code, Failure> {
    let mut signals = signals::listen().map_err(Failure::Signals)?;
    let stop = StopHandle::default();
    if request.takes_stdin && !request.outputs.quiet {
        tell("no target is named: reading targets from standard input");
    }
    if request.outputs.verbose {
        request.added.iter().for_each(|added| tell(&taken(added)));
    }
    let (plan, lookups) = match plan(request, kept.unfinished.as_ref(), &mut signals, &stop) {
        Err(failure @ Failure::Plan(_)) if stop.is_stopped() => {
            tell(&format!("error: {failure}"));
            return Ok(Code::Interrupted);
        }
        plan => plan?,
    };
    // What is left of the scan is not all of it.
    let kept = if stop.is_stopped() {
        Kept::default()
    } else {
        kept
    };
    let quiet = request.outputs.quiet;
    if request.had_credentials && !quiet {
        tell(NO_CREDENTIALS);
    }
    let is_told = |warning: &&Warning| matches!(warning, Warning::Unresolved { error, .. } if error == INTERRUPTED);
    for warning in plan.warnings().iter().filter(|warning| !is_told(warning)) {
        // Results are missing that were asked for.
        let matters = warning.is_loss() && !matches!(warning, Warning::OtherFamily { .. });
        if matters || !quiet {
            tell(&advice::warning_line(warning));
        }
    }
    // If it fails, the limit stays as it is, and the cap follows from it.
    let _ = engine::raise_descriptor_limit();
    match request.action {
        Action::DryRun { list } => dry_run(plan, request, list),
        Action::Scan { .. } => probe(request, plan, lookups, kept, signals, stop),
    }
}

/// Says which options were not typed, and where they came from.
fn taken(Added { place, words }: &Added) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    format!("from {place}: {}", words.join(" "))
}

/// Builds the plan, with the addresses that names have now, or had when the scan began.
fn plan(
    request: &ScanRequest,
    unfinished: Option<&Unfinished>,
    signals: &mut Signals,
    stop: &StopHandle,
) -> Result<(Plan, Lookups), Failure> {
    let builder = request.plan.read()?;
    let names = builder.names();
    let found = if unfinished.is_some() || names.is_empty() {
        engine::Lookups::new()
    } else {
        if matches!(request.action, Action::Scan { .. }) {
            signals.stop_with(stop).map_err(Failure::Signals)?;
        }
        look_up(names, stop, request.outputs.quiet)
    };
    let mut lookups = Vec::new();
    let mut resolve = |name: &str| {
        let found = match unfinished {
            Some(unfinished) => unfinished.run.lookup(name),
            None => known(&found, stop, name),
        }?;
        lookups.push((name.to_owned(), found.clone()));
        Ok(found)
    };
    let drawn = unfinished.map(|Unfinished { run, .. }| Drawn {
        seed: run.seed,
        shard: run.shard(),
    });
    let plan = request.plan.build(builder, drawn, &mut resolve)?;
    Ok((plan, lookups))
}

/// Scans, and says how to continue if the scan does not end.
fn probe(
    request: &ScanRequest,
    plan: Plan,
    lookups: Lookups,
    kept: Kept,
    signals: Signals,
    stop: StopHandle,
) -> Result<Code, Failure> {
    let quiet = request.outputs.quiet;
    if let Some(unfinished) = &kept.unfinished {
        check_plan(&unfinished.run, &plan)?;
    }
    let checkpoint = kept.file.as_ref().map(|file| file.path().to_owned());
    if let (Some(path), Some(unfinished), false) = (&checkpoint, &kept.unfinished, quiet) {
        tell(&goes_on(path, unfinished, &plan));
    }
    let bar = progress::bar(quiet);
    let (known, from) = kept
        .unfinished
        .map(|Unfinished { run, from }| (run, from))
        .unzip();
    let to = Destination {
        request: &request.outputs,
        is_kept: kept.file.is_some(),
        listed: None,
        services: &request.services,
        bar: &bar,
        stop: stop.clone(),
    };
    let mut outputs = open_outputs(request, &plan, lookups, kept.file, known.as_ref(), &to)?;
    let mut scanner = scanner(plan, request.options.clone(), from)?;
    scanner.stop_with(&stop);
    announce(&scanner, request)?;
    show_progress(&mut outputs, request, &scanner, signals, bar.clone())?;
    let summary = scanner.run(&mut outputs);
    let stopped = scanner.summary().stopped;
    if stopped == Some(Reason::OutOfMemory) {
        tell(NO_MEMORY);
    }
    if let Some(path) = checkpoint.filter(|path| !quiet && stopped.is_some() && path.exists()) {
        tell(&format!("to go on: portreeve resume {}", path.display()));
    }
    match summary.map_err(Failure::from) {
        Ok(summary) if !outputs.nobody_left() => {
            let found = match request.options.settings.alive {
                true => summary.stats.hosts_answering,
                false => summary.stats.in_state(State::Open),
            };
            Ok(Code::of(
                &summary,
                request.outputs.fail_if_none && found == 0,
            ))
        }
        // A terminal that goes away hangs up first.
        Ok(_) | Err(Failure::ClosedPipe) if stop.is_stopped() => Ok(Code::Interrupted),
        Ok(_) => Err(Failure::ClosedPipe),
        Err(failure) => Err(failure),
    }
}

fn check_plan(run: &Run, plan: &Plan) -> Result<(), Failure> {
    if run.plan == plan.digest() {
        return Ok(());
    }
    let what = "what is to be scanned is not the same any more (a file of targets, or the names of services, has changed)";
    Err(Failure::Usage(format!(
        "the scan cannot be resumed: {what}; put it back, or scan from the beginning"
    )))
}

/// Says how far the scan to be continued is, and where its reports are.
fn goes_on(path: &Path, Unfinished { run, from }: &Unfinished, plan: &Plan) -> String {
    let done = grouped(from.summary.stats.settled());
    let all = counted(plan.len(), "endpoint", "endpoints");
    let files: Vec<String> = run
        .outputs
        .iter()
        .filter(|output| !is_stdout(&output.path))
        .map(|output| output.path.display().to_string())
        .collect();
    let reports = if files.is_empty() {
        String::new()
    } else {
        format!("; reports go on in {}", files.join(", "))
    };
    format!(
        "going on where {} was left: {done} of {all} are done{reports}",
        path.display()
    )
}

/// Opens the reports, new or continued, and adds the checkpoint.
fn open_outputs<'a>(
    request: &'a ScanRequest,
    plan: &Plan,
    lookups: Lookups,
    file: Option<CheckpointFile>,
    known: Option<&Run>,
    to: &Destination<'a>,
) -> Result<Outputs<'a>, Failure> {
    let checkpoint = match file {
        Some(file) => Some((file, Run::new(&request.words, plan, lookups)?)),
        None => None,
    };
    let kept: Vec<PathBuf> = checkpoint
        .iter()
        .flat_map(|(file, _)| {
            [
                file.path().to_owned(),
                file.next_path(),
                file.findings_path(),
            ]
        })
        .collect();
    let taken: Vec<&Path> = kept
        .iter()
        .map(PathBuf::as_path)
        .chain(request.plan.files())
        .collect();
    let mut outputs = opening::open(to, &taken, known.map(|run| run.outputs.as_slice()))?;
    if let Some((mut file, run)) = checkpoint {
        if to.request.is_by_host() {
            let findings = file.open_findings(known.and_then(|run| run.findings))?;
            outputs.spill_to(findings.clone());
            outputs.cut_later(file.findings_path().display().to_string(), findings);
        }
        outputs.keep(file, run);
    }
    Ok(outputs)
}

fn scanner(plan: Plan, options: Options, from: Option<Checkpoint>) -> Result<Scanner, Failure> {
    Ok(match from {
        Some(from) => Scanner::resume(plan, options, from)?,
        None => Scanner::new(plan, options)?,
    })
}

/// Tells the user what to know before the scan begins.
fn announce(scanner: &Scanner, request: &ScanRequest) -> Result<(), Failure> {
    if let (Some(address), false) = (scanner.metrics_address(), request.outputs.quiet) {
        tell(&format!("metrics at http://{address}/metrics"));
    }
    if request.explain {
        tell(explained(scanner, &request.outputs)?.trim_end());
    }
    Ok(())
}

/// Lets signals stop the scan, and shows its progress.
fn show_progress(
    outputs: &mut Outputs,
    request: &ScanRequest,
    scanner: &Scanner,
    mut signals: Signals,
    bar: ProgressBar,
) -> Result<(), Failure> {
    let stop = scanner.stop_handle();
    let throttle = Throttle::new(scanner.rate_handle(), request.options.settings.rate);
    signals.stop_with(&stop).map_err(Failure::Signals)?;
    let keys = Keys::listen(!request.plan.reads_stdin() && !request.outputs.quiet);
    outputs.show_progress(progress::Line::new(bar, signals, stop, throttle, keys));
    Ok(())
}

/// What the scan will do, in sentences.
fn explained(scanner: &Scanner, outputs: &OutputRequest) -> Result<String, Failure> {
    let outline = scanner.plan().outline();
    let notice = scanner
        .options()
        .notice
        .as_deref()
        .map(String::from_utf8_lossy);
    Ok(explain(&Ahead {
        plan: scanner.plan(),
        begin: &scanner.beginning(&outline),
        on_link: scanner.on_link(LOOKED_AT)?,
        routed_share: scanner.routed_share(LOOKED_AT)?,
        tracking: engine::tracking(),
        notice: notice.as_deref(),
        notice_printers: scanner.options().notice_printers,
        reports: &outputs.described(),
    }))
}

/// Prints how much would be probed, in sentences if they were asked for. With `list`, every
/// endpoint follows in the order of probing.
fn dry_run(plan: Plan, request: &ScanRequest, list: bool) -> Result<Code, Failure> {
    if request.explain {
        // A scanner that does not run sends nothing. It need not serve metrics.
        let options = Options {
            metrics: None,
            ..request.options.clone()
        };
        let scanner = Scanner::new(plan, options)?;
        let text = explained(&scanner, &request.outputs)?;
        return print_plan(scanner.plan(), &text, list);
    }
    let hint = if list { "" } else { "; -v lists them" };
    let text = format!("{}; no probe was sent{hint}\n", described(&plan.outline()));
    print_plan(&plan, &text, list)
}

fn print_plan(plan: &Plan, text: &str, list: bool) -> Result<Code, Failure> {
    let print = || {
        let mut out = BufWriter::new(Stdout::default());
        out.write_all(terminal::fitted(text).as_bytes())?;
        if list {
            for endpoint in plan.endpoints() {
                writeln!(out, "{endpoint}")?;
            }
        }
        out.flush()
    };
    print()
        .map(|()| Code::Success)
        .map_err(|error| Failure::from_write("standard output", error))
}
