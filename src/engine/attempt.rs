//! One attempt, from its socket to its outcome: begun, given up or settled, then perhaps listened
//! to. [`scan`](crate::scan) decides what the outcome means for the endpoint.

use std::io;

use super::socket::{self, Answer, Socket};
use super::{Scanner, traced};
use crate::scan::{Connect, Outcome, Reason, Slot};
use crate::trace;

/// For closing a connection when no more is known of it.
const CONNECTED: Outcome = Outcome::Connected {
    rtt_us: None,
    syn_sent_again: false,
};

impl Scanner {
    /// Begins an attempt. One that fails at once is concluded at once.
    pub(super) fn begin(&mut self, connect: Connect) {
        if connect.datagram {
            self.talk
                .send_datagram(connect.endpoint, self.sockets.options());
        }
        let Err((outcome, error)) = self.connect(&connect) else {
            return;
        };
        self.sockets.release(connect.slot);
        if self.idle_sockets_may_be_why(outcome) {
            self.sockets.release_idle(&self.scan);
        }
        self.conclude(connect.slot, outcome, Some(error));
    }

    fn connect(&mut self, connect: &Connect) -> Result<(), (Outcome, io::Error)> {
        let &Connect {
            slot,
            endpoint,
            avoid_self,
            ..
        } = connect;
        let registry = self.queue.registry();
        let provided = self
            .sockets
            .provide(slot, endpoint, avoid_self, &self.scan, registry);
        let socket = self.sockets.get(slot);
        let number = || self.scan.attempt(slot).map_or(0, |(number, _)| number);
        trace::probe_start(endpoint, slot, socket.map_or(-1, Socket::fd), number);
        provided.map_err(|error| (socket::failure_to_begin(&error), error))?;
        socket.map_or(Ok(()), |socket| socket.connect(endpoint))
    }

    /// Whether idle sockets may be why an attempt could not begin.
    fn idle_sockets_may_be_why(&self, outcome: Outcome) -> bool {
        match outcome {
            // They hold memory and descriptors, but no source port.
            Outcome::TransientLocal(error) => error.reason() != Reason::NoSourcePort,
            // They are bound to a device that may have gone, or come back under the same name.
            Outcome::PermanentLocal(Reason::NoLocalRoute) => self.options.device.is_some(),
            _ => false,
        }
    }

    /// A slot's time is over.
    pub(super) fn give_up(&mut self, slot: Slot) {
        if self.scan.is_listening(slot) {
            return self.hang_up(slot);
        }
        let is_kept = self.sockets.may_keep(&self.scan)
            && self.sockets.get(slot).is_some_and(Socket::give_up);
        if !is_kept {
            self.sockets.release(slot);
        }
        self.turn.expired += 1;
        self.conclude(slot, Outcome::Silence, None);
    }

    /// Something happened at a slot.
    pub(super) fn settle_slot(&mut self, slot: Slot) {
        if self.scan.is_listening(slot) {
            return self.listen(slot);
        }
        // An event for a slot without an attempt in flight is stale, and normal.
        let Some(endpoint) = self.scan.endpoint(slot) else {
            self.counters.stale_events += 1;
            return;
        };
        let Some(socket) = self.sockets.get(slot) else {
            return;
        };
        let Some(mut answer) =
            socket.answer(endpoint, self.sockets.keeps(), self.sockets.options())
        else {
            return;
        };
        if answer
            .own_source
            .is_some_and(|local| self.scan.may_have_met(local))
        {
            answer.outcome = Outcome::SelfConnected;
        }
        if matches!(answer.outcome, Outcome::Connected { .. }) {
            self.talk.greet(socket);
            self.conclude(slot, answer.outcome, None);
            return self.listen(slot);
        }
        if !(self.sockets.may_keep(&self.scan) && socket.reuse_after(&answer)) {
            self.close(slot, answer.outcome);
        }
        let Answer { outcome, error, .. } = answer;
        self.conclude(slot, outcome, error);
    }

    /// A slot's port is open: takes what it has said, if that is wanted, and closes the connection
    /// when that is all.
    fn listen(&mut self, slot: Slot) {
        let (Some(endpoint), Some(socket)) = (self.scan.listens_to(slot), self.sockets.get(slot))
        else {
            return self.close(slot, CONNECTED);
        };
        match self.talk.listen(endpoint, socket) {
            (_, true) => self.hang_up(slot),
            (true, false) => self.scan.handle_heard(slot, false, self.clock.now),
            (false, false) => {}
        }
    }

    /// Nothing more is to be heard at a slot.
    fn hang_up(&mut self, slot: Slot) {
        self.close(slot, CONNECTED);
        self.scan.handle_heard(slot, true, self.clock.now);
    }

    fn close(&mut self, slot: Slot, outcome: Outcome) {
        if let Some(socket) = self.sockets.release(slot) {
            socket.close_after(outcome, self.options.polite_close || self.talk.has_notice());
        }
    }

    /// Tells the scan how an attempt ended.
    fn conclude(&mut self, slot: Slot, outcome: Outcome, error: Option<io::Error>) {
        let now = self.clock.now;
        trace::probe_outcome(|| traced::ended(&self.scan, slot, outcome, error.as_ref(), now));
        if let (Outcome::PermanentLocal(Reason::LocalError), Some(error)) = (outcome, error) {
            self.counters.local_error = Some(error.to_string());
        }
        self.scan.handle_outcome(slot, outcome, now);
        self.traced.cap_after(outcome, &self.scan);
    }
}
