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

static TOLD_OF_LOCKS: AtomicBool = AtomicBool::new(false);
static TOLD_OF_FLUSHES: AtomicBool = AtomicBool::new(false);

/// Whether this process has the file for itself now; also where nobody can lock it.
pub fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) if is_inability(errno) => {
            let what = "files cannot be locked here";
            warn(
                &TOLD_OF_LOCKS,
                what,
                errno,
                "do not scan into one file twice at a time",
            );
            Ok(true)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Flushes a file's content to the disk.
pub fn flush(file: &File) -> io::Result<()> {
    bear(file.sync_data())
}

/// Flushes a folder's names to the disk: without that, a crash of the machine may lose a new one.
pub fn flush_folder(folder: &Path) -> io::Result<()> {
    bear(File::open(folder).and_then(|folder| folder.sync_all()))
}

fn bear(flushed: io::Result<()>) -> io::Result<()> {
    let errno = flushed.as_ref().err().and_then(Errno::from_io_error);
    let Some(errno) = errno.filter(|&errno| is_inability(errno)) else {
        return flushed;
    };
    let what = "files cannot be flushed to the disk here";
    warn(
        &TOLD_OF_FLUSHES,
        what,
        errno,
        "a crash of the machine may lose what was written last",
    );
    Ok(())
}

/// Whether the system cannot do it at all. Everything else went wrong this time.
fn is_inability(errno: Errno) -> bool {
    // A folder that may be written to and not read cannot be opened.
    matches!(
        errno,
        Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::NOLCK
            | Errno::BADF
            | Errno::INVAL
            | Errno::PERM
            | Errno::ACCESS
    )
}

fn warn(is_told: &AtomicBool, what: &str, errno: Errno, consequence: &str) {
    if !is_told.swap(true, Ordering::Relaxed) {
        tell(&format!(
            "warning: {what} ({}): {consequence}",
            io::Error::from(errno)
        ));
    }
}
