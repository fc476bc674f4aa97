//! A buffer in front of a writer that passes on whole lines only. It knows bytes, no findings.

use std::io::{self, Write};

/// Writes whole lines to `W`: whatever happens to the process, what reached the writer ends with a
/// complete line.
#[derive(Debug)]
pub(super) struct WholeLines<W> {
    out: W,
    held: Vec<u8>,
}

/// Room for some two hundred findings. A system call for each line would cost more than the probe.
const HELD_BYTES: usize = 32 * 1024;

impl<W: io::Write> WholeLines<W> {
    pub fn new(out: W) -> Self {
        WholeLines {
            out,
            held: Vec::with_capacity(HELD_BYTES),
        }
    }

    /// Adds what `write` writes, which must end with a line break.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        write(&mut self.held)?;
        if self.held.len() >= HELD_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Adds whole lines. Those of a large host are passed on at once.
    pub fn add_text(&mut self, text: &str) -> io::Result<()> {
        if text.len() < HELD_BYTES {
            return self.add(|out| out.write_all(text.as_bytes()));
        }
        self.flush()?;
        self.out.write_all(text.as_bytes())
    }

    /// Writes out what is held.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self
            .out
            .write_all(&self.held)
            .and_then(|()| self.out.flush());
        self.held.clear();
        written
    }
}
