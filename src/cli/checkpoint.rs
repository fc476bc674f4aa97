//! `--checkpoint` and `portreeve resume`: the file from which a scan can continue, whatever happens
//! to the process. At any moment the file is complete: the last checkpoint or the one before. It
//! records how long each report was, so that nothing is reported twice. Beside it is a file of
//! findings that are too many for memory and wait for their host; its length is recorded, too.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, ErrorKind, Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portreeve::plan::{Order, Plan, Shard};
use portreeve::report::checkpoint::{self, CheckpointError};
use portreeve::report::{Checkpoint, Progress, may_be_findings};
use portreeve::scan::Time;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::durable;
use super::exit::Failure;
use super::files::{Content, ReportFile, Written, identity, open_regular};

/// A checkpoint is due when a quarter of the scan's time has passed since the last, at the latest
/// after this …
const EVERY_PART: u64 = 4;
const EVERY_US: u64 = 2_000_000;
/// … or when this many endpoints have got a verdict. No more than those are probed twice, and those
/// under way.
const EVERY_ENDPOINTS: u64 = 1 << 17;

/// What the command needs to continue: everything it was told, drew or looked up.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// The command line.
    pub arguments: Vec<String>,
    /// The folder in which it was given.
    pub directory: PathBuf,
    /// The order's seed, unless the order is sequential.
    pub seed: Option<u64>,
    /// The shard's number, and how many there are.
    pub shard: (u32, u32),
    /// The names that were looked up, and their addresses.
    pub lookups: Vec<(String, Vec<SocketAddr>)>,
    /// The plan's digest.
    pub plan: u64,
    /// The reports, and what was written of each.
    pub outputs: Vec<Written>,
    /// What was written to the file of findings, if anything was.
    pub findings: Option<Content>,
}

impl Run {
    /// What to keep of a run that begins now, in this folder.
    ///
    /// # Errors
    /// What cannot be kept: a command line that is not UTF-8, or no working directory.
    pub fn new(
        arguments: &[OsString],
        plan: &Plan,
        lookups: Vec<(String, Vec<SocketAddr>)>,
    ) -> Result<Self, Failure> {
        let word = |word: &OsString| {
            let what = || {
                Failure::Usage(format!(
                    "--checkpoint keeps the command line, and {word:?} is no text (UTF-8); give it another name"
                ))
            };
            word.to_str().map(String::from).ok_or_else(what)
        };
        let directory = std::env::current_dir().map_err(|error| {
            Failure::Usage(format!(
                "--checkpoint keeps the working directory, but {error}"
            ))
        })?;
        Ok(Run {
            arguments: arguments.iter().map(word).collect::<Result<_, _>>()?,
            directory,
            seed: match plan.order() {
                Order::Random { seed } => Some(seed),
                Order::Sequential => None,
            },
            shard: (plan.shard().number(), plan.shard().of()),
            lookups,
            plan: plan.digest(),
            outputs: Vec::new(),
            findings: None,
        })
    }

    pub fn shard(&self) -> Shard {
        Shard::new(self.shard.0, self.shard.1).unwrap_or(Shard::WHOLE)
    }

    /// The addresses that a name had when the scan began.
    pub fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let known = self.lookups.iter().find(|(known, _)| known == name);
        known
            .map(|(_, found)| found.clone())
            .ok_or_else(|| io::Error::other("it could not be looked up when the scan began"))
    }
}

/// The checkpoint's file during a scan. Only the process that has it open and locked writes it;
/// before the first one is written, the process that has the next one.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    run: Run,
    reports: Vec<(PathBuf, Option<ReportFile>)>,
    lock: Option<File>,
    next: Option<File>,
    /// Whether this process has created the next one's file. A file that a killed scan left is
    /// used, and stays.
    made_next: bool,
    /// Findings that wait for their host, if a report wants them so.
    findings: Option<ReportFile>,
    made_findings: bool,
    last: Option<(Time, u64)>,
}

impl CheckpointFile {
    /// A new checkpoint, to be written once the scan has begun.
    pub fn create(path: &Path) -> Result<Self, LoadError> {
        let file = Self::claim(path, None)?;
        // Another process may have created it in the meantime.
        if file.path.exists() {
            Err(LoadError::InUse)
        } else {
            Ok(file)
        }
    }

    /// Opens a checkpoint: with its scan, unless that has ended.
    pub fn open(path: &Path) -> Result<(Self, Option<Unfinished>), LoadError> {
        let (lock, unfinished) = load(path)?;
        Ok((Self::claim(path, Some(lock))?, unfinished))
    }

    /// Opens the file of the first checkpoint now, and not some seconds into the scan: that may
    /// fail.
    fn claim(path: &Path, lock: Option<File>) -> Result<Self, LoadError> {
        let path = std::path::absolute(path)
            .and_then(|path| path.canonicalize().or(Ok(path)))
            .map_err(LoadError::Write)?;
        let mut file = CheckpointFile {
            path,
            run: Run::default(),
            reports: Vec::new(),
            lock,
            next: None,
            made_next: false,
            findings: None,
            made_findings: false,
            last: None,
        };
        let next = locked(file.open_next().map_err(LoadError::Write)?)?;
        durable::flush(&next)
            .and_then(|()| file.flush_folder())
            .map_err(LoadError::Write)?;
        file.next = Some(next);
        Ok(file)
    }

    /// Sets what is kept beside the scan's own state.
    pub fn keep(&mut self, run: Run, reports: Vec<(PathBuf, Option<ReportFile>)>) {
        self.run = run;
        self.reports = reports;
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_due(&self, progress: &Progress) -> bool {
        self.last.is_none_or(|(at, settled)| {
            progress.elapsed.us_since(at) >= (at.us / EVERY_PART).min(EVERY_US)
                || progress.stats.settled() - settled >= EVERY_ENDPOINTS
        })
    }

    /// Writes a checkpoint, completely or not at all. By then, everything reported so far is on the
    /// disk.
    pub fn write(&mut self, checkpoint: Option<&Checkpoint>) -> io::Result<()> {
        if let Some(checkpoint) = checkpoint {
            self.last = Some((
                checkpoint.summary.elapsed,
                checkpoint.summary.stats.settled(),
            ));
        }
        let written = |(path, file): &(PathBuf, Option<ReportFile>)| {
            let content = file
                .as_ref()
                .map(ReportFile::content)
                .transpose()?
                .flatten();
            io::Result::Ok(Written {
                path: path.clone(),
                content,
            })
        };
        self.run.outputs = self
            .reports
            .iter()
            .map(written)
            .collect::<io::Result<_>>()?;
        let findings = self.findings.as_ref().map(ReportFile::content);
        self.run.findings = findings.transpose()?.flatten().filter(|it| !it.is_empty());
        let text = checkpoint::write(&self.run, checkpoint)?;
        let next = match self.next.take() {
            Some(next) => next,
            None => {
                let next = self.open_next()?;
                // No other process may find it unlocked.
                if !durable::lock(&next)? {
                    return Err(ErrorKind::WouldBlock.into());
                }
                next
            }
        };
        let next = self.next.insert(next);
        // A killed scan may have left something in it, which was checked when it was opened.
        next.set_len(0)?;
        next.rewind()?;
        next.write_all(text.as_bytes())?;
        durable::flush(next)?;
        std::fs::rename(self.next_path(), &self.path)?;
        self.lock = self.next.take();
        if checkpoint.is_none() && self.findings.take().is_some() {
            // A leftover is harmless, so failing does not matter.
            let _ = std::fs::remove_file(self.findings_path());
        }
        self.flush_folder()
    }

    /// Opens the file of findings: with what the checkpoint knows of it, or for new ones.
    pub fn open_findings(&mut self, known: Option<Content>) -> Result<ReportFile, Failure> {
        let path = self.findings_path();
        let (name, opened) = match known {
            None => (&self.path.clone(), self.new_findings(&path)),
            Some(content) => (&path, reopened_findings(&path, content)),
        };
        let name = name.display().to_string();
        let file = opened.map_err(|error| Failure::Write { name, error })?;
        Ok(self.findings.insert(file).clone())
    }

    fn new_findings(&mut self, path: &Path) -> io::Result<ReportFile> {
        let (file, is_made) = open_own(
            path,
            |file| may_be_findings(file),
            "it is no file of findings",
        )?;
        self.made_findings = is_made;
        ReportFile::opened(file, true)
    }

    /// The file of findings.
    pub fn findings_path(&self) -> PathBuf {
        self.beside(".findings")
    }

    fn flush_folder(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), durable::flush_folder)
    }

    /// Opens the next one's file. It may belong to another process, so nothing is cut off before it
    /// is locked.
    fn open_next(&mut self) -> io::Result<File> {
        let path = self.next_path();
        let (file, is_made) = open_own(
            &path,
            |file| checkpoint::may_be_one(file),
            "it is no checkpoint",
        )?;
        self.made_next = is_made;
        Ok(file)
    }

    /// The next one's file. When it is written, it takes the last one's name.
    pub fn next_path(&self) -> PathBuf {
        self.beside(".new")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }
}

/// Makes a file, or opens what a killed scan has left: returns it, and whether it is made. What is
/// `not` such a file, or another user's, is left alone.
fn open_own(
    path: &Path,
    is_such: impl FnOnce(&File) -> io::Result<bool>,
    not: &str,
) -> io::Result<(File, bool)> {
    let mut options = File::options();
    options.read(true).write(true);
    match open_regular(path, options.clone().create_new(true).mode(0o600)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made.map(|file| (file, true)),
    }
    let in_the_way = |what: String| {
        let path = path.display();
        io::Error::other(format!("{path} is in the way ({what}); move it elsewhere"))
    };
    let file = open_regular(path, &mut options).map_err(|error| in_the_way(error.to_string()))?;
    check_owner(&file.metadata()?).map_err(in_the_way)?;
    if is_such(&file)? {
        Ok((file, false))
    } else {
        Err(in_the_way(not.into()))
    }
}

/// The findings that a checkpoint knows of.
fn reopened_findings(path: &Path, content: Content) -> io::Result<ReportFile> {
    let file = ReportFile::reopen(&Written {
        path: path.into(),
        content: Some(content),
    })
    .map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::other(
            "it is not there; put it back beside the checkpoint, or scan from the beginning",
        ),
        _ => error,
    })?;
    check_owner(&path.metadata()?).map_err(io::Error::other)?;
    Ok(file)
}

impl Drop for CheckpointFile {
    fn drop(&mut self) {
        // A leftover is harmless, so failing does not matter.
        if self.next.is_some() && self.made_next {
            let _ = std::fs::remove_file(self.next_path());
        }
        let is_empty = |file: &ReportFile| file.is_empty();
        if self.made_findings && self.findings.as_ref().is_some_and(is_empty) {
            let _ = std::fs::remove_file(self.findings_path());
        }
    }
}

/// A scan that was interrupted.
#[derive(Debug)]
pub struct Unfinished {
    pub run: Run,
    pub from: Checkpoint,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{0}")]
    File(io::Error),
    /// It is no checkpoint, or damaged.
    #[error("{0}")]
    Content(#[from] CheckpointError),
    /// Another user may have written it.
    #[error(
        "{0}, and a checkpoint says which files are written; if you trust it, copy it to a file that only you can write"
    )]
    Stranger(String),
    /// Another process has it.
    #[error("the scan that writes it is still running")]
    InUse,
    /// The next one cannot be written.
    #[error("it cannot be written: {0}")]
    Write(io::Error),
}

fn load(path: &Path) -> Result<(File, Option<Unfinished>), LoadError> {
    // A link that the user typed is followed; its target must not be a link.
    let path = path.canonicalize().map_err(LoadError::File)?;
    // Where locks are the server's (NFS), only who may write can have one.
    let open = |writes| open_regular(&path, File::options().read(true).write(writes));
    let file = open(true).or_else(|_| open(false));
    let file = locked(file.map_err(LoadError::File)?)?;
    let ours = file.metadata().map_err(LoadError::File)?;
    check_owner(&ours).map_err(LoadError::Stranger)?;
    let (run, from) = checkpoint::read(BufReader::new(&file))?;
    let there = path.metadata().map_err(LoadError::File)?;
    if identity(&ours) != identity(&there) {
        // Its writer was just replacing it.
        return Err(LoadError::InUse);
    }
    Ok((file, from.map(|from| Unfinished { run, from })))
}

/// A checkpoint names the files that are written, so no other user may have written it.
fn check_owner(data: &Metadata) -> Result<(), String> {
    let owner = data.uid();
    let mode = data.mode() & 0o7777;
    if owner != geteuid().as_raw() && owner != 0 {
        return Err(format!("it belongs to another user, {owner}"));
    }
    if mode & 0o022 != 0 {
        Err(format!("others may write to it: its mode is {mode:04o}"))
    } else {
        Ok(())
    }
}

fn locked(file: File) -> Result<File, LoadError> {
    match durable::lock(&file).map_err(LoadError::File)? {
        true => Ok(file),
        false => Err(LoadError::InUse),
    }
}

impl LoadError {
    /// Whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, LoadError::File(error) if error.kind() == ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_scan_left_is_written_over() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("c");
        let left = checkpoint::write(
            &Run {
                arguments: vec!["longer".repeat(99)],
                ..Run::default()
            },
            None,
        )
        .expect("text");
        std::fs::write(folder.path().join("c.new"), left).expect("written");
        CheckpointFile::create(&path)
            .and_then(|mut file| file.write(None).map_err(LoadError::Write))
            .expect("written");
        assert!(matches!(CheckpointFile::open(&path), Ok((_, None))));
    }
}
