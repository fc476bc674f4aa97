//! `portreeve experiment`: from its flags to runs, and from these to a table and files.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use portreeve::engine::{self, LoopbackTestbed};
use portreeve::experiment::Experiment;
use portreeve::plan::{Plan, Target};
use portreeve::report::counted;
use portreeve::report::experiment::{Knob, Runs, Setting, TableStyle, named};
use portreeve::report::text::described;
use portreeve::scan::State;

use super::args::ExperimentArgs;
use super::exit::{Code, Failure};
use super::files::{ReportFile, check_distinct};
use super::{advice, progress, request, signals, tell, wants_color};

/// What is varied where nothing is asked for.
const DEFAULT_FDS: [u64; 5] = [32, 64, 128, 256, 512];

pub fn run(args: &ExperimentArgs) -> Result<Code, Failure> {
    if args.sweep.len() > 2 {
        return Err(Failure::Usage("--sweep is given more than twice; two form a grid, and more than that nobody can look at".into()));
    }
    if let [one, other] = args.sweep.as_slice()
        && one.first().map(|setting| setting.knob) == other.first().map(|setting| setting.knob)
    {
        return Err(Failure::Usage(
            "both --sweep vary the same; write all its values in one".into(),
        ));
    }
    let options = request::options(&args.scan)?;
    let files = Files::create(args)?;
    match args.assume_nofile {
        Some(limit) => engine::lower_descriptor_limit(limit).map_err(|error| {
            Failure::Usage(format!("--assume-nofile {limit}: {error}; the hard limit is the most, see `portreeve limits`"))
        })?,
        // As a scan would.
        None => drop(engine::raise_descriptor_limit()),
    }
    let ground = if args.scan.targets.is_empty() && args.scan.input_file.is_empty() {
        Some(own_ground()?)
    } else {
        None
    };
    let plan = match &ground {
        Some(ground) => plan_of(ground, args)?,
        None => request::plan(&args.scan, None, &request::services(), &mut engine::resolve)?,
    };
    plan.warnings()
        .iter()
        .for_each(|warning| tell(&format!("warning: {}", advice::warning(warning))));
    let sweeps = if args.sweep.is_empty() {
        vec![default_sweep()]
    } else {
        args.sweep.clone()
    };
    let experiment = Experiment {
        plan,
        options,
        sweeps,
        rounds: args.repeat,
        occupied_fds: args.occupy_fds,
        ground: ground.as_ref(),
        stop: Default::default(),
    };
    signals::stop_with(&experiment.stop).map_err(Failure::Signals)?;
    let cells = experiment.cells().len() as u64;
    let all = cells * u64::from(args.repeat);
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
    // A file that cannot be written must not take the table with it.
    let kept = files.write(&runs);
    let style = TableStyle {
        color: wants_color(),
        chart: io::stdout().is_terminal(),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let written = runs.write_text(&mut out, &style).and_then(|()| out.flush());
    written.map_err(|error| Failure::from_write("standard output", error))?;
    kept?;
    let is_unscanned = runs
        .0
        .iter()
        .any(|run| run.summary.stats.in_state(State::Unscanned) > 0);
    Ok(match () {
        () if experiment.stop.is_stopped() => Code::Interrupted,
        () if is_unscanned || !runs.agree() => Code::Incomplete,
        () => Code::Found,
    })
}

fn own_ground() -> Result<LoopbackTestbed, Failure> {
    LoopbackTestbed::new().map_err(|error| {
        Failure::Usage(format!(
            "no target can be made on this machine: {error}; name one, such as 127.0.0.1"
        ))
    })
}

/// All ports of the ground, in an order that is the same for all runs.
fn plan_of(ground: &LoopbackTestbed, args: &ExperimentArgs) -> Result<Plan, Failure> {
    let scan = &args.scan;
    let narrows = scan.ports.is_some()
        || scan.top_ports.is_some()
        || scan.fast
        || scan.exclude_ports.is_some()
        || scan.ipv4
        || scan.ipv6;
    if narrows || !scan.exclude.is_empty() || !scan.exclude_file.is_empty() {
        return Err(Failure::Usage(
            "ports or addresses are chosen, but there is no target; name one, such as 127.0.0.1"
                .into(),
        ));
    }
    let ports = ground.ports().map_err(|error| {
        Failure::Usage(format!("no target can be made on this machine: {error}"))
    })?;
    let (first, last) = ground.addresses();
    let targets = (first.to_bits()..=last.to_bits())
        .map(|bits| Target::parse(&std::net::Ipv4Addr::from_bits(bits).to_string()));
    let targets = targets
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::Usage(advice::target(&error)))?;
    Ok(Plan::builder()
        .targets(targets)
        .ports(ports.into_iter().collect())
        .order(request::order(&args.scan))
        .build(&mut engine::resolve)?)
}

fn default_sweep() -> Vec<Setting> {
    DEFAULT_FDS
        .into_iter()
        .map(|value| Setting {
            knob: Knob::MaxFds,
            value: Some(value),
        })
        .collect()
}

/// The files that were asked for, made before anything is run: a run that cannot be kept need not
/// be made.
struct Files<'a> {
    csv: Option<(&'a Path, ReportFile)>,
    json: Option<(&'a Path, ReportFile)>,
    svg: Option<(&'a Path, ReportFile)>,
}

impl<'a> Files<'a> {
    fn create(args: &'a ExperimentArgs) -> Result<Self, Failure> {
        let create = |path: &'a Option<PathBuf>| {
            let Some(path) = path.as_deref() else {
                return Ok(None);
            };
            let failed = |error| Failure::Write {
                name: path.display().to_string(),
                error,
            };
            ReportFile::create(path, false)
                .map(|file| Some((path, file)))
                .map_err(failed)
        };
        if args.svg.is_some() && cfg!(not(feature = "plot")) {
            return Err(Failure::Usage(
                "--svg: this program was built without pictures; build it with --features plot"
                    .into(),
            ));
        }
        let paths: Vec<&Path> = [&args.csv, &args.json, &args.svg]
            .into_iter()
            .filter_map(|path| path.as_deref())
            .collect();
        if paths.iter().any(|path| path.as_os_str() == "-") {
            return Err(Failure::Usage(
                "standard output has the table; give --csv, --json and --svg a file each".into(),
            ));
        }
        let taken: Vec<&Path> = args
            .scan
            .input_file
            .iter()
            .chain(&args.scan.exclude_file)
            .map(PathBuf::as_path)
            .collect();
        check_distinct(&paths, &taken)?;
        let files = Files {
            csv: create(&args.csv)?,
            json: create(&args.json)?,
            svg: create(&args.svg)?,
        };
        check_distinct(&paths, &taken)?;
        Ok(files)
    }

    fn write(self, runs: &Runs) -> Result<(), Failure> {
        let write =
            |file: Option<(&Path, ReportFile)>,
             write: &dyn Fn(&mut BufWriter<ReportFile>) -> io::Result<()>| {
                let Some((path, file)) = file else {
                    return Ok(());
                };
                let cut = file.cut();
                let mut out = BufWriter::new(file);
                let written = cut
                    .and_then(|()| write(&mut out))
                    .and_then(|()| out.flush());
                written.map_err(|error| Failure::from_write(&path.display().to_string(), error))
            };
        // One that fails does not take the others with it.
        let csv = write(self.csv, &|out| runs.write_csv(out));
        let json = write(self.json, &|out| runs.write_json(out));
        let svg = write(self.svg, &|out| write_svg(runs, out));
        csv.and(json).and(svg)
    }
}

#[cfg(feature = "plot")]
fn write_svg(runs: &Runs, out: &mut impl Write) -> io::Result<()> {
    // Interrupted before the first run was over: there is nothing to see.
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
