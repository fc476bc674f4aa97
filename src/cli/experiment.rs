//! `portreeve experiment`: makes the runs, and writes their table and files.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use portreeve::engine::{self, LoopbackTestbed, StopHandle};
use portreeve::experiment::Experiment;
use portreeve::plan::{Order, Plan, Target};
use portreeve::report::counted;
use portreeve::report::experiment::{Runs, TableStyle, named};
use portreeve::report::text::described;
use portreeve::scan::State;

use super::exit::{Code, Failure};
use super::files::{ReportFile, check_distinct};
use super::lookups::{known, look_up};
use super::request::{ExperimentRequest, Subject};
use super::stdout::{Stdout, is_stdout};
use super::terminal::{shows_unicode, wants_color};
use super::{advice, progress, signals, tell};

/// Runs the scans, prints the table and writes the files.
pub fn run(request: ExperimentRequest) -> Result<Code, Failure> {
    let files = Files::create(&request)?;
    set_descriptor_limit(request.assume_nofile)?;
    let stop = StopHandle::default();
    let (testbed, plan) = match &request.subject {
        Subject::Own(order) => {
            let testbed = own_testbed()?;
            let plan = plan_of(&testbed, *order)?;
            (Some(testbed), plan)
        }
        Subject::Given(request) => {
            let builder = request.read()?;
            let found = look_up(builder.names(), &stop, false);
            let plan =
                request.build(builder, None, &mut |name: &str| known(&found, &stop, name))?;
            (None, plan)
        }
    };
    for warning in plan.warnings() {
        tell(&advice::warning_line(warning));
    }
    let experiment = Experiment {
        plan,
        options: request.options,
        sweeps: request.sweeps,
        rounds: request.rounds,
        occupied_fds: request.occupied_fds,
        testbed: testbed.as_ref(),
        stop,
    };
    signals::stop_with(&experiment.stop).map_err(Failure::Signals)?;
    let runs = make_runs(&experiment)?;
    // A file that cannot be written must not suppress the table.
    let kept = files.write(&runs);
    print_table(&runs)?;
    kept?;
    Ok(code(&experiment, &runs))
}

fn set_descriptor_limit(assumed: Option<u64>) -> Result<(), Failure> {
    let Some(limit) = assumed else {
        // As a scan does. If it fails, the limit stays as it is.
        let _ = engine::raise_descriptor_limit();
        return Ok(());
    };
    engine::lower_descriptor_limit(limit).map_err(|error| {
        Failure::Usage(format!(
            "--assume-nofile {limit}: {error}; the hard limit is the most, see `portreeve limits`"
        ))
    })
}

fn own_testbed() -> Result<LoopbackTestbed, Failure> {
    LoopbackTestbed::new().map_err(|error| {
        Failure::Usage(format!(
            "no target can be made on this machine: {error}; name one, such as 127.0.0.1"
        ))
    })
}

/// All ports of the testbed, in an order that is the same for all runs.
fn plan_of(testbed: &LoopbackTestbed, order: Order) -> Result<Plan, Failure> {
    let ports = testbed.ports().map_err(|error| {
        Failure::Usage(format!("no target can be made on this machine: {error}"))
    })?;
    let (first, last) = testbed.addresses();
    let targets = (first.to_bits()..=last.to_bits()).map(|bits| Target::V4Block {
        address: Ipv4Addr::from_bits(bits),
        prefix: 32,
    });
    Ok(Plan::builder()
        .targets(targets)
        .ports(ports.into_iter().collect())
        .order(order)
        .build(&mut engine::resolve)?)
}

/// Announces the runs and makes them.
fn make_runs(experiment: &Experiment) -> Result<Runs, Failure> {
    let cells = experiment.cells().len() as u64;
    let all = cells * u64::from(experiment.rounds);
    let settings = counted(cells, "setting", "settings");
    let runs = counted(all, "run", "runs");
    tell(&format!(
        "{}; {settings}, {runs} and one before to warm up",
        described(&experiment.plan.outline())
    ));
    let bar = progress::bar(false);
    let runs = experiment.run(&mut |number, settings| {
        bar.set_message(format!("run {number} of {all}: {}", named(settings)))
    })?;
    bar.finish_and_clear();
    Ok(runs)
}

fn print_table(runs: &Runs) -> Result<(), Failure> {
    let bar = if shows_unicode() { "█" } else { "#" };
    let style = TableStyle {
        color: wants_color(),
        chart: io::stdout().is_terminal().then_some(bar),
    };
    let mut out = BufWriter::new(Stdout::default());
    runs.write_text(&mut out, &style)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from_write("standard output", error))
}

fn code(experiment: &Experiment, runs: &Runs) -> Code {
    let is_unscanned = runs
        .0
        .iter()
        .any(|run| run.summary.stats.in_state(State::Unscanned) > 0);
    if experiment.stop.is_stopped() {
        Code::Interrupted
    } else if is_unscanned || !runs.agree() {
        Code::Incomplete
    } else {
        Code::Success
    }
}

/// A requested file.
type Named = Option<(PathBuf, ReportFile)>;

/// The requested files, created before anything runs: runs whose results cannot be kept are not
/// worth making.
struct Files {
    csv: Named,
    json: Named,
    svg: Named,
}

impl Files {
    fn create(request: &ExperimentRequest) -> Result<Self, Failure> {
        let paths: Vec<&Path> = [&request.csv, &request.json, &request.svg]
            .into_iter()
            .filter_map(|path| path.as_deref())
            .collect();
        if paths.iter().any(|path| is_stdout(path)) {
            return Err(Failure::Usage(
                "standard output has the table; give --csv, --json and --svg a file each".into(),
            ));
        }
        let taken = request.reads();
        check_distinct(&paths, &taken)?;
        let files = Files {
            csv: create(&request.csv)?,
            json: create(&request.json)?,
            svg: create(&request.svg)?,
        };
        check_distinct(&paths, &taken)?;
        for (path, file) in [&files.csv, &files.json, &files.svg].into_iter().flatten() {
            file.lock(&path.display().to_string())?;
        }
        Ok(files)
    }

    fn write(self, runs: &Runs) -> Result<(), Failure> {
        // One that fails does not stop the others.
        let csv = write(self.csv, |out| runs.write_csv(out));
        let json = write(self.json, |out| runs.write_json(out));
        let svg = write(self.svg, |out| write_svg(runs, out));
        csv.and(json).and(svg)
    }
}

fn create(path: &Option<PathBuf>) -> Result<Named, Failure> {
    let Some(path) = path else { return Ok(None) };
    ReportFile::create(path, false)
        .map(|file| Some((path.clone(), file)))
        .map_err(|error| Failure::Write {
            name: path.display().to_string(),
            error,
        })
}

fn write(
    named: Named,
    write: impl FnOnce(&mut BufWriter<ReportFile>) -> io::Result<()>,
) -> Result<(), Failure> {
    let Some((path, file)) = named else {
        return Ok(());
    };
    let cut = file.cut();
    let mut out = BufWriter::new(file);
    cut.and_then(|()| write(&mut out))
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Write {
            name: path.display().to_string(),
            error,
        })
}

#[cfg(feature = "plot")]
fn write_svg(runs: &Runs, out: &mut impl Write) -> io::Result<()> {
    // It was interrupted before the first run ended: there is nothing to draw.
    if runs.0.is_empty() {
        Ok(())
    } else {
        out.write_all(portreeve::report::plot::svg(runs)?.as_bytes())
    }
}

#[cfg(not(feature = "plot"))]
fn write_svg(_runs: &Runs, _out: &mut impl Write) -> io::Result<()> {
    Ok(())
}
