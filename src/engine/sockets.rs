//! The sockets of a scan, each in the slot of its attempt, and their counts. Sockets that can be
//! reused stay open between two attempts. The scan decides which slots are in flight, and how many
//! sockets there may be.

use std::io;
use std::net::SocketAddr;

use mio::Registry;

use super::queue::Owner;
use super::socket::{Socket, SocketOptions};
use crate::scan::{Scan, Slot};
use crate::trace;

/// How sockets are treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// Reuse them, where the system can.
    pub keep: bool,
    /// Have the poll tell of data, too.
    pub listen: bool,
}

/// The sockets by slot, with their counts.
#[derive(Debug)]
pub(super) struct Sockets {
    /// In flight where the scan says so, else kept for the slot's next attempt.
    by_slot: Vec<Option<Socket>>,
    options: SocketOptions,
    treatment: Treatment,
    held: u32,
    peak: u32,
    opened: u64,
}

impl Sockets {
    /// Room for `cap` sockets.
    pub fn new(cap: u32, options: SocketOptions, treatment: Treatment) -> Self {
        Sockets {
            // Memory that is never touched costs nothing.
            by_slot: Vec::with_capacity(cap as usize),
            options,
            treatment,
            held: 0,
            peak: 0,
            opened: 0,
        }
    }

    pub fn options(&self) -> &SocketOptions {
        &self.options
    }

    /// Whether sockets are reused at all.
    pub fn keeps(&self) -> bool {
        self.treatment.keep
    }

    /// The most that were open at once.
    pub fn peak(&self) -> u32 {
        self.peak
    }

    /// How many were opened in all.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// A slot's socket, if it has one.
    pub fn get(&self, slot: Slot) -> Option<&Socket> {
        self.by_slot.get(slot as usize)?.as_ref()
    }

    /// Makes sure that a slot has a socket for an attempt at `endpoint`: the one that was kept
    /// there, if it fits, or else a new one. Whether it has been used before.
    pub fn provide(
        &mut self,
        slot: Slot,
        endpoint: SocketAddr,
        avoid_self: u8,
        scan: &Scan,
        registry: &Registry,
    ) -> io::Result<bool> {
        if let Some(kept) = self.get(slot) {
            if kept.fits(endpoint, avoid_self) {
                trace::socket_kept(kept.fd(), slot);
                return Ok(true);
            }
            self.release(slot);
        }
        if self.held >= scan.stats().cap {
            // Others are kept for slots that have no attempt now.
            self.release_idle(scan);
        }
        let mut socket = Socket::open(endpoint, &self.options, avoid_self)?;
        socket.register(registry, Owner::Probe(slot).token(), self.treatment.listen)?;
        trace::socket_opened(socket.fd(), slot);
        self.insert(slot, socket);
        Ok(false)
    }

    /// Registers a slot's socket again, which is connected already. Whether it is another one than
    /// was opened here.
    pub fn register_again(&mut self, slot: Slot, registry: &Registry) -> io::Result<bool> {
        let listens = self.treatment.listen;
        match self.by_slot.get_mut(slot as usize) {
            Some(Some(socket)) => {
                socket.register_again(registry, Owner::Probe(slot).token(), listens)
            }
            _ => Ok(false),
        }
    }

    fn insert(&mut self, slot: Slot, socket: Socket) {
        let at = slot as usize;
        if at >= self.by_slot.len() {
            self.by_slot.resize_with(at + 1, || None);
        }
        self.by_slot[at] = Some(socket);
        self.held += 1;
        self.peak = self.peak.max(self.held);
        self.opened += 1;
    }

    /// Whether a socket may stay open for the next attempt: not while more are open than may be.
    pub fn may_keep(&self, scan: &Scan) -> bool {
        self.treatment.keep && self.held <= scan.stats().cap
    }

    /// Every attempt has a socket of its own from now on.
    pub fn stop_keeping(&mut self, scan: &Scan) {
        self.treatment.keep = false;
        self.release_idle(scan);
    }

    /// Takes a slot's socket away from it, if it has one. It closes when it is dropped.
    pub fn release(&mut self, slot: Slot) -> Option<Socket> {
        let socket = self.by_slot.get_mut(slot as usize)?.take()?;
        trace::socket_closed(socket.fd(), slot);
        self.held -= 1;
        Some(socket)
    }

    /// Closes the sockets that wait for a next attempt: something else needs what they hold.
    pub fn release_idle(&mut self, scan: &Scan) {
        for slot in 0..self.by_slot.len() as Slot {
            if !scan.holds_socket(slot) {
                self.release(slot);
            }
        }
    }

    /// Panics unless the scan's counts match the sockets that are open.
    pub fn check(&self, scan: &Scan, cap: u32) {
        let open = self.by_slot.iter().flatten().count();
        let in_flight = (0..self.by_slot.len() as Slot)
            .filter(|&slot| self.get(slot).is_some() && scan.holds_socket(slot))
            .count();
        assert_eq!(
            in_flight,
            scan.stats().in_flight as usize,
            "an attempt has no socket"
        );
        assert_eq!(open, self.held as usize, "open sockets are miscounted");
        assert!(
            self.treatment.keep || in_flight == open,
            "a socket was not closed"
        );
        assert!(self.peak <= cap, "more sockets than the cap");
    }
}
