//! The one seam from flags to the library's values: after this, nobody asks what was typed.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use portreeve::engine::Options;
use portreeve::plan::{
    Family, Order, Plan, PlanBuilder, PortSet, Resolver, Services, Shard, Target, TargetError,
};
use portreeve::scan::{Rate, Settings, State, Timeouts};

use super::advice;
use super::args::{self, Args, MaxRate, ScanArgs};
use super::exit::Failure;
use super::shard;

/// What is to be done.
pub struct Request {
    pub plan: Plan,
    pub options: Options,
    pub services: Services,
}

/// Where the system keeps the names of services.
const SERVICES_FILE: &str = "/etc/services";
/// The longest line in a file of targets; longer ones are no list of targets.
const LONGEST_LINE: u64 = 64 * 1024;

/// Makes values out of flags: reads files, looks names up with `resolve`.
pub fn from_args(args: &Args, resolve: &mut Resolver) -> Result<Request, Failure> {
    let mut options = options(&args.scan)?;
    let services = services();
    if args.checkpoint.is_some()
        && args
            .scan
            .input_file
            .iter()
            .chain(&args.scan.exclude_file)
            .any(|file| file.as_os_str() == "-")
    {
        let what = "--checkpoint: standard input cannot be read again; write the targets to a file, and give that with -iL";
        return Err(Failure::Usage(what.into()));
    }
    let plan = plan(&args.scan, args.shard, &services, resolve)?;
    options.settings.tell_unscanned =
        super::outputs::show(&args.output).is_some_and(|show| show.lists(State::Unscanned));
    options.profile = args.profile;
    options.metrics = args.metrics;
    Ok(Request {
        plan,
        options,
        services,
    })
}

/// The names of ports. A system without the file has the built-in ones.
pub fn services() -> Services {
    Services::with_system(&std::fs::read_to_string(SERVICES_FILE).unwrap_or_default())
}

/// How it is scanned.
pub fn options(args: &ScanArgs) -> Result<Options, Failure> {
    if let Some(option) = &args.not_here {
        return Err(Failure::Usage(format!(
            "{option}: {}",
            args::not_here(option).unwrap_or("is not known here")
        )));
    }
    if args.min_timeout > args.max_timeout {
        return Err(Failure::Usage("--min-timeout is longer than --max-timeout; raise the latter, too, or use --timeout alone".into()));
    }
    let settings = Settings {
        timeouts: Timeouts {
            fixed_us: args.timeout,
            min_us: args.min_timeout,
            max_us: args.max_timeout,
        },
        miss_rate_ppm: args.miss_rate,
        max_retries: args.max_retries,
        scan_silent: args.scan_silent,
        rate: match args.max_rate {
            None => Settings::default().rate,
            Some(MaxRate::Unlimited) => None,
            Some(MaxRate::PerSecond(per_s)) => Some(Rate {
                per_s,
                public_only: false,
            }),
        },
        tell_unscanned: false,
        banner_wait_us: args.banner.then_some(args.banner_wait),
        sends_datagrams: args.notice_udp,
        ..Settings::default()
    };
    Ok(Options {
        settings,
        max_fds: args.max_fds,
        sources: args.source.clone(),
        device: args.device.clone(),
        polite_close: args.polite_close,
        verify_local: args.verify_local,
        notice: args.notice.as_ref().map(|text| text.as_bytes().into()),
        fresh_sockets: args.fresh_sockets,
        ..Options::default()
    })
}

/// What is scanned.
pub fn plan(
    args: &ScanArgs,
    shard: Option<shard::Wanted>,
    services: &Services,
    resolve: &mut Resolver,
) -> Result<Plan, Failure> {
    let ports = |flag: &str, text: &String| {
        PortSet::parse(text, services)
            .map_err(|error| Failure::Usage(format!("{flag} {text}: {error}")))
    };
    let excluded_ports = args
        .exclude_ports
        .as_ref()
        .map_or(Ok(PortSet::none()), |text| ports("--exclude-ports", text))?;
    let top = if args.fast { Some(100) } else { args.top_ports };
    let ports = match (&args.ports, top) {
        (Some(text), _) => Some(ports("-p", text)?),
        (None, Some(count)) => Some(
            PortSet::top(count, &excluded_ports)
                .map_err(|error| Failure::Usage(error.to_string()))?,
        ),
        (None, None) => None,
    };

    let usage = |error: TargetError| Failure::Usage(advice::target(&error));
    let mut builder = Plan::builder()
        .services(services.clone())
        .exclude_ports(excluded_ports);
    for text in &args.targets {
        builder = builder.target(Target::parse(text).map_err(usage)?);
    }
    for file in &args.input_file {
        builder = add_targets_of_file(builder, file, PlanBuilder::target)?;
    }
    for text in &args.exclude {
        for target in excluded(text).map_err(usage)? {
            builder = builder.exclude(target);
        }
    }
    for file in &args.exclude_file {
        builder = add_targets_of_file(builder, file, PlanBuilder::exclude)?;
    }
    if let Some(ports) = ports {
        builder = builder.ports(ports);
    }
    let family = match (args.ipv4, args.ipv6) {
        (true, _) => Family::V4,
        (_, true) => Family::V6,
        _ => Family::Both,
    };
    let mut order = order(args);
    if let Some(wanted) = shard {
        builder = builder.shard(self::shard(wanted)?);
        // Shards belong together only if they have the same seed, so it is not drawn.
        if let (Order::Random { seed }, None) = (&mut order, args.seed) {
            *seed = 0;
        }
    }
    Ok(builder
        .order(order)
        .family(family)
        .resolve_all(args.resolve_all)
        .build(resolve)?)
}

/// Which part of the plan is meant.
pub fn shard(wanted: shard::Wanted) -> Result<Shard, Failure> {
    shard::find(wanted, |name| std::env::var(name).ok())
        .map_err(|error| Failure::Usage(format!("--shard: {error}")))
}

/// The order of probing.
pub fn order(args: &ScanArgs) -> Order {
    match (args.sequential, args.seed) {
        (true, _) => Order::Sequential,
        (false, Some(seed)) => Order::Random { seed },
        // 48 bits are enough, and a number that every JSON reader keeps.
        (false, None) => Order::Random {
            seed: RandomState::new().hash_one(0) >> 16,
        },
    }
}

/// Targets with commas between. An octet list (`10.0.0.1,3`) has commas of its own, so the whole is
/// tried first.
fn excluded(text: &str) -> Result<Vec<Target>, TargetError> {
    match Target::parse(text) {
        Err(_) if text.contains(',') => text.split(',').map(Target::parse).collect(),
        whole => Ok(vec![whole?]),
    }
}

/// Adds the targets in a file, or on standard input for `-`.
fn add_targets_of_file(
    mut builder: PlanBuilder,
    path: &Path,
    add: fn(PlanBuilder, Target) -> PlanBuilder,
) -> Result<PlanBuilder, Failure> {
    let name = if path.as_os_str() == "-" {
        "standard input".into()
    } else {
        path.display().to_string()
    };
    let cannot =
        |error: io::Error| Failure::Usage(format!("targets cannot be read from {name}: {error}"));
    let mut reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(cannot)?)),
    };
    let mut is_empty = true;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let length = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(cannot)?;
        if length == 0 {
            break;
        }
        let place = |what: &str| Failure::Usage(format!("{name}, line {number}: {what}"));
        if length as u64 == LONGEST_LINE {
            return Err(place(
                "the line is longer than 64 KiB; write one target a line",
            ));
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| place("this is no text (UTF-8); write one target a line"))?;
        for word in text
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace()
        {
            builder = add(
                builder,
                Target::parse(word).map_err(|error| place(&advice::target(&error)))?,
            );
            is_empty = false;
        }
    }
    if is_empty {
        return Err(Failure::Usage(format!(
            "{name} holds no target; write one a line, such as 192.0.2.0/24"
        )));
    }
    Ok(builder)
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
