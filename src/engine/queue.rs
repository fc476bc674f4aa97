//! The system's event queue (epoll, kqueue), and which part of the engine each event is for. It
//! only waits; it does not know what its sockets do.

use std::io;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token};

use super::http;
use crate::scan::Slot;

/// A call that does not wait is hardly ever interrupted, and never this often in a row.
const INTERRUPTED_MOST: u32 = 100;

/// The part of the engine that an event is for. Only here are tokens made from owners, and owners
/// from tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The attempt in this slot.
    Probe(Slot),
    /// The server of `--metrics`.
    Metrics(http::Part),
    /// What the kernel tells of neighbours.
    Links,
}

/// Slots stay below this: there are no more of them than descriptors, which are `i32`.
const METRICS_LISTENER: usize = 1 << 31;
const LINKS: usize = METRICS_LISTENER + 1;
/// Connections to the server have tokens from here on.
const METRICS_CONNECTION: usize = LINKS + 1;

impl Owner {
    pub fn token(self) -> Token {
        Token(match self {
            Owner::Probe(slot) => slot as usize,
            Owner::Metrics(http::Part::Listener) => METRICS_LISTENER,
            Owner::Links => LINKS,
            Owner::Metrics(http::Part::Connection(place)) => METRICS_CONNECTION + place,
        })
    }

    pub fn of(token: Token) -> Self {
        match token.0 {
            METRICS_LISTENER => Owner::Metrics(http::Part::Listener),
            LINKS => Owner::Links,
            at @ METRICS_CONNECTION.. => {
                Owner::Metrics(http::Part::Connection(at - METRICS_CONNECTION))
            }
            slot => Owner::Probe(slot as Slot),
        }
    }
}

/// The queue, with the batch of events that was last taken from it.
#[derive(Debug)]
pub(super) struct Queue {
    poll: Poll,
    batch: Events,
}

impl Queue {
    /// At most `batch` events are taken at once.
    pub fn new(batch: usize) -> io::Result<Self> {
        Ok(Queue {
            poll: Poll::new()?,
            batch: Events::with_capacity(batch),
        })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits for events, and takes a batch of them. After a signal it takes them once more, without
    /// waiting: the signal's handler may have set the stop flag, and answers that have arrived must
    /// be taken before anything expires.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut result = self.poll.poll(&mut self.batch, Some(timeout));
        for _ in 0..INTERRUPTED_MOST {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    result = self.poll.poll(&mut self.batch, Some(Duration::ZERO));
                }
                _ => break,
            }
        }
        result
    }

    /// Whether the batch is empty.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Takes the batch. [Put it back](Self::put_back) when it is settled.
    pub fn take_batch(&mut self) -> Events {
        std::mem::replace(&mut self.batch, Events::with_capacity(0))
    }

    /// Gives a batch's memory back to the queue.
    pub fn put_back(&mut self, batch: Events) {
        self.batch = batch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_owner() {
        for owner in [
            Owner::Probe(0),
            Owner::Probe(i32::MAX as Slot),
            Owner::Metrics(http::Part::Listener),
            Owner::Links,
            Owner::Metrics(http::Part::Connection(0)),
            Owner::Metrics(http::Part::Connection(http::CONNECTIONS - 1)),
        ] {
            assert_eq!(Owner::of(owner.token()), owner);
        }
    }
}
