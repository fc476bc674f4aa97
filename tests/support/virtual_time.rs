//! The deciding core, driven through a simulated network in virtual time: minutes of network in
//! milliseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use portreeve::plan::{Order, Plan, PortSet, Target};
use portreeve::scan::{Links, Outcome, Reason, Scan, Settings, Slot, State, Stats, Time};
use simulator::neighbours::{Neighbours, News, Sent};
use simulator::network::{Answer, SimNetwork};
use simulator::scenario::{Icmp, Scenario};
use simulator::score::Score;

/// What a scan came to.
pub struct Played {
    pub score: Score,
    pub stats: Stats,
    pub elapsed_s: f64,
    pub syns: u64,
    /// The most SYNs, the kernel's own included, that left within a tenth of a second: [0, 100) ms,
    /// [100, 200) ms, …
    pub most_in_100_ms: u32,
}

/// What the kernel takes for an attempt and for an answer, in nanoseconds: see docs/PERFORMANCE.md.
const CONNECT_NS: u64 = 5_000;
const SETTLE_NS: u64 = 3_000;
/// When nothing has answered the kernel sends its SYN again.
const KERNEL_SYN_US: u64 = 1_000_000;
/// As the engine has them.
const OPENS_PER_TURN: usize = 32;

/// What happens at the socket of an attempt. The order breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Answer(Answer),
    /// The kernel found nobody on its link who has the address.
    NoNeighbour,
    /// The kernel sends its SYN again.
    KernelSyn,
}

/// When something happens, at which attempt and in which slot.
type Due = Reverse<(u64, u64, Slot, Happening)>;

pub fn plan(scenario: &Scenario, seed: u64) -> Plan {
    let targets = scenario
        .targets
        .split(' ')
        .map(|text| Target::parse(text).expect("a target"));
    let ports: PortSet = (1..=scenario.ports).collect();
    let builder = Plan::builder()
        .targets(targets)
        .ports(ports)
        .order(Order::Random { seed });
    builder
        .build(&mut |_| unreachable!("no names"))
        .expect("a plan")
}

/// The position of a state in [`Score::said`].
pub fn position(state: State) -> usize {
    State::ALL
        .iter()
        .position(|&one| one == state)
        .expect("one of them")
}

/// Scans the network to the end.
pub fn play(scenario: &Scenario, seed: u64, settings: Settings, cap: u32) -> Played {
    let settings = Settings {
        tell_unscanned: true,
        ..settings
    };
    play_until(scenario, seed, settings, cap, u64::MAX)
}

/// A scan that takes longer in virtual time is given up.
pub const GIVEN_UP_MS: u64 = 3_500_000;

/// The same, stopped after so many virtual milliseconds.
pub fn play_until(
    scenario: &Scenario,
    seed: u64,
    settings: Settings,
    cap: u32,
    stop_ms: u64,
) -> Played {
    // The ceiling for what passes a router would hide what the network itself takes.
    let settings = Settings {
        rate: settings.rate.filter(|rate| !rate.routed_only),
        ..settings
    };
    let plan = plan(scenario, seed);
    let planned = plan.len();
    let mut player = Player {
        scenario,
        network: SimNetwork::new(*scenario, seed),
        neighbours: scenario.neighbours.map(Neighbours::new),
        scan: Scan::new(plan, settings, cap),
        now_ns: 0,
        attempts: 0,
        turns: 0,
        held: Vec::new(),
        due: BinaryHeap::new(),
        tenths: Vec::new(),
        score: Score::default(),
    };
    if let Some(links) = links(scenario) {
        player.scan.set_links(links);
    }
    player.run(stop_ms);
    let stats = player.scan.stats().clone();
    assert_eq!(
        stats.settled(),
        planned,
        "{}: it does not add up",
        scenario.name
    );
    Played {
        score: player.score,
        stats,
        elapsed_s: player.now_ns as f64 / 1e9,
        syns: player.network.syns,
        most_in_100_ms: player.tenths.iter().copied().max().unwrap_or(0),
    }
}

/// What the kernel says of its links, where the network is on one of them.
fn links(scenario: &Scenario) -> Option<Links> {
    let table = scenario.neighbours?;
    let (address, bits) = scenario.targets.split_once('/').expect("one network");
    Some(Links {
        networks: vec![(
            address.parse().expect("its address"),
            bits.parse().expect("its size"),
        )],
        room: [table.room; 2],
        ..Links::default()
    })
}

/// A scan under way, with its network and its kernel.
struct Player<'a> {
    scenario: &'a Scenario,
    network: SimNetwork,
    neighbours: Option<Neighbours>,
    scan: Scan,
    now_ns: u64,
    attempts: u64,
    turns: u64,
    /// By slot: the number of the attempt in flight there, 0 for none.
    held: Vec<u64>,
    due: BinaryHeap<Due>,
    /// SYNs that left in each tenth of a second.
    tenths: Vec<u32>,
    score: Score,
}

impl Player<'_> {
    /// The engine's loop, without its sockets.
    fn run(&mut self, stop_ms: u64) {
        loop {
            assert!(
                self.now_ns < 3_600_000_000_000,
                "{}: the scan takes an hour; {:?}",
                self.scenario.name,
                self.scan.stats()
            );
            // One reading of the clock for what expires and what opens.
            let now = self.now();
            if now.us / 1_000 >= stop_ms {
                self.scan.handle_stop(Reason::Interrupted, now);
            }
            self.expire(now);
            let more_to_open = self.open(now);
            self.tell(now);
            if self.scan.is_finished() {
                return;
            }
            if !more_to_open {
                self.wait(now);
            }
            self.hear_of_neighbours(self.now());
            self.settle(self.now());
        }
    }

    fn now(&self) -> Time {
        Time::from_us(self.now_ns / 1_000)
    }

    fn expire(&mut self, now: Time) {
        while let Some(slot) = self.scan.poll_expired(now) {
            self.take(slot, Outcome::Silence, now);
        }
    }

    /// Begins up to a turn's attempts; says whether there may be more.
    fn open(&mut self, now: Time) -> bool {
        for _ in 0..OPENS_PER_TURN {
            let Some(connect) = self.scan.poll_connect(now) else {
                return false;
            };
            self.attempts += 1;
            self.now_ns += CONNECT_NS;
            let now_us = self.now().us;
            self.syn_leaves(now_us);
            self.hold(connect.slot);
            let again_us = now_us + KERNEL_SYN_US;
            self.push(again_us, self.attempts, connect.slot, Happening::KernelSyn);
            self.send(connect.endpoint, self.attempts, connect.slot, now_us);
        }
        true
    }

    /// An attempt's SYN goes into the network, once it is known where on the link that is.
    fn send(&mut self, to: SocketAddr, attempt: u64, slot: Slot, at_us: u64) {
        let is_up = self.network.is_up(to.ip());
        let neighbours = self.neighbours.as_mut();
        let sent = neighbours.map_or(Sent::At(at_us), |table| table.send(to.ip(), is_up, at_us));
        let leaves_us = match sent {
            Sent::At(leaves_us) => leaves_us,
            Sent::ToNobody(at_us) => {
                return self.push(at_us, attempt, slot, Happening::NoNeighbour);
            }
            Sent::Dropped => return,
        };
        if let Some((at_us, answer)) = self.network.syn(to, attempt, leaves_us) {
            self.push(at_us, attempt, slot, Happening::Answer(answer));
        }
    }

    /// The latest attempt has this slot.
    fn hold(&mut self, slot: Slot) {
        let slot = slot as usize;
        if slot >= self.held.len() {
            self.held.resize(slot + 1, 0);
        }
        self.held[slot] = self.attempts;
    }

    /// Something will happen to an attempt.
    fn push(&mut self, at_us: u64, attempt: u64, slot: Slot, happening: Happening) {
        self.due.push(Reverse((at_us, attempt, slot, happening)));
    }

    /// The kernel's own SYN goes into the network, where that remembers the first. The others would
    /// only hear it as one more attempt.
    fn repeat(&mut self, attempt: u64, slot: Slot, at_us: u64) {
        if self.network.remembers()
            && let Some(to) = self.scan.endpoint(slot)
        {
            self.send(to, attempt, slot, at_us);
        }
    }

    fn syn_leaves(&mut self, at_us: u64) {
        let tenth = (at_us / 100_000) as usize;
        self.tenths.resize(self.tenths.len().max(tenth + 1), 0);
        self.tenths[tenth] += 1;
    }

    fn tell(&mut self, now: Time) {
        while let Some(finding) = self.scan.poll_finding(now) {
            let truth = self.network.truth(finding.endpoint);
            self.score.count(truth, position(finding.state()));
        }
    }

    fn wait(&mut self, now: Time) {
        self.turns += 1;
        // It looks at every probe: now and then is enough here, for simulation.rs does so always.
        if self.turns.is_multiple_of(256) {
            self.scan.check_before_wait(now);
        }
        let next = [
            self.scan.poll_timeout().map(|at| at.us),
            self.due.peek().map(|Reverse((at_us, ..))| *at_us),
            self.neighbours.as_ref().and_then(Neighbours::next_us),
        ];
        let next_us = next.into_iter().flatten().min();
        let next_us = next_us.expect("something to wait for");
        self.now_ns = self.now_ns.max(next_us * 1_000);
    }

    fn hear_of_neighbours(&mut self, now: Time) {
        while let Some(news) = self
            .neighbours
            .as_mut()
            .and_then(|table| table.take(now.us))
        {
            match news {
                News::Present(address) => self.scan.handle_neighbour(address, true, now),
                News::Absent(address) => self.scan.handle_neighbour(address, false, now),
                News::Full => self.scan.handle_neighbours_full(now),
            }
        }
    }

    fn settle(&mut self, now: Time) {
        while let Some(&Reverse((at_us, attempt, slot, happening))) = self.due.peek()
            && at_us <= now.us
        {
            self.due.pop();
            if self.held[slot as usize] != attempt {
                continue;
            }
            match happening {
                Happening::KernelSyn => {
                    self.syn_leaves(at_us);
                    self.push(at_us + KERNEL_SYN_US, attempt, slot, happening);
                    self.repeat(attempt, slot, at_us);
                }
                Happening::Answer(answer) => self.take(slot, outcome(answer, self.scenario), now),
                Happening::NoNeighbour => self.take(slot, Outcome::NoNeighbour, now),
            }
        }
    }

    fn take(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        self.held[slot as usize] = 0;
        self.now_ns += SETTLE_NS;
        self.scan.handle_outcome(slot, outcome, now);
    }
}

fn outcome(answer: Answer, scenario: &Scenario) -> Outcome {
    match answer {
        Answer::SynAck => Outcome::Connected {
            rtt_us: None,
            syn_sent_again: false,
        },
        Answer::Rst => Outcome::Refused,
        Answer::Rejected => unreachable_by(scenario.rejected_with),
        Answer::Nobody => unreachable_by(scenario.nobody_with.expect("somebody said so")),
    }
}

fn unreachable_by(error: Icmp) -> Outcome {
    let reason = match error {
        Icmp::HostUnreachable => Reason::HostUnreach,
        Icmp::AdminProhibited => Reason::AdminProhibited,
    };
    Outcome::Unreachable { reason, by: None }
}
