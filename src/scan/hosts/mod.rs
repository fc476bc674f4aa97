//! The hosts that are being scanned: whose turn it is, who is there at all, and what is known of
//! each. Hosts are taken from the plan a few thousand at a time and forgotten when they are done,
//! so memory does not grow with the plan. It knows no sockets, and of a probe only what it is told.

mod absence;
mod contact;
mod host;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use slab::Slab;

use super::Slot;
use super::neighbours::{Links, Neighbours};
use super::pacing::Controller;
use super::settings::Settings;
use super::snapshot::Snapshot;
use super::time::{TICK_US, Time};
use super::wheel::Wheel;
use crate::plan::{self, Plan, mix};
pub(super) use contact::{Lapse, SHUT_OUT_US};
pub(super) use host::{ASKED_AGAIN, Answer, Host, Link, Sampling, Suspicion};
use host::{NOBODY, Place, Presence};

/// The number of a host's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostId(u32);

impl HostId {
    fn of(key: usize) -> Self {
        HostId(key as u32)
    }

    /// Its place in the slab.
    fn key(self) -> usize {
        self.0 as usize
    }
}

/// A host with no more ports than this cannot be overrun, and needs no pace of its own.
const FEW_PORTS: u32 = 64;
/// The most hosts that are scanned at once, each in its turn.
const HOSTS_AT_ONCE: usize = 2_048;
/// The most hosts that are known at once, including those that only wait for their last answers.
const HOSTS_KNOWN: usize = 8_192;
/// After how many silent ports, at least and at most, a host is taken for silent.
pub const SILENT_PORTS: (u32, u32) = (SILENT_LEAST, SILENT_MOST);
/// A host is silent after no fewer silent ports than this …
const SILENT_LEAST: u32 = 32;
/// … nor than this many times what others needed for their first answer …
const SILENT_FACTOR: u32 = 2;
/// … but no more than this: one host with one odd port must not make all others cost as if they
/// were there.
const SILENT_MOST: u32 = 512;
/// Silent hosts share one turn in this many: one may answer on an unusual port after all.
const SILENT_SHARE: u32 = 8;
/// At one turn in this many, at uneven distances, a host lets the next one go first.
const LETS_PASS: u64 = 8;

/// All hosts under way, and those of the plan that follow.
#[derive(Debug)]
pub(super) struct Hosts {
    slab: Slab<Host>,
    queue: VecDeque<HostId>,
    silent: VecDeque<HostId>,
    wheel: Wheel,
    /// By slot: the probe that waits behind it, or itself where it is the last.
    links: Vec<Slot>,
    /// Probes that wait for their host's turn, and ports that were deferred.
    waiting: usize,
    deferred: usize,
    /// The plan's next address, and how many there are.
    next: u64,
    addresses: u64,
    /// Hosts that have ports to be taken up, apart from the silent ones.
    active: usize,
    at_once: usize,
    skips_silent: bool,
    open_only: bool,
    controller: Controller,
    /// How often a service is connected to at most.
    most_connections: u8,
    neighbours: Neighbours,
    /// Hosts on our own link that an attempt waits for, and its slot.
    asked: HashMap<IpAddr, (HostId, Slot)>,
    turns: u32,
    /// How many ports it took until hosts first answered, at most.
    latest_first_answer: u32,
}

/// What a host whose turn it is should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Try a probe again that waits.
    Again(Slot),
    /// Take up the port of this rank.
    Port(u32),
    /// Try the port of this rank again, which was deferred.
    Deferred(u32),
    /// Ask the port of this rank again, which answered before.
    Canary(u32),
}

/// What a task may be at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// Whether a new port may be taken up.
    pub takes_up: bool,
    /// Whether ports that were silent may be asked again.
    pub asks_again: bool,
    /// Whether ports that answered before may be asked again, and if so, whether often.
    pub canaries: Option<bool>,
    /// Whether the network is away: no service hears of a canary then.
    pub is_out: bool,
}

impl Hosts {
    /// The hosts of a plan, with room for `places` probes that wait.
    pub fn new(plan: &Plan, settings: &Settings, places: usize) -> Self {
        let is_random = matches!(plan.order(), plan::Order::Random { .. });
        Hosts {
            slab: Slab::new(),
            queue: VecDeque::new(),
            silent: VecDeque::new(),
            wheel: Wheel::default(),
            links: Vec::with_capacity(places),
            waiting: 0,
            deferred: 0,
            next: 0,
            addresses: plan.addresses(),
            active: 0,
            // In order means one after the other.
            at_once: if is_random { HOSTS_AT_ONCE } else { 1 },
            skips_silent: settings.skips_silent(plan.order(), plan.addresses()),
            open_only: settings.open_only,
            controller: settings.controller,
            most_connections: settings.canaries,
            neighbours: Neighbours::default(),
            asked: HashMap::new(),
            turns: 0,
            latest_first_answer: 0,
        }
    }

    pub fn get(&self, id: HostId) -> &Host {
        &self.slab[id.key()]
    }

    pub fn get_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.slab[id.key()]
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Host> {
        self.slab.iter().map(|(_, host)| host)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Host> {
        self.slab.iter_mut().map(|(_, host)| host)
    }

    /// Probes that wait for their host's turn.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether anything waits for a turn: a probe, or a port that is to be taken up.
    pub fn want_turns(&self) -> bool {
        self.next < self.addresses || !self.queue.is_empty() || !self.wheel.is_empty()
    }

    /// The tick at which a host may go on that has to wait now.
    pub fn next_tick(&self) -> Option<u64> {
        self.wheel.next_tick()
    }

    /// The host whose turn it is and what it should do. Both stay the same until
    /// [`take`](Self::take).
    pub fn next_task(
        &mut self,
        plan: &Plan,
        allowed: Allowed,
        now: Time,
    ) -> Option<(HostId, Task)> {
        let Allowed {
            takes_up,
            asks_again,
            canaries,
            is_out,
        } = allowed;
        while let Some(id) = self.wheel.pop_expired(now.us / TICK_US) {
            self.enqueue(HostId(id));
        }
        self.admit(plan, now);
        if takes_up
            && self.turns.is_multiple_of(SILENT_SHARE)
            && !self.queue.is_empty()
            && let Some(&id) = self.silent.front()
        {
            return Some((id, Task::Port(self.get(id).next_rank())));
        }
        for _ in 0..=self.queue.len() {
            let &id = self.queue.front()?;
            if self.get(id).contact.is_asking() {
                if let Some(task) = self.asking_task(id, is_out, now) {
                    return Some((id, task));
                }
                let until = self.get(id).contact.asks_at().unwrap_or(now);
                self.put_off(id, until);
                continue;
            }
            let host = &mut self.slab[id.key()];
            // Where nobody has answered yet a new port is worth more than another attempt: an
            // answer tells how long to wait.
            let prefers_new = takes_up
                && !host.rtt.is_known()
                && host.may_take_up()
                && host.presence != Presence::Silent;
            let has_turn = if asks_again {
                takes_up || host.waiting_first != NOBODY
            } else {
                prefers_new
            };
            if !has_turn {
                self.queue.rotate_left(1);
                continue;
            }
            if host.has_to_prove(self.most_connections, now) {
                host.contact.ask(now);
                continue;
            }
            let limited = host.contact.wait_until(now);
            let paced = || host.controller.as_mut().and_then(|own| own.next_send(now));
            let Some(until) = limited.or_else(paced) else {
                if let Some(rank) =
                    canaries.and_then(|often| host.canary_due(often, self.most_connections, now))
                {
                    return Some((id, Task::Canary(rank)));
                }
                let task = match host.deferred.front() {
                    _ if prefers_new => Task::Port(host.next_rank()),
                    _ if host.waiting_first != NOBODY => Task::Again(host.waiting_first),
                    Some(&rank) => Task::Deferred(rank.into()),
                    None => Task::Port(host.next_rank()),
                };
                return Some((id, task));
            };
            self.put_off(id, until);
        }
        None
    }

    /// The first host in the queue has to wait until then.
    fn put_off(&mut self, id: HostId, until: Time) {
        self.queue.pop_front();
        self.slab[id.key()].place = Place::Wheel;
        self.wheel.insert(id.0, until.us.div_ceil(TICK_US));
    }

    /// Whether an answer of this host shows that others would have been answered as well.
    pub fn is_proof(&self, id: HostId, is_canary: bool) -> bool {
        self.get(id).is_proof(is_canary, self.most_connections)
    }

    /// How often a service is connected to at most.
    pub fn most_connections(&self) -> u8 {
        self.most_connections
    }

    /// Of the next host that has one, a port that answered before, whatever else would be its turn.
    pub fn any_canary(&mut self) -> Option<(HostId, Task)> {
        let known = |&id: &HostId| self.slab[id.key()].canaries.any();
        let place = self.queue.iter().position(|id| known(id).is_some())?;
        let rank = known(&self.queue[place])?;
        // Whose turn it is stands first.
        self.queue.rotate_left(place);
        Some((self.queue[0], Task::Canary(rank)))
    }

    /// The host does what it was told to.
    pub fn take(&mut self, id: HostId, task: Task) {
        self.turns = self.turns.wrapping_add(1);
        let is_silent = self.get(id).place == Place::SilentQueue;
        if is_silent {
            self.silent.pop_front()
        } else {
            self.queue.pop_front()
        };
        // Now and then one host lets the next one go first. Where turns come round in step with
        // what a full queue drops, the same hosts would lose every time (phase effects: Floyd and
        // Jacobson, 1991).
        if !self.queue.is_empty() && mix(self.turns.into()).is_multiple_of(LETS_PASS) {
            self.queue.rotate_left(1);
        }
        let host = &mut self.slab[id.key()];
        host.place = Place::Away;
        if host.link == Link::Unasked {
            host.link = Link::Asked;
        }
        match task {
            Task::Again(slot) => {
                let next = self.links[slot as usize];
                (host.waiting_first, host.waiting_last) = if next == slot {
                    (NOBODY, NOBODY)
                } else {
                    (next, host.waiting_last)
                };
                self.waiting -= 1;
            }
            Task::Deferred(_) => {
                host.deferred.pop_front();
                self.deferred -= 1;
            }
            Task::Canary(_) => host.under_way += 1,
            Task::Port(_) => {
                host.take_next();
                host.under_way += 1;
                if !host.has_more() && !is_silent {
                    self.active -= 1;
                }
            }
        }
        self.place(id);
    }

    /// A probe of this host waits for its turn.
    pub fn wait(&mut self, id: HostId, slot: Slot) {
        if slot as usize >= self.links.len() {
            self.links.resize(slot as usize + 1, NOBODY);
        }
        self.links[slot as usize] = slot;
        self.waiting += 1;
        let host = &mut self.slab[id.key()];
        let last = std::mem::replace(&mut host.waiting_last, slot);
        if last == NOBODY {
            host.waiting_first = slot;
        } else {
            self.links[last as usize] = slot;
        }
        self.place(id);
    }

    /// The port of this rank was silent once. As long as nobody knows how long an answer takes
    /// there may be very many of them.
    pub fn defer(&mut self, id: HostId, rank: u16) {
        self.slab[id.key()].defer([rank], 1);
        self.deferred += 1;
        self.place(id);
    }

    /// Ports that had ended silent are asked again after all, as if this many attempts at each had
    /// been silent.
    pub fn ask_all_again(&mut self, id: HostId, ranks: Vec<u16>, attempts: u16) {
        self.slab[id.key()].under_way += ranks.len() as u32;
        self.deferred += ranks.len();
        self.slab[id.key()].defer(ranks, attempts);
        self.place(id);
    }

    /// Ports that were silent and have no probe.
    pub fn deferred(&self) -> usize {
        self.deferred
    }

    /// All of them, for a stop.
    pub fn drain_deferred(&mut self) -> Vec<(HostId, VecDeque<u16>)> {
        let have_some =
            |(id, host): (usize, &Host)| (!host.deferred.is_empty()).then_some(HostId::of(id));
        let ids: Vec<HostId> = self.slab.iter().filter_map(have_some).collect();
        ids.into_iter()
            .map(|id| (id, self.drain_deferred_of(id)))
            .collect()
    }

    /// Those of one host.
    pub fn drain_deferred_of(&mut self, id: HostId) -> VecDeque<u16> {
        let ranks = std::mem::take(&mut self.slab[id.key()].deferred);
        self.deferred -= ranks.len();
        ranks
    }

    /// A port of the host is to be asked once more, besides those that have no verdict yet.
    pub fn ask_again(&mut self, id: HostId) {
        self.slab[id.key()].under_way += 1;
    }

    /// Puts a host where it belongs, if it is nowhere.
    fn place(&mut self, id: HostId) {
        let host = &mut self.slab[id.key()];
        let waits = host.waiting_first != NOBODY || !host.deferred.is_empty();
        if host.place == Place::SilentQueue && waits {
            self.silent.retain(|&other| other != id);
        } else if host.place != Place::Away {
            return;
        }
        let may_take_up = host.may_take_up();
        let has_turns = waits || host.contact.is_asking();
        if has_turns || (may_take_up && host.presence != Presence::Silent) {
            self.enqueue(id);
        } else if may_take_up {
            host.place = Place::SilentQueue;
            self.silent.push_back(id);
        }
    }

    fn enqueue(&mut self, id: HostId) {
        self.slab[id.key()].place = Place::Queue;
        self.queue.push_back(id);
    }

    /// Takes further hosts from the plan as long as there is room.
    fn admit(&mut self, plan: &Plan, now: Time) {
        while self.next < self.addresses
            && self.active < self.at_once
            && self.slab.len() < HOSTS_KNOWN
        {
            let mut host = self.unknown(plan, plan.host(self.next));
            if host.link == Link::Unasked {
                let address = host.plan.address.ip();
                if !self.neighbours.has_place(address, now) {
                    return;
                }
                self.neighbours.take(address);
                host.has_place = true;
            }
            self.next += 1;
            self.active += 1;
            let id = HostId::of(self.slab.insert(host));
            self.enqueue(id);
        }
    }

    /// A host of which nothing is known.
    fn unknown(&self, plan: &Plan, host: plan::Host) -> Host {
        // The path's controller is enough where there is no other host; and nothing between us and
        // ourselves loses anything.
        let can_be_overrun =
            host.ports > FEW_PORTS && self.addresses > 1 && !host.address.ip().is_loopback();
        let controller = can_be_overrun.then(|| self.controller.of_host());
        let is_wanted_anyway = !self.skips_silent;
        let mut host = Host::new(host, plan.chosen_ports(&host), is_wanted_anyway, controller);
        if self.open_only {
            host.ignore_resets();
        }
        see_link(&self.neighbours, &mut host);
        host
    }

    /// What is known of this machine's links. Hosts that a scan goes on with are there already.
    pub fn set_links(&mut self, links: Links) {
        self.neighbours = Neighbours::new(links);
        for (_, host) in &mut self.slab {
            see_link(&self.neighbours, host);
            if host.link == Link::Unasked {
                self.neighbours.take(host.plan.address.ip());
                host.has_place = true;
            }
        }
    }

    /// Goes on where a snapshot was taken; says whether it was one of this plan.
    pub fn restore(&mut self, plan: &Plan, snapshot: &Snapshot) -> bool {
        self.next = snapshot.taken_up;
        self.latest_first_answer = snapshot.latest_first_answer;
        let restored = snapshot
            .hosts
            .iter()
            .map_while(|host| self.unknown(plan, plan.host_at(host.place)?).restored(host));
        let hosts: Vec<Host> = restored.collect();
        let places: HashSet<u64> = snapshot.hosts.iter().map(|host| host.place).collect();
        let fits = hosts.len() == snapshot.hosts.len()
            && places.len() == hosts.len()
            && self.next <= self.addresses;
        for host in hosts {
            self.active += usize::from(host.presence != Presence::Silent && host.has_more());
            let id = HostId::of(self.slab.insert(host));
            self.place(id);
        }
        fits
    }

    /// Whether nothing of a host is left to do.
    pub fn is_done(&self, id: HostId) -> bool {
        self.get(id).is_done()
    }

    /// Hosts with nothing under way and nothing to be taken up.
    pub fn done(&self) -> Vec<HostId> {
        let is_done = |(_, host): &(usize, &Host)| host.is_done();
        self.slab
            .iter()
            .filter(is_done)
            .map(|(id, _)| HostId::of(id))
            .collect()
    }

    /// How far all are, if these ports of theirs are under way; some of them are known to be open
    /// already.
    pub fn snapshot(&self, under_way: impl Iterator<Item = (HostId, u16, bool)>) -> Snapshot {
        let mut of_host: HashMap<HostId, (Vec<u16>, u32)> = HashMap::new();
        for (id, rank, is_open) in under_way {
            let (ranks, open) = of_host.entry(id).or_default();
            ranks.push(rank);
            *open += u32::from(is_open);
        }
        let host = |(id, host): (usize, &Host)| {
            let (ranks, open) = of_host.remove(&HostId::of(id)).unwrap_or_default();
            host.snapshot(ranks, open)
        };
        Snapshot {
            taken_up: self.next,
            latest_first_answer: self.latest_first_answer,
            hosts: self.slab.iter().map(host).collect(),
        }
    }

    /// Something answered for the host: its port of this rank, or none, if that is only known from
    /// its link. Whether that is news: then what was silent before is silent on a host that is
    /// there.
    pub fn heard(&mut self, id: HostId, rank: Option<u32>) -> bool {
        let host = &mut self.slab[id.key()];
        let was = std::mem::replace(&mut host.presence, Presence::Present);
        if was == Presence::Present {
            return false;
        }
        if let Some(rank) = rank.filter(|&rank| rank + 1 > self.latest_first_answer) {
            self.latest_first_answer = rank + 1;
            self.reconsider();
        }
        self.active += usize::from(was == Presence::Silent && self.get(id).has_more());
        if self.get(id).place == Place::SilentQueue {
            self.take_out(id);
        }
        self.place(id);
        true
    }

    /// Hosts were called silent too soon, as it turns out: some of them have a second chance.
    fn reconsider(&mut self) {
        let threshold = self.silent_after().unwrap_or(0);
        for id in std::mem::take(&mut self.silent) {
            let host = &mut self.slab[id.key()];
            if host.silent < threshold && host.presence == Presence::Silent {
                (host.presence, host.place) = (Presence::Unknown, Place::Away);
                self.active += 1;
                self.place(id);
            } else {
                self.silent.push_back(id);
            }
        }
    }

    /// What hosts that have not answered were asked until now says nothing: those ports are taken
    /// up anew. Returns how many.
    pub fn start_over(&mut self) -> u64 {
        let unheard = |(id, host): (usize, &Host)| {
            (!host.is_present() && !host.held.is_empty()).then_some(HostId::of(id))
        };
        let ids: Vec<HostId> = self.slab.iter().filter_map(unheard).collect();
        let mut ports = 0;
        for id in ids {
            let host = &mut self.slab[id.key()];
            let was_active = host.presence == Presence::Unknown && host.has_more();
            let (held, _) = host.take_held();
            ports += held.len() as u64;
            host.reopened(held.len() as u32, true);
            host.left.extend(held);
            host.presence = Presence::Unknown;
            self.active += usize::from(!was_active);
            if self.get(id).place == Place::SilentQueue {
                self.take_out(id);
            }
            self.place(id);
        }
        ports
    }

    /// How many ports have to be silent until a host is called silent.
    pub fn silent_after(&self) -> Option<u32> {
        self.skips_silent
            .then_some((SILENT_FACTOR * self.latest_first_answer).clamp(SILENT_LEAST, SILENT_MOST))
    }

    /// Whether one attempt at each port is enough to see whether anybody is there: nobody has
    /// answered, and there are more ports than it takes to find that out.
    pub fn asks_once(&self, id: HostId) -> bool {
        let host = self.get(id);
        !host.is_present()
            && (host.is_silent()
                || self
                    .silent_after()
                    .is_some_and(|ports| host.plan.ports > ports))
    }

    /// How far it is known whether anybody on our own link answers for this host's address.
    pub fn link(&self, id: HostId) -> Link {
        self.get(id).link
    }

    /// The attempt that waits for it is the one at `slot`.
    pub fn asks(&mut self, id: HostId, slot: Slot) {
        let address = self.get(id).plan.address.ip();
        self.asked.insert(address, (id, slot));
    }

    /// The host at an address that an attempt waits for, and its slot.
    pub fn asked(&self, address: IpAddr) -> Option<(HostId, Slot)> {
        self.asked.get(&address).copied()
    }

    /// The link was asked for this host, if it was, and that came to this: `Unasked` where it is to
    /// be asked again, `Beyond` where the kernel will not tell.
    pub fn ask_ended(&mut self, id: HostId, link: Link) {
        let host = &mut self.slab[id.key()];
        if !matches!(host.link, Link::Asked | Link::Vacant) {
            return;
        }
        self.asked.remove(&host.plan.address.ip());
        host.link = link;
        self.place(id);
    }

    /// The kernel's table of neighbours.
    pub fn neighbours(&mut self) -> &mut Neighbours {
        &mut self.neighbours
    }

    /// Whether hosts have places in it.
    pub fn uses_neighbours(&self) -> bool {
        self.neighbours.are_used()
    }

    /// When a host can be taken from the plan that has to wait for a place in that table.
    pub fn admits_at(&self) -> Option<Time> {
        let may_admit = self.next < self.addresses && self.active < self.at_once;
        self.neighbours.frees_at().filter(|_| may_admit)
    }

    /// A probe at the host has ended, a canary or a second look perhaps. Whether the host is done
    /// with, and is to be [removed](Self::remove).
    pub fn probe_ended(&mut self, id: HostId) -> bool {
        self.ask_ended(id, Link::Unasked);
        let threshold = self.silent_after();
        let host = &mut self.slab[id.key()];
        host.under_way -= 1;
        if host.presence == Presence::Unknown
            && threshold.is_some_and(|threshold| host.silent >= threshold)
            && host.has_more()
        {
            host.presence = Presence::Silent;
            self.active -= 1;
            self.take_out(id);
        }
        self.place(id);
        self.slab[id.key()].is_done()
    }

    /// Takes a host from where it waits for its turn.
    fn take_out(&mut self, id: HostId) {
        match std::mem::replace(&mut self.slab[id.key()].place, Place::Away) {
            Place::Queue => self.queue.retain(|&other| other != id),
            Place::Wheel => self.wheel.cancel(id.0),
            Place::SilentQueue => self.silent.retain(|&other| other != id),
            Place::Away => {}
        }
    }

    /// Forgets a host, be it in the middle of its ports.
    pub fn remove(&mut self, id: HostId, now: Time) -> Host {
        self.take_out(id);
        let host = self.slab.remove(id.key());
        if host.link == Link::Asked {
            self.asked.remove(&host.plan.address.ip());
        }
        self.active -= usize::from(host.presence != Presence::Silent && host.has_more());
        if host.has_place {
            let (address, was_resolved) = (host.plan.address.ip(), host.link == Link::Resolved);
            self.neighbours.leave(address, was_resolved, now);
        }
        host
    }

    /// A silent host whose turns are over: others need its place, or nobody else is left.
    pub fn poll_silent(&self, is_end: bool) -> Option<HostId> {
        let is_full = self.silent.len() > HOSTS_AT_ONCE;
        let is_idle = |id: &HostId| self.slab[id.key()].under_way == 0;
        if is_full || is_end {
            self.silent.iter().copied().find(is_idle)
        } else {
            None
        }
    }

    /// All probes that wait for their host's turn, for a stop.
    pub fn drain_waiting(&mut self) -> Vec<Slot> {
        let ids: Vec<usize> = self.slab.iter().map(|(id, _)| id).collect();
        ids.into_iter()
            .flat_map(|id| self.drain_waiting_of(HostId::of(id)))
            .collect()
    }

    fn drain_waiting_of(&mut self, id: HostId) -> Vec<Slot> {
        let host = &mut self.slab[id.key()];
        let mut at = std::mem::replace(&mut host.waiting_first, NOBODY);
        host.waiting_last = NOBODY;
        let mut slots = Vec::new();
        while at != NOBODY {
            slots.push(at);
            let next = self.links[at as usize];
            at = if next == at { NOBODY } else { next };
        }
        self.waiting -= slots.len();
        slots
    }

    /// A host with silent ports whose verdict was held back, and whether it is a silent one.
    pub fn poll_held(&self) -> Option<(HostId, bool)> {
        let host = self.slab.iter().find(|(_, host)| !host.held.is_empty())?;
        Some((HostId::of(host.0), host.1.presence == Presence::Silent))
    }

    /// A host with whatever it has left, one call after the other; with `all` also those that were
    /// never taken up. For a stop, when no probe is under way any more.
    pub fn poll_left(&mut self, plan: &Plan, all: bool) -> Option<(Host, bool)> {
        let host = match self.slab.iter().next() {
            Some((key, _)) => self.slab.remove(key),
            None if all && self.next < self.addresses => {
                self.next += 1;
                Host::new(plan.host(self.next - 1), 0, true, None)
            }
            None => return None,
        };
        let is_silent = host.presence == Presence::Silent;
        Some((host, is_silent))
    }
}

/// Notes what this machine's links have to do with a host.
fn see_link(neighbours: &Neighbours, host: &mut Host) {
    let address = host.plan.address.ip();
    host.is_routed = !neighbours.is_own(address);
    if neighbours.needs_place(address) {
        host.link = Link::Unasked;
    }
}
