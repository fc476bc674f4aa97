//! One attempt, from its socket to its outcome: begun, given up or settled, then perhaps listened
//! to. [`scan`](crate::scan) decides what the outcome means for the endpoint.

use std::io;

use super::http::Server;
use super::socket::{self, Answer, Socket};
use super::{Scanner, traced};
use crate::scan::{Connect, Outcome, Reason, Slot};
use crate::trace;

/// For closing a connection when no more is known of it.
const CONNECTED: Outcome = Outcome::Connected {
    rtt_us: None,
    syn_sent_again: false,
};

/// What is told of sockets that were exchanged under way.
const NOT_OURS: &str = "connect() came back with another socket in place of ours: a preloaded \
                        library (LD_PRELOAD) is in the way, and the verdicts are what it says";

/// What is told where sockets turn out to serve only once.
const SINGLE_USE: &str = "sockets cannot be used twice here, as Linux's can; each attempt has a \
                          new one";

/// Why an attempt could not begin, and the errno behind it.
type Failed = (Outcome, io::Error);

impl Scanner {
    /// Begins an attempt. The outcome of one that ends at once is handed over at once.
    pub(super) fn begin(&mut self, connect: Connect) {
        let is_own = |server: &Server| server.is_at(connect.endpoint);
        if self.server.as_ref().is_some_and(is_own) {
            let nothing = Outcome::PermanentLocal(Reason::OwnListener);
            return self.hand_over(connect.slot, nothing, None);
        }
        if connect.datagram {
            self.talk
                .send_datagram(connect.endpoint, self.sockets.options());
        }
        let (outcome, error) = match self.connect(&connect) {
            Ok(false) => return,
            Ok(true) => return self.settle_at_once(connect.slot),
            Err(failed) => failed,
        };
        self.sockets.release(connect.slot);
        if self.idle_sockets_may_be_why(outcome) {
            self.sockets.release_idle(&self.scan);
        }
        self.hand_over(connect.slot, outcome, Some(error));
    }

    /// Returns whether it is connected already.
    fn connect(&mut self, connect: &Connect) -> Result<bool, Failed> {
        let provided = self.provide(connect);
        let slot = connect.slot;
        let fd = self.sockets.get(slot).map_or(-1, Socket::fd);
        let number = || self.scan.attempt(slot).map_or(0, |(number, _)| number);
        trace::probe_start(connect.endpoint, slot, fd, number);
        let was_used = provided?;
        match self.connect_socket(connect) {
            Err((_, error)) if was_used && socket::shows_single_use(&error) => {
                self.connect_afresh(connect, &error)
            }
            done => done,
        }
    }

    /// Returns whether the socket has been used before.
    fn provide(&mut self, connect: &Connect) -> Result<bool, Failed> {
        let &Connect {
            slot,
            endpoint,
            avoid_self,
            ..
        } = connect;
        let registry = self.queue.registry();
        self.sockets
            .provide(slot, endpoint, avoid_self, &self.scan, registry)
            .map_err(|error| (socket::failure_to_begin(&error), error))
    }

    fn connect_socket(&self, connect: &Connect) -> Result<bool, Failed> {
        let socket = self.sockets.get(connect.slot);
        socket.map_or(Ok(false), |socket| socket.connect(connect.endpoint))
    }

    /// A socket that was used before failed as if it could not be used again (gVisor). A new one
    /// shows whether that was the reason: then no socket is kept any more.
    fn connect_afresh(&mut self, connect: &Connect, failed: &io::Error) -> Result<bool, Failed> {
        self.sockets.release(connect.slot);
        self.provide(connect)?;
        let done = self.connect_socket(connect);
        let fails_alike = matches!(
            &done,
            Err((_, error)) if error.raw_os_error() == failed.raw_os_error()
        );
        if !fails_alike {
            self.sockets.stop_keeping(&self.scan);
            self.counters.local_error = Some(SINGLE_USE.into());
        }
        done
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
        self.hand_over(slot, Outcome::Silence, None);
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
        let answer = socket.answer(endpoint, self.sockets.keeps(), self.sockets.options());
        if let Some(answer) = answer {
            self.take_answer(slot, answer);
        }
    }

    /// A slot's socket was connected when connect() returned. The kernel does that to no
    /// non-blocking TCP socket, but a preloaded library may wait, and may put a socket of its own
    /// in place of ours, to which nothing but its connection need have happened.
    fn settle_at_once(&mut self, slot: Slot) {
        let registered = self.sockets.register_again(slot, self.queue.registry());
        // Without events only a banner is missed.
        if registered.unwrap_or(false) {
            self.counters.local_error = Some(NOT_OURS.into());
        }
        let (Some(endpoint), Some(socket)) = (self.scan.endpoint(slot), self.sockets.get(slot))
        else {
            return;
        };
        let answer = socket.connected(endpoint, self.sockets.options());
        self.take_answer(slot, answer);
    }

    /// Sees to what became of a slot's attempt.
    fn take_answer(&mut self, slot: Slot, mut answer: Answer) {
        let Some(socket) = self.sockets.get(slot) else {
            return;
        };
        if answer
            .own_source
            .is_some_and(|local| self.scan.may_have_met(local))
        {
            answer.outcome = Outcome::SelfConnected;
        }
        if matches!(answer.outcome, Outcome::Connected { .. }) {
            if let Some(endpoint) = self.scan.endpoint(slot) {
                self.talk.greet(endpoint, socket);
            }
            self.hand_over(slot, answer.outcome, None);
            return self.listen(slot);
        }
        if !(self.sockets.may_keep(&self.scan) && socket.reuse_after(&answer)) {
            self.close(slot, answer.outcome);
        }
        let Answer { outcome, error, .. } = answer;
        self.hand_over(slot, outcome, error);
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
    fn hand_over(&mut self, slot: Slot, outcome: Outcome, error: Option<io::Error>) {
        let now = self.clock.now;
        trace::probe_outcome(|| traced::ended(&self.scan, slot, outcome, error.as_ref(), now));
        if let (Outcome::PermanentLocal(Reason::LocalError), Some(error)) = (outcome, error) {
            self.counters.local_error = Some(error.to_string());
        }
        self.scan.handle_outcome(slot, outcome, now);
        self.traced.cap_after(outcome, &self.scan);
    }
}
