//! How far a scan is, port by port: what another process needs to go on where this one was. It
//! knows places in the plan and counts, no addresses and no times.

/// Everything of a [`Scan`](super::Scan) that cannot be measured again. Endpoints that have no
/// verdict yet are in it as ones that were never tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// How many of the plan's addresses were taken up.
    pub taken_up: u64,
    /// How many ports it took until hosts first answered, at most.
    pub latest_first_answer: u32,
    /// The addresses that are not done with.
    pub hosts: Vec<HostSnapshot>,
}

/// How far a host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct HostSnapshot {
    /// Which of the plan's addresses it is: its [place](crate::plan::Host::place).
    pub place: u64,
    /// How many of its ports were taken up, in the plan's order.
    pub taken_up: u32,
    /// The ranks of those among them that have no verdict yet.
    pub left: Vec<u16>,
    /// The ranks of those that were silent, which is no verdict as long as nobody knows whether the
    /// host is there.
    pub held: Vec<u16>,
    /// The fewest attempts after which a port was called silent.
    pub silent_attempts: u16,
    /// Whether something has answered.
    pub is_present: bool,
    /// Whether it was called silent.
    pub is_silent: bool,
    /// Whether it was looked at twice, because nearly everything was open.
    pub was_doubted: bool,
    /// Ports that answered, those of them that are open, and those that were silent.
    pub answered: u32,
    /// See `answered`.
    pub open: u32,
    /// See `answered`.
    pub silent: u32,
    /// Ports that refused, where that tells nothing of rates and loss.
    pub resets: u32,
    /// The ranks of some ports that answered, which can tell whether it still does, and whether
    /// they refuse.
    pub known: Vec<u16>,
    /// See `known`.
    pub known_refuse: bool,
}

impl HostSnapshot {
    /// Whether it can be of a host with this many ports.
    pub(super) fn fits(&self, ports: u32) -> bool {
        let mut ranks: Vec<u16> = self.left.iter().chain(&self.held).copied().collect();
        ranks.sort_unstable();
        self.taken_up <= ports
            && ranks.is_sorted_by(|one, next| one < next)
            && ranks
                .last()
                .is_none_or(|&rank| u32::from(rank) < self.taken_up)
            && self
                .known
                .iter()
                .all(|&rank| u32::from(rank) < self.taken_up)
            && self.open <= self.answered
            && [self.answered, self.silent, self.resets]
                .into_iter()
                .map(u64::from)
                .sum::<u64>()
                <= u64::from(ports)
    }
}
