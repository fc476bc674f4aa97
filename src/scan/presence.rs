//! A scan that only asks who is there (`--alive`): a host is done with at its first sign of life.
//! It knows no sockets, and not what a sign of life is.

use super::hosts::HostId;
use super::{Reason, Scan, Time};

impl Scan {
    /// Somebody is there, and that was the question: no port of the host is asked any more. What is
    /// in flight ends in the next turn, whatever becomes of it.
    pub(super) fn end_present(&mut self, id: HostId, rank: Option<u32>, now: Time) {
        self.hosts.heard(id, rank);
        if self.stopped.is_some() || self.hosts.get(id).ended.is_some() {
            return;
        }
        self.shorten_waits(0, |probe| probe.host == id, now);
        self.leave_out(id, Reason::HostUp, now);
    }

    /// Whether an attempt at a host came too late to tell anything.
    pub(super) fn is_needless(&self, id: HostId) -> bool {
        self.hosts.get(id).ended == Some(Reason::HostUp) && self.stopped.is_none()
    }
}
