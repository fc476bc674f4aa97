//! What to scan: from flags to a plan. Typed targets are parsed at once; files of targets are read
//! later, and names are looked up when the plan is built.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use portreeve::plan::{
    Family, Order, Plan, PlanBuilder, Resolver, Services, Shard, Target, TargetError,
};

use super::formats::Formats;
use super::lists::{self, is_stdin};
use super::mistakes::Mistakes;
use super::ports::PortsRequest;
use crate::cli::advice;
use crate::cli::args::ScanArgs;
use crate::cli::exit::Failure;
use crate::cli::shard::{self, Wanted};

/// Where the system keeps the names of services.
const SERVICES_FILE: &str = "/etc/services";

/// The names of ports. A system without that file has the built-in ones.
pub fn services() -> Services {
    let text = std::fs::read(SERVICES_FILE).unwrap_or_default();
    Services::with_system(&String::from_utf8_lossy(&text))
}

/// What an earlier run has drawn or found, to get its plan again.
pub struct Drawn {
    pub seed: Option<u64>,
    pub shard: Shard,
}

/// A plan to be built.
pub struct PlanRequest {
    /// The typed targets.
    builder: PlanBuilder,
    ports: PortsRequest,
    /// What was not understood of the typed targets, if that may be left out.
    mistakes: Mistakes,
    skips_invalid: bool,
    /// Whether everything is sent through one device: link-local addresses need no zone then.
    has_device: bool,
    target_files: Vec<PathBuf>,
    excluded_files: Vec<PathBuf>,
    is_sequential: bool,
    seed: Option<u64>,
    shard: Option<Wanted>,
}

impl PlanRequest {
    pub fn new(
        args: ScanArgs,
        shard: Option<Wanted>,
        services: &Services,
    ) -> Result<Self, Failure> {
        let family = match (args.ipv4, args.ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Both,
        };
        let builder = Plan::builder()
            .services(services.clone())
            .family(family)
            .resolve_all(args.resolve_all);
        let ports = PortsRequest::new(&args, services)?;
        let mut mistakes = Mistakes::default();
        let builder = with_targets(builder, &args, &mut mistakes);
        if !args.skip_invalid {
            refuse(&mistakes, SKIP)?;
        }
        let builder = with_exclusions(builder, &args)?;
        Ok(PlanRequest {
            builder,
            ports,
            mistakes,
            skips_invalid: args.skip_invalid,
            has_device: args.device.is_some(),
            target_files: target_files(args.input_file, &args.targets),
            excluded_files: args.exclude_file,
            is_sequential: args.sequential,
            seed: args.seed,
            shard,
        })
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.target_files
            .iter()
            .chain(&self.excluded_files)
            .map(PathBuf::as_path)
            .chain(self.ports.files())
    }

    pub fn reads_stdin(&self) -> bool {
        self.files().any(is_stdin)
    }

    /// The requested part of the plan, if any.
    pub fn shard(&self) -> Result<Option<Shard>, Failure> {
        let find = |wanted| {
            shard::find(wanted, |name| std::env::var(name).ok())
                .map_err(|error| Failure::Usage(format!("--shard: {error}")))
        };
        self.shard.map(find).transpose()
    }

    /// Reads the files of targets and ports.
    pub fn read(&self) -> Result<PlanBuilder, Failure> {
        let mut builder = self.ports.add_to(self.builder.clone())?;
        let targets_of = |text: &str| targets(text, self.has_device);
        let mut mistakes = self.mistakes.clone();
        for file in &self.target_files {
            builder = lists::read_targets(
                file,
                Formats::default(),
                &targets_of,
                builder,
                PlanBuilder::target,
                &mut mistakes,
            )?;
        }
        match mistakes.first() {
            Some((count, first)) if self.skips_invalid => {
                builder = builder.skipped(count, first);
            }
            _ => refuse(&mistakes, SKIP)?,
        }
        let mut mistakes = Mistakes::default();
        for file in &self.excluded_files {
            builder = lists::read_targets(
                file,
                Formats::plain(),
                &exclusions,
                builder,
                PlanBuilder::exclude,
                &mut mistakes,
            )?;
        }
        // Whoever excludes means it: these are never skipped.
        refuse(&mistakes, " in what is to be left out")?;
        Ok(builder)
    }

    /// Looks names up with `resolve`, and builds the plan of what was read: a new one, or that of
    /// an earlier run.
    pub fn build(
        &self,
        builder: PlanBuilder,
        drawn: Option<Drawn>,
        resolve: &mut Resolver,
    ) -> Result<Plan, Failure> {
        let (seed, shard) = match drawn {
            Some(Drawn { seed, shard }) => (seed, shard),
            // Shards belong together only if their seed is the same, so it is not random.
            None => match self.shard()? {
                Some(shard) => (self.seed.or(Some(0)), shard),
                None => (self.seed, Shard::WHOLE),
            },
        };
        let order = order(self.is_sequential, seed);
        Ok(builder.order(order).shard(shard).build(resolve)?)
    }
}

/// The order of probing, with a random seed if none is given.
pub fn order(is_sequential: bool, seed: Option<u64>) -> Order {
    // 48 bits are enough, and every JSON reader can keep such a number.
    let draw = || RandomState::new().hash_one(0) >> 16;
    if is_sequential {
        Order::Sequential
    } else {
        Order::Random {
            seed: seed.unwrap_or_else(draw),
        }
    }
}

fn with_targets(mut builder: PlanBuilder, args: &ScanArgs, mistakes: &mut Mistakes) -> PlanBuilder {
    spaced_ranges(&args.targets).for_each(|what| mistakes.add(what));
    for text in args.targets.iter().filter(|text| !is_stdin(text.as_ref())) {
        match targets(text, args.device.is_some()) {
            Ok(none) if none.is_empty() => mistakes.add(TargetError::Empty.to_string()),
            Ok(targets) => builder = builder.targets(targets),
            Err(error) => mistakes.add(advice::target(&error)),
        }
    }
    builder
}

/// Ranges with blanks around the hyphen: it would be standard input, and waited for.
fn spaced_ranges(words: &[String]) -> impl Iterator<Item = String> {
    words.windows(3).filter_map(|words| {
        let range = words.concat();
        let is_range = matches!(Target::parse(&range), Ok(Target::V4Range { .. }));
        (is_stdin(words[1].as_ref()) && is_range)
            .then(|| format!("\"-\" alone is standard input; for a range write {range}"))
    })
}

fn with_exclusions(mut builder: PlanBuilder, args: &ScanArgs) -> Result<PlanBuilder, Failure> {
    for text in &args.exclude {
        let targets = exclusions(text).map_err(|error| Failure::Usage(advice::target(&error)))?;
        builder = targets.into_iter().fold(builder, PlanBuilder::exclude);
    }
    Ok(builder)
}

/// How to go on if targets are not understood.
const SKIP: &str = "; --skip-invalid goes on without these";

/// Fails if there is a mistake.
fn refuse(mistakes: &Mistakes, hint: &str) -> Result<(), Failure> {
    match mistakes.first() {
        None => Ok(()),
        Some(_) => Err(Failure::Usage(mistakes.message(hint))),
    }
}

/// The files of targets. A target `-` is standard input, as in `-iL -`.
fn target_files(mut named: Vec<PathBuf>, targets: &[String]) -> Vec<PathBuf> {
    let asks_for_stdin = targets.iter().any(|text| is_stdin(text.as_ref()));
    if asks_for_stdin && !named.iter().any(|path| is_stdin(path)) {
        named.push("-".into());
    }
    named
}

/// The targets in a text. A link-local address says on which link it is, before anything is sent.
fn targets(text: &str, has_device: bool) -> Result<Vec<Target>, TargetError> {
    let targets = Target::parse_all(text)?;
    match targets.iter().find(|target| target.lacks_zone()) {
        Some(target) if !has_device => Err(TargetError::NoZone(target.to_string())),
        _ => Ok(targets),
    }
}

/// The targets to be left out in a text.
fn exclusions(text: &str) -> Result<Vec<Target>, TargetError> {
    let targets = Target::parse_all(text)?;
    targets.iter().try_for_each(Target::check_exclusion)?;
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_unless_there_is_only_one() {
        let count = |text, has_device| targets(text, has_device).map(|targets| targets.len());
        assert_eq!(count("fe80::1%eth0 ::1", false), Ok(2));
        assert_eq!(count("fe80::1", true), Ok(1));
        for text in ["fe80::1", "fe80::/64", "[fe80::1]:22", "http://[fe80::1]/"] {
            let error = count(text, false).expect_err("no zone").to_string();
            assert!(error.contains("fe80::1%eth0"), "{error}");
            assert_eq!(exclusions("fe80::1,::1").map(|both| both.len()), Ok(2));
        }
        assert!(exclusions("10.0.0.1,").is_err());
    }
}
