//! `--checkpoint` and `portreeve resume`: the file that a scan can go on from, whatever happens to the process. At any moment it is
//! either the last one that was written or the one before, whole; and it says how long each report was then, so that what was written
//! after it is written once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use portreeve::plan::{Order, Plan, Shard};
use portreeve::report::checkpoint::{self, CheckpointError};
use portreeve::report::{Checkpoint, Progress};
use portreeve::scan::Time;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::exit::Failure;

/// A checkpoint is written when a quarter of the scan's time has passed since the last, and this often …
const EVERY_PART: u64 = 4;
const EVERY_US: u64 = 2_000_000;
/// … and when so many endpoints have come to a verdict: no more than those are probed twice, and those that were under way.
const EVERY_ENDPOINTS: u64 = 1 << 17;

/// What the command has to know to go on: all that it was told, drew or looked up.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// The command line, and where it was given.
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    pub seed: Option<u64>,
    /// Which shard of how many.
    pub shard: (u32, u32),
    pub lookups: Vec<(String, Vec<SocketAddr>)>,
    /// The plan's digest.
    pub plan: u64,
    pub outputs: Vec<Output>,
}

/// A report's file, and how long it was; other places than regular files have no length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    pub path: PathBuf,
    pub length: Option<u64>,
}

impl Run {
    /// # Errors
    /// What cannot be kept: a command line that is no text, targets that cannot be read again.
    pub fn new(arguments: &[std::ffi::OsString], plan: &Plan, lookups: Vec<(String, Vec<SocketAddr>)>) -> Result<Self, Failure> {
        let word = |word: &std::ffi::OsString| {
            let what =
                || Failure::Usage(format!("--checkpoint keeps the command line, and {word:?} is no text (UTF-8); give it another name"));
            word.to_str().map(String::from).ok_or_else(what)
        };
        let directory =
            std::env::current_dir().map_err(|error| Failure::Usage(format!("--checkpoint keeps the working directory, but {error}")))?;
        Ok(Run {
            arguments: arguments.iter().map(word).collect::<Result<_, _>>()?,
            directory,
            seed: if let Order::Random { seed } = plan.order() { Some(seed) } else { None },
            shard: (plan.shard().number(), plan.shard().of()),
            lookups,
            plan: plan.digest(),
            outputs: Vec::new(),
        })
    }

    pub fn shard(&self) -> Shard {
        Shard::new(self.shard.0, self.shard.1).unwrap_or(Shard::WHOLE)
    }

    /// What a name was found to be when the scan began.
    pub fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let known = self.lookups.iter().find(|(known, _)| known == name);
        known.map(|(_, found)| found.clone()).ok_or_else(|| io::Error::other("it could not be looked up when the scan began"))
    }
}

/// The file of a scan under way. Whoever has it open and locked writes it.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    run: Run,
    reports: Vec<(PathBuf, Option<Rc<File>>)>,
    lock: Option<File>,
    last: Option<(Time, u64)>,
}

impl CheckpointFile {
    /// A new one, to be written when the scan begins.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| Failure::Write { name: path.display().to_string(), error };
        let path = std::path::absolute(path).and_then(|path| path.canonicalize().or(Ok(path))).map_err(cannot)?;
        let file = CheckpointFile { path, run: Run::default(), reports: Vec::new(), lock: None, last: None };
        // Better now than after the first seconds of the scan.
        File::create(file.next()).and_then(|_| std::fs::remove_file(file.next())).map_err(cannot)?;
        Ok(file)
    }

    /// The scan that was kept there; none if it came to its end.
    pub fn open(path: &Path) -> Result<Option<Unfinished>, LoadError> {
        let (run, from, lock) = load(path)?;
        let file = CheckpointFile { path: path.canonicalize()?, run: Run::default(), reports: Vec::new(), lock: Some(lock), last: None };
        Ok(from.map(|from| Unfinished { file, run, from }))
    }

    /// What goes into it beside the scan's own.
    pub fn keep(&mut self, run: Run, reports: Vec<(PathBuf, Option<Rc<File>>)>) {
        (self.run, self.reports) = (run, reports);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_due(&self, progress: &Progress) -> bool {
        self.last.is_none_or(|(at, settled)| {
            progress.elapsed.us_since(at) >= (at.us / EVERY_PART).min(EVERY_US) || progress.stats.settled() - settled >= EVERY_ENDPOINTS
        })
    }

    /// Writes it: whole, or not at all. Everything that was reported until now is on the disk before.
    pub fn write(&mut self, checkpoint: Option<&Checkpoint>) -> io::Result<()> {
        if let Some(checkpoint) = checkpoint {
            self.last = Some((checkpoint.summary.elapsed, checkpoint.summary.stats.settled()));
        }
        self.run.outputs = self.reports.iter().map(|(path, file)| output(path, file.as_deref())).collect::<io::Result<_>>()?;
        let text = checkpoint::write(&self.run, checkpoint)?;
        let mut file = File::create(self.next())?;
        // Others must not find it unlocked.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(self.next(), &self.path)?;
        self.lock = Some(file);
        // Only then a crash of the machine finds the new name, too.
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Where the next one is written before it takes the last one's name.
    fn next(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }
}

fn output(path: &Path, file: Option<&File>) -> io::Result<Output> {
    let length = |file: &File| {
        file.sync_data()?;
        file.metadata().map(|data| data.len())
    };
    Ok(Output { path: path.into(), length: file.map(length).transpose()? })
}

/// A scan that was broken off.
#[derive(Debug)]
pub struct Unfinished {
    pub file: CheckpointFile,
    pub run: Run,
    pub from: Checkpoint,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is not what it should be.
    #[error("{0}")]
    Content(#[from] CheckpointError),
    /// Somebody else has it.
    #[error("the scan that writes it is still running")]
    InUse,
}

fn load(path: &Path) -> Result<(Run, Option<Checkpoint>, File), LoadError> {
    let mut file = File::open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(LoadError::InUse);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let (ours, there) = (file.metadata()?, path.metadata()?);
    if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
        // Its writer was about to give the name to the next one.
        return Err(LoadError::InUse);
    }
    let (run, checkpoint) = checkpoint::read(&text)?;
    Ok((run, checkpoint, file))
}

/// Opens a report's file to go on where it was when the checkpoint was written. What came after that will come again.
pub fn reopen(output: &Output) -> io::Result<File> {
    let mut options = File::options();
    let Some(length) = output.length else { return options.append(true).open(&output.path) };
    let mut file = options.write(true).open(&output.path)?;
    let found = file.metadata()?.len();
    if found < length {
        let what =
            format!("it has {found} bytes and had {length} when the checkpoint was written; put it back, or scan from the beginning");
        return Err(io::Error::other(what));
    }
    file.seek(SeekFrom::Start(length))?;
    Ok(file)
}

/// Cuts off what a report's file has beyond the checkpoint. After all of them were opened: if one cannot be, none is touched.
pub fn cut(output: &Output, file: &File) -> io::Result<()> {
    output.length.map_or(Ok(()), |length| file.set_len(length))
}
