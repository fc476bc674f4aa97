//! Standard output as it may be: a pipe that does not block is waited for, a terminal that has gone
//! is a reader that has gone, and it has other names. It knows bytes, no reports.

use std::fs::Metadata;
use std::io::{self, Write};
use std::path::Path;

use portreeve::engine::StopHandle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::stdio::stdout;

use super::files::{identity, is_null};

/// Whether a report with this name goes to standard output: `-`, the names that systems have for
/// it, or whatever else leads to the same pipe or terminal. A regular file by its own name does
/// not: each of the two would write at a place of its own.
pub fn is_stdout(path: &Path) -> bool {
    const NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    let here = || Path::new("/dev/stdout").metadata().ok();
    let is_there = |data: &Metadata| here().is_some_and(|out| identity(&out) == identity(data));
    let is_same = |data: Metadata| !data.is_file() && !is_null(&data) && is_there(&data);
    NAMES.iter().any(|name| path.as_os_str() == *name) || path.metadata().is_ok_and(is_same)
}

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
