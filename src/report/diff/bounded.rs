//! A reader that gives up on a piece of text without an end: an XML parser keeps a whole element in
//! memory. It knows bytes only.

use std::io::{self, BufRead, Read};

/// Longer than any element that a scanner writes: nmap's `services` of all ports have 300 kB.
const MOST_BYTES: usize = 4 << 20;

/// Reads from `R`, but no more than 4 MiB until [`begin`](Bounded::begin) is called again.
pub(super) struct Bounded<R> {
    from: R,
    left: usize,
}

impl<R: BufRead> Bounded<R> {
    pub fn new(from: R) -> Self {
        let left = MOST_BYTES;
        Bounded { from, left }
    }

    /// Begins with another piece.
    pub fn begin(&mut self) {
        self.left = MOST_BYTES;
    }

    /// Whether nothing follows.
    pub fn is_at_end(&mut self) -> bool {
        self.from.fill_buf().is_ok_and(<[u8]>::is_empty)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let most = self.left;
        let bytes = self.from.fill_buf()?;
        if most == 0 && !bytes.is_empty() {
            return Err(io::Error::other("an element is longer than 4 MiB"));
        }
        Ok(&bytes[..bytes.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.left -= count;
        self.from.consume(count);
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.fill_buf()?;
        let count = bytes.read(into)?;
        self.consume(count);
        Ok(count)
    }
}
