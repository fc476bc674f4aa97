//! Standard output as it may be: a pipe that does not block is waited for, a terminal that has gone
//! is a reader that has gone. It knows bytes, no reports.

use std::io::{self, Write};

use portreeve::engine::StopHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::stdio::stdout;

/// Looks for a stop this often.
const WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// After a stop, a reader that takes nothing for so many waits (2 s) has gone.
const WAITS_AFTER_STOP: u32 = 20;

/// Standard output, unbuffered.
#[derive(Clone, Default)]
pub struct Stdout {
    stop: StopHandle,
}

impl Stdout {
    /// Does not wait for long once this has stopped.
    pub fn new(stop: &StopHandle) -> Self {
        Stdout { stop: stop.clone() }
    }

    /// Waits until it takes something, or until it is time to look for a stop. Whether the time is
    /// over, and the scan was stopped.
    fn wait(&self) -> io::Result<bool> {
        let stdout = stdout();
        let mut places = [PollFd::new(&stdout, PollFlags::OUT)];
        match poll(&mut places, Some(&WAIT)) {
            Ok(0) => Ok(self.stop.is_stopped()),
            Ok(_) | Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut waits = 0;
        loop {
            match rustix::io::write(stdout(), bytes) {
                Err(Errno::AGAIN) if waits < WAITS_AFTER_STOP => waits += u32::from(self.wait()?),
                Err(Errno::AGAIN) => return Err(io::ErrorKind::BrokenPipe.into()),
                // A terminal that hung up.
                Err(Errno::IO) if is_device() => return Err(io::ErrorKind::BrokenPipe.into()),
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether it is a device: a terminal that has gone does not say that it was one.
fn is_device() -> bool {
    fstat(stdout())
        .is_ok_and(|data| FileType::from_raw_mode(data.st_mode) == FileType::CharacterDevice)
}
