//! Locking files, and flushing them to the disk. Not every file system can (NFS, Lustre, CIFS, 9p,
//! FUSE), nor every sandbox: then the work goes on, and a warning says so, once for each. It knows
//! no reports and no checkpoints.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::tell;

/// Something that cannot be done here, and what that means.
struct Inability {
    is_told: AtomicBool,
    what: &'static str,
    consequence: &'static str,
}

static LOCKS: Inability = Inability {
    is_told: AtomicBool::new(false),
    what: "files cannot be locked here",
    consequence: "do not scan into one file twice at a time",
};
static FLUSHES: Inability = Inability {
    is_told: AtomicBool::new(false),
    what: "files cannot be flushed to the disk here",
    consequence: "a crash of the machine may lose what was written last",
};

/// Whether this process has the file for itself now; also where nobody can lock it.
pub fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        locked => LOCKS
            .forgive(locked.map_err(io::Error::from))
            .map(|()| true),
    }
}

/// Flushes a file's content to the disk.
pub fn flush(file: &File) -> io::Result<()> {
    FLUSHES.forgive(file.sync_data())
}

/// Flushes a folder's names to the disk: without that, a crash of the machine may lose a new one.
/// A folder that may be written to and not read cannot be opened for that.
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    FLUSHES.forgive(File::open(folder).and_then(|folder| folder.sync_all()))
}

impl Inability {
    /// Makes a warning of the error if the system cannot do it at all. Everything else went wrong
    /// this time.
    fn forgive(&self, done: io::Result<()>) -> io::Result<()> {
        let Err(error) = done else { return Ok(()) };
        let errno = Errno::from_io_error(&error);
        if !errno.is_some_and(|errno| INABILITIES.contains(&errno)) {
            return Err(error);
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let Inability {
                what, consequence, ..
            } = self;
            tell(&format!("warning: {what} ({error}): {consequence}"));
        }
        Ok(())
    }
}

const INABILITIES: [Errno; 7] = [
    Errno::NOSYS,
    Errno::OPNOTSUPP,
    Errno::NOLCK,
    Errno::BADF,
    Errno::INVAL,
    Errno::PERM,
    Errno::ACCESS,
];
