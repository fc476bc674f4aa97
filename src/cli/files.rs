//! The files of reports. They are opened and checked before anything is sent, and cut off only when
//! the scan begins, so a refused start leaves them unchanged. They know bytes, no reports.

use std::cell::Cell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::durable;
use super::exit::Failure;

/// The permissions of files that are created.
pub const NEW_FILE_MODE: u32 = 0o600;

/// Opens a regular file by exactly this name: it follows no link and waits for no pipe.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match options.custom_flags(flags.bits() as i32).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Err(io::Error::other("it is a symbolic link"))
        }
        // A pipe without a reader, or a socket.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            Err(io::Error::other("it is no regular file"))
        }
        other => other,
    }?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// A report's place and what was written there, for a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    pub path: PathBuf,
    /// `None` for anything but a regular file.
    pub content: Option<Content>,
}

/// The length and the FNV-1a digest of a file's bytes. Unlike the digest of plans, it does not
/// depend on how the bytes were split into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    bytes: u64,
    digest: u64,
}

impl Content {
    pub const NONE: Content = Content {
        bytes: 0,
        digest: 0xCBF2_9CE4_8422_2325,
    };

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.digest = bytes.iter().fold(self.digest, |digest, &byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A report's file.
#[derive(Clone, Debug)]
pub struct ReportFile(Rc<Opened>);

#[derive(Debug)]
struct Opened {
    file: File,
    is_regular: bool,
    /// The content kept from before and what was written since; not tracked unless asked for.
    content: Cell<Content>,
    is_followed: bool,
}

impl ReportFile {
    /// Opens a file for a new report. Nobody else may read one that did not exist: it may name what
    /// is vulnerable. With `is_followed` its [`content`](Self::content) is known.
    pub fn create(path: &Path, is_followed: bool) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(NEW_FILE_MODE)
            .open(path)?;
        Self::new(file, Content::NONE, is_followed)
    }

    /// A file for something new that is already open.
    pub fn opened(file: File, is_followed: bool) -> io::Result<Self> {
        Self::new(file, Content::NONE, is_followed)
    }

    /// Reopens a report's file to continue where the checkpoint says. What was written after that
    /// will be written again.
    pub fn reopen(written: &Written) -> io::Result<Self> {
        let Some(content) = written.content else {
            let file = Self::new(
                File::options().append(true).open(&written.path)?,
                Content::NONE,
                true,
            )?;
            let was_none = "it is a file, and was none when the checkpoint was written; scan from the beginning";
            return if file.0.is_regular {
                Err(io::Error::other(was_none))
            } else {
                Ok(file)
            };
        };
        let file = open_regular(&written.path, File::options().read(true).write(true))?;
        let mut found = Content::NONE;
        io::copy(&mut (&file).take(content.bytes), &mut found)?;
        if found != content {
            let what = if found.bytes < content.bytes {
                format!(
                    "it has {} bytes and had {} when the checkpoint was written",
                    found.bytes, content.bytes
                )
            } else {
                "it begins differently than when the checkpoint was written".into()
            };
            return Err(io::Error::other(
                what + "; put it back, or scan from the beginning",
            ));
        }
        Self::new(file, content, true)
    }

    fn new(file: File, content: Content, is_followed: bool) -> io::Result<Self> {
        let is_regular = file.metadata()?.is_file();
        Ok(ReportFile(Rc::new(Opened {
            file,
            is_regular,
            content: content.into(),
            is_followed,
        })))
    }

    /// Whether it is a regular file, not a pipe or a device.
    pub fn is_regular(&self) -> bool {
        self.0.is_regular
    }

    /// Whether nothing was kept from before, and nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.content.get().is_empty()
    }

    /// Keeps other scans from writing this file while it is open here: their lines would mix with
    /// ours. All files must have been found distinct before. Where the file system has no locks,
    /// nobody is kept.
    pub fn lock(&self, name: &str) -> Result<(), Failure> {
        let taken = "another process is writing it; wait for its end, or give another file";
        if self.0.is_regular && matches!(durable::lock(&self.0.file), Ok(false)) {
            return Err(Failure::Write {
                name: name.into(),
                error: io::Error::other(taken),
            });
        }
        Ok(())
    }

    /// Cuts off everything behind the content that is kept. All files must have been opened before
    /// the first is cut.
    pub fn cut(&self) -> io::Result<()> {
        let Opened {
            file,
            is_regular,
            content,
            ..
        } = &*self.0;
        if !is_regular {
            return Ok(());
        }
        file.set_len(content.get().bytes)?;
        let mut place: &File = file;
        place.seek(SeekFrom::Start(content.get().bytes)).map(drop)
    }

    /// The content that is certainly on the disk now; `None` if this is no regular file.
    pub fn content(&self) -> io::Result<Option<Content>> {
        let Opened {
            file,
            is_regular,
            content,
            ..
        } = &*self.0;
        if *is_regular {
            durable::flush(file).map(|()| Some(content.get()))
        } else {
            Ok(None)
        }
    }
}

impl Read for ReportFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut place: &File = &self.0.file;
        place.read(bytes)
    }
}

/// What is followed is written at its end only.
impl Seek for ReportFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut place: &File = &self.0.file;
        place.seek(to)
    }
}

impl Write for ReportFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Opened {
            file,
            content,
            is_followed,
            ..
        } = &*self.0;
        let mut place: &File = file;
        let length = place.write(bytes)?;
        if *is_followed {
            let mut now = content.get();
            now.write_all(&bytes[..length])?;
            content.set(now);
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses names of reports that lead to the same file, where each would overwrite the other, or to
/// a file that is `taken`. A file that does not exist yet may turn out to be a link, so this is
/// checked again once all are open.
pub fn check_distinct(reports: &[&Path], taken: &[&Path]) -> Result<(), Failure> {
    for (i, path) in reports.iter().enumerate() {
        let is_same = |other: &&Path| is_same_file(path, other);
        if reports[..i].iter().any(is_same) {
            return Err(Failure::Usage(format!(
                "two reports cannot both go to {}; give each a file of its own",
                path.display()
            )));
        }
        if let Some(other) = taken.iter().copied().find(is_same) {
            let path = path.display();
            let other = other.display();
            return Err(Failure::Usage(format!(
                "a report cannot go to {path}: {other} is in use already; give it a file of its own"
            )));
        }
    }
    Ok(())
}

/// Whether both names lead to the same file, pipe or device. Any number of reports may go to
/// /dev/null.
fn is_same_file(one: &Path, other: &Path) -> bool {
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => identity(&one) == identity(&other) && !is_null(&one),
        (Err(_), Err(_)) => place(one).is_some_and(|here| Some(here) == place(other)),
        _ => false,
    }
}

/// Whether it is /dev/null, which keeps nothing.
pub fn is_null(data: &Metadata) -> bool {
    Path::new("/dev/null")
        .metadata()
        .is_ok_and(|null| identity(data) == identity(&null))
}

/// The identity of a file, whatever its name: device and inode.
pub fn identity(data: &Metadata) -> (u64, u64) {
    (data.dev(), data.ino())
}

/// Where a file will be created.
fn place(path: &Path) -> Option<PathBuf> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}
