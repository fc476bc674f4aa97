//! What to scan: from flags to a plan. Typed targets are parsed at once; files of targets are read,
//! and names looked up, when the plan is built.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use portreeve::plan::{
    Family, Order, Plan, PlanBuilder, PortSet, Resolver, Services, Shard, Target, TargetError,
};

use super::lists::{self, is_stdin};
use super::mistakes::Mistakes;
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
    /// The typed targets and ports.
    builder: PlanBuilder,
    /// What was not understood of the typed targets, if that may be left out.
    mistakes: Mistakes,
    skips_invalid: bool,
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
        let builder = with_ports(builder, &args, services)?;
        let mut mistakes = Mistakes::default();
        let builder = with_targets(builder, &args, &mut mistakes);
        if !args.skip_invalid {
            refuse(&mistakes, SKIP)?;
        }
        let builder = with_exclusions(builder, &args)?;
        Ok(PlanRequest {
            builder,
            mistakes,
            skips_invalid: args.skip_invalid,
            target_files: args.input_file,
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

    /// Reads the files of targets, looks names up with `resolve`, and builds the plan: a new one,
    /// or that of an earlier run.
    pub fn build(&self, drawn: Option<Drawn>, resolve: &mut Resolver) -> Result<Plan, Failure> {
        let mut builder = self.builder.clone();
        let mut mistakes = self.mistakes.clone();
        for file in &self.target_files {
            builder = lists::read(file, builder, PlanBuilder::target, &mut mistakes)?;
        }
        match mistakes.first() {
            Some((count, first)) if self.skips_invalid => {
                builder = builder.skipped(count, first);
            }
            _ => refuse(&mistakes, SKIP)?,
        }
        let mut mistakes = Mistakes::default();
        for file in &self.excluded_files {
            builder = lists::read(file, builder, PlanBuilder::exclude, &mut mistakes)?;
        }
        // Whoever excludes means it: these are never skipped.
        refuse(&mistakes, " in what is to be left out")?;
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

fn with_ports(
    builder: PlanBuilder,
    args: &ScanArgs,
    services: &Services,
) -> Result<PlanBuilder, Failure> {
    let parsed = |flag: &str, text: &str| {
        PortSet::parse(text, services)
            .map_err(|error| Failure::Usage(format!("{flag} {text}: {error}")))
    };
    let excluded = match &args.exclude_ports {
        Some(text) => parsed("--exclude-ports", text)?,
        None => PortSet::none(),
    };
    let top = if args.fast { Some(100) } else { args.top_ports };
    let builder = match (&args.ports, top) {
        (Some(text), _) => builder.ports(parsed("-p", text)?),
        (None, Some(count)) => builder.ports(
            PortSet::top(count, &excluded).map_err(|error| Failure::Usage(error.to_string()))?,
        ),
        (None, None) => builder,
    };
    Ok(builder.exclude_ports(excluded))
}

fn with_targets(mut builder: PlanBuilder, args: &ScanArgs, mistakes: &mut Mistakes) -> PlanBuilder {
    for text in &args.targets {
        match Target::parse(text) {
            Ok(target) => builder = builder.target(target),
            Err(error) => mistakes.add(advice::target(&error)),
        }
    }
    builder
}

fn with_exclusions(mut builder: PlanBuilder, args: &ScanArgs) -> Result<PlanBuilder, Failure> {
    for text in &args.exclude {
        let targets = excluded(text).map_err(|error| Failure::Usage(advice::target(&error)))?;
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

/// Targets separated by commas. An octet list (`10.0.0.1,3`) contains commas itself, so the whole
/// text is tried first.
fn excluded(text: &str) -> Result<Vec<Target>, TargetError> {
    match Target::parse(text) {
        Err(_) if text.contains(',') => text.split(',').map(Target::parse).collect(),
        whole => Ok(vec![whole?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_lists_split_at_commas_unless_they_are_octets() {
        let count = |text| excluded(text).map(|targets| targets.len());
        assert_eq!(count("10.0.0.1,10.0.0.2"), Ok(2));
        assert_eq!(count("10.0.0.1,3"), Ok(1));
        assert_eq!(count("a.test,::1"), Ok(2));
        assert!(count("10.0.0.1,").is_err());
    }
}
