//! Networks drawn at random, kind by kind: around the numbers of the five that scanners are
//! compared on (`like …`), and far from them.

use std::f64::consts::SQRT_2;

use fastrand::Rng;

use crate::scenario::{
    Away, Ban, CAP, Delay, Limit, NeighbourTable, PLAIN, Scenario, Shut, StateTable,
};

/// A kind of network, and how one of it is drawn.
pub type Kind = (&'static str, fn(&mut Rng) -> Scenario);

pub const KINDS: [Kind; 13] = [
    ("like lossy", like_lossy),
    ("like narrow", like_narrow),
    ("like sparse", like_sparse),
    ("like limited", like_limited),
    ("like silent", like_silent),
    ("lossy", lossy),
    ("narrow", narrow),
    ("sparse", sparse),
    ("sparse and narrow", sparse_and_narrow),
    ("limited", limited),
    ("small and limited", small_and_limited),
    ("silent", silent),
    ("stalling", stalling),
];

/// Those that are others after a fast scan than before.
pub const REMEMBERING: [Kind; 4] = [
    ("state table", state_table),
    ("ban", ban),
    ("accept queue", accept_queue),
    ("on-link", on_link),
];

/// One answer in 2,000 comes later than so many standard deviations after most.
const LATEST: f64 = 3.29;

/// The network of a kind that this seed draws.
pub fn drawn(&(name, draw): &Kind, seed: u64) -> Scenario {
    let scenario = draw(&mut Rng::with_seed(seed));
    Scenario {
        name,
        ideal_s: ideal_s(&scenario),
        ..scenario
    }
}

/// Hosts all of whose ports answer, few of them open, as in the networks that scanners are compared
/// on; so far away, and up to so many times as far for some packets.
fn refusing(random: &mut Rng, delay_us: (f64, f64), spreads: f64) -> Scenario {
    let open = spread(random, 0.02, 0.3);
    let delay_us = spread(random, delay_us.0, delay_us.1);
    let delay = Delay::Between(
        delay_us as u64,
        (delay_us * (1.0 + (spreads - 1.0) * random.f64())) as u64,
    );
    Scenario {
        open,
        closed: 1.0 - open,
        delay,
        ..PLAIN
    }
}

fn like_lossy(random: &mut Rng) -> Scenario {
    let targets = targets(random, 26..=30);
    let ports = ports(random, 300.0, 3_000.0);
    let loss = 0.01 + 0.09 * random.f64();
    Scenario {
        targets,
        ports,
        loss,
        ..refusing(random, (10_000.0, 50_000.0), 4.0)
    }
}

fn like_narrow(random: &mut Rng) -> Scenario {
    let bottleneck = Some(limit(random, (2_000.0, 50_000.0), (0.005, 0.05)));
    let targets = targets(random, 23..=27);
    let ports = ports(random, 100.0, 1_000.0);
    Scenario {
        targets,
        ports,
        bottleneck,
        ..refusing(random, (2_000.0, 60_000.0), 1.5)
    }
}

fn like_sparse(random: &mut Rng) -> Scenario {
    let share = 0.05 + 0.25 * random.f64();
    let open = share * (0.1 + 0.5 * random.f64());
    let targets = targets(random, 23..=25);
    let ports = ports(random, 100.0, 1_000.0);
    Scenario {
        targets,
        ports,
        up: spread(random, 0.15, 0.6),
        open,
        closed: share - open,
        delay: spread_out(random, 20_000.0),
        ..PLAIN
    }
}

fn like_limited(random: &mut Rng) -> Scenario {
    let host_limit = Some(limit(random, (50.0, 1_000.0), (0.1, 1.0)));
    let targets = targets(random, 30..=32);
    let ports = ports(random, 500.0, 5_000.0);
    Scenario {
        targets,
        ports,
        host_limit,
        ..refusing(random, (1_000.0, 60_000.0), 1.5)
    }
}

fn like_silent(random: &mut Rng) -> Scenario {
    let ports = ports(random, 10_000.0, 65_535.0);
    let open = spread(random, 2.0, 20.0) / f64::from(ports);
    Scenario {
        targets: targets(random, 30..=32),
        ports,
        open,
        closed: 0.0,
        ..refusing(random, (300.0, 60_000.0), 1.5)
    }
}

fn lossy(random: &mut Rng) -> Scenario {
    Scenario {
        targets: targets(random, 26..=32),
        ports: ports(random, 100.0, 3_000.0),
        loss: 0.15 * random.f64(),
        ..answering(random, 0.05)
    }
}

fn narrow(random: &mut Rng) -> Scenario {
    let bottleneck = Some(limit(random, (500.0, 50_000.0), (0.005, 0.05)));
    Scenario {
        targets: targets(random, 24..=29),
        ports: ports(random, 50.0, 1_000.0),
        bottleneck,
        loss: some_loss(random),
        ..answering(random, 0.05)
    }
}

fn sparse(random: &mut Rng) -> Scenario {
    let delay = spread_out(random, 10_000.0);
    let targets = targets(random, 22..=25);
    let ports = ports(random, 50.0, 1_000.0);
    Scenario {
        targets,
        ports,
        up: spread(random, 0.03, 0.5),
        delay,
        loss: some_loss(random),
        ..answering(random, 0.005)
    }
}

fn sparse_and_narrow(random: &mut Rng) -> Scenario {
    Scenario {
        bottleneck: Some(limit(random, (2_000.0, 20_000.0), (0.005, 0.05))),
        ..sparse(random)
    }
}

fn limited(random: &mut Rng) -> Scenario {
    let host_limit = Some(limit(random, (20.0, 2_000.0), (0.05, 1.0)));
    Scenario {
        targets: targets(random, 28..=32),
        ports: ports(random, 50.0, 5_000.0),
        host_limit,
        loss: some_loss(random),
        ..answering(random, 0.05)
    }
}

fn small_and_limited(random: &mut Rng) -> Scenario {
    Scenario {
        targets: "10.9.1.0/32",
        ports: ports(random, 50.0, 1_000.0),
        host_limit: Some(limit(random, (20.0, 300.0), (0.05, 0.5))),
        loss: some_loss(random),
        ..answering(random, 0.1)
    }
}

fn silent(random: &mut Rng) -> Scenario {
    let ports = ports(random, 1_000.0, 65_535.0);
    Scenario {
        targets: targets(random, 30..=32),
        ports,
        open: 5.0 / f64::from(ports),
        closed: 0.0,
        ..answering(random, 0.05)
    }
}

/// Nothing comes through for 10 to 200 ms, every half to five seconds; behind a narrow path on half
/// of these networks.
fn stalling(random: &mut Rng) -> Scenario {
    let from_s = random.f64();
    let for_s = spread(random, 0.01, 0.2);
    let every_s = spread(random, 0.5, 5.0);
    let bottleneck = random
        .bool()
        .then(|| limit(random, (2_000.0, 50_000.0), (0.005, 0.05)));
    Scenario {
        targets: targets(random, 24..=32),
        ports: ports(random, 100.0, 3_000.0),
        bottleneck,
        loss: some_loss(random),
        away: Some(Away {
            from_s,
            for_s,
            every_s,
        }),
        ..answering(random, 0.05)
    }
}

/// A few services of hosts whose other ports are silent, or refuse on half of these networks.
fn of_services(random: &mut Rng, most: f64) -> Scenario {
    let services = spread(random, 1.0, most) as u16;
    Scenario {
        services,
        open: 0.0,
        closed: if random.bool() { 1.0 } else { 0.0 },
        ..answering(random, 1.0)
    }
}

/// Home routers and larger ones, and hosts behind them that drop what they do not serve.
fn state_table(random: &mut Rng) -> Scenario {
    let state_table = StateTable {
        places: spread(random, 512.0, 16_384.0) as usize,
        unanswered_s: spread(random, 20.0, 120.0),
        is_renewed: random.bool(),
        reset_s: spread(random, 1.0, 20.0),
    };
    Scenario {
        targets: targets(random, 29..=32),
        ports: ports(random, 500.0, 10_000.0),
        state_table: Some(state_table),
        closed: 0.0,
        ..of_services(random, 20.0)
    }
}

/// Only those that drop: what the others say is a lie, which would count as invented.
fn ban(random: &mut Rng) -> Scenario {
    let ban = Ban {
        over: limit(random, (5.0, 200.0), (1.0, 10.0)),
        for_s: spread(random, 5.0, 120.0),
        is_renewed: random.bool(),
        spares_open: random.bool(),
        with: Shut::Dropped,
        every: if random.bool() { 1 } else { 4 },
    };
    Scenario {
        targets: targets(random, 29..=32),
        ports: ports(random, 100.0, 2_000.0),
        ban: Some(ban),
        ..of_services(random, 10.0)
    }
}

/// Servers that do not accept just then on half of these networks, and slow ones.
fn accept_queue(random: &mut Rng) -> Scenario {
    let accept_queue = Limit {
        per_s: if random.bool() {
            0.0
        } else {
            spread(random, 0.05, 10.0)
        },
        burst: spread(random, 2.0, 129.0).floor(),
    };
    Scenario {
        targets: targets(random, 29..=32),
        ports: ports(random, 100.0, 10_000.0),
        accept_queue: Some(accept_queue),
        ..of_services(random, 10.0)
    }
}

/// A table as Linux has it; on half of these networks others took some of it after the scan began.
fn on_link(random: &mut Rng) -> Scenario {
    let others = if random.bool() {
        0.0
    } else {
        spread(random, 100.0, 800.0)
    };
    let neighbours = NeighbourTable {
        places: 1_024 - others as usize,
        room: 896,
    };
    Scenario {
        targets: targets(random, 20..=24),
        ports: ports(random, 5.0, 50.0),
        up: spread(random, 0.001, 0.8),
        neighbours: Some(neighbours),
        ..of_services(random, 5.0)
    }
}

/// Hosts at distances of their own, from this many microseconds on, and packets with luck of their
/// own.
fn spread_out(random: &mut Rng, least_us: f64) -> Delay {
    Delay::LogNormal {
        median_us: spread(random, least_us, 150_000.0),
        sigma: 0.3 + 0.4 * random.f64(),
    }
}

/// Anything between the two, as likely between 1 and 2 as between 10 and 20.
fn spread(random: &mut Rng, least: f64, most: f64) -> f64 {
    least * (most / least).powf(random.f64())
}

fn ports(random: &mut Rng, least: f64, most: f64) -> u16 {
    spread(random, least, most) as u16
}

fn targets(random: &mut Rng, prefixes: std::ops::RangeInclusive<usize>) -> &'static str {
    const FROM_20: [&str; 13] = [
        "10.9.0.0/20",
        "10.9.0.0/21",
        "10.9.0.0/22",
        "10.9.0.0/23",
        "10.9.1.0/24",
        "10.9.1.0/25",
        "10.9.1.0/26",
        "10.9.1.0/27",
        "10.9.1.0/28",
        "10.9.1.0/29",
        "10.9.1.0/30",
        "10.9.1.0/31",
        "10.9.1.0/32",
    ];
    FROM_20[random.usize(prefixes) - 20]
}

/// A rate, and a burst of so much of a second's.
fn limit(random: &mut Rng, per_s: (f64, f64), burst_s: (f64, f64)) -> Limit {
    let per_s = spread(random, per_s.0, per_s.1);
    Limit {
        per_s,
        burst: (per_s * spread(random, burst_s.0, burst_s.1)).max(5.0),
    }
}

/// None on half of the networks, up to a tenth each way on the others.
fn some_loss(random: &mut Rng) -> f64 {
    (0.2 * random.f64() - 0.1).max(0.0)
}

/// Hosts where at least this share of the ports answers, a tenth to all of these open, from 0.5 to
/// 100 ms away.
fn answering(random: &mut Rng, least: f64) -> Scenario {
    let share = spread(random, least, 1.0);
    let open = share * spread(random, 0.1, 1.0);
    let delay_us = spread(random, 500.0, 100_000.0);
    let delay = Delay::Between(delay_us as u64, (delay_us * (1.0 + random.f64())) as u64);
    Scenario {
        open,
        closed: share - open,
        delay,
        ..PLAIN
    }
}

/// What it takes to ask everything as often as needed at the rate that gets through, with as many
/// sockets and places in tables as there are, and to wait for the last answers of those farthest
/// away.
fn ideal_s(scenario: &Scenario) -> f64 {
    let prefix: i32 = scenario
        .targets
        .split_once('/')
        .expect("a network")
        .1
        .parse()
        .expect("its size");
    let addresses = 2f64.powi(32 - prefix);
    let ports = f64::from(scenario.ports);
    let loss = 1.0 - (1.0 - scenario.loss).powi(2);
    let services = f64::from(scenario.services) / ports;
    let share = (scenario.open + scenario.closed + services).min(1.0);
    let at_silent = (0.0005f64.ln() / loss.max(1e-9).ln()).ceil().max(2.0);
    let at_host = ports * (share / (1.0 - loss) + (1.0 - share) * at_silent);
    let at_nobody = if scenario.neighbours.is_some() {
        1.0
    } else if addresses > 16.0 {
        ports.min(64.0)
    } else {
        ports * at_silent
    };
    let per_s = scenario.bottleneck.map_or(100_000.0, |limit| limit.per_s);
    let hosts = addresses * scenario.up;
    let nobodies = addresses * (1.0 - scenario.up);
    let of_path_s = (hosts * at_host + nobodies * at_nobody) / per_s;
    let ban = scenario.ban.map(|ban| ban.over);
    let of_host_s = scenario
        .host_limit
        .or(ban)
        .map_or(0.0, |limit| (at_host - limit.burst) / limit.per_s);
    let unanswered = hosts * ports * (1.0 - share) * at_silent;
    let of_table_s = scenario.state_table.map_or(0.0, |table| {
        let (waits_s, places) = (table.unanswered_s, table.places as f64);
        let of_services_s = hosts * f64::from(scenario.services) * table.reset_s;
        ((unanswered * waits_s + of_services_s) / places - waits_s).max(0.0)
    });
    let of_link_s = scenario.neighbours.map_or(0.0, |table| {
        ((3.0 * nobodies + 5.0 * hosts) / table.places as f64).max(3.0)
    });
    // How long silence has to be waited for where nearly all answers have come by then: at most
    // hosts, and at the farthest.
    let (wait_us, longest_us) = match scenario.delay {
        Delay::Between(_, most_us) => (1.5 * most_us as f64, 1.5 * most_us as f64),
        Delay::LogNormal { median_us, sigma } => {
            let half = sigma / SQRT_2;
            let farthest = (2.0 * hosts.max(1.0).ln()).sqrt();
            (
                median_us * (half * (half / 2.0 + LATEST)).exp(),
                median_us * (half * (farthest + LATEST)).exp(),
            )
        }
    };
    let silent = unanswered + nobodies * at_nobody;
    let of_sockets_s = silent * (wait_us / 1e6).max(0.1) / f64::from(CAP);
    let away = scenario.away.map_or(0.0, |away| away.for_s / away.every_s);
    let of_memory_s = of_table_s.max(of_link_s);
    of_path_s.max(of_host_s).max(of_sockets_s).max(of_memory_s) / (1.0 - away)
        + 0.3
        + at_silent * (longest_us / 1e6).max(0.1)
}
