//! A checkpoint as text: everything needed to continue a scan, and a digest that shows whether it
//! is intact. The caller decides what else is kept with it. It knows no files.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::read;
use super::record::End;
use super::{Checkpoint, HostUnderWay, Kept, OpenPorts};
use crate::plan::Digest;
use crate::scan::Snapshot;

/// Every checkpoint begins with it, so that any program can tell it from other files.
const FORMAT: &str = "portreeve-checkpoint";

/// The first line: the format, and the digest of the second line.
#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: String,
    digest: String,
}

/// The second line.
#[derive(Serialize, Deserialize)]
struct Body<Run, UnderWay> {
    run: Run,
    /// `None` once the scan has ended.
    under_way: Option<UnderWay>,
}

#[derive(Serialize, Deserialize)]
struct UnderWay<'a, SoFar> {
    /// Microseconds since 1970.
    started_us: u64,
    so_far: SoFar,
    hosts: Cow<'a, [HostUnderWay]>,
    kept: Option<Cow<'a, Kept>>,
    open: Cow<'a, OpenPorts>,
    snapshot: Cow<'a, Snapshot>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is something else.
    #[error("this is no checkpoint")]
    NoCheckpoint,
    /// It was written by another version.
    #[error("it was written by portreeve {0}, and this is portreeve {version}; go on with that one", version = env!("CARGO_PKG_VERSION"))]
    OtherVersion(String),
    /// Something is missing or different.
    #[error("it is damaged ({0}); scan from the beginning")]
    Damaged(String),
    /// It could not be read.
    #[error("{0}")]
    Unreadable(String),
}

/// A limit on the first line, so that other files are not read to their end.
const LONGEST_HEADER_BYTES: u64 = 4_096;

/// A limit on the second line: 25 times what a scan of 8,192 hosts at once has written
/// (docs/OUTPUT.md). A longer file is no checkpoint and is not read to its end.
const LONGEST_BODY_BYTES: u64 = 256 << 20;

/// The text of a run's checkpoint; without `checkpoint`, of a run that has ended.
///
/// # Errors
/// `run` cannot be written as JSON.
pub fn write(run: &impl Serialize, checkpoint: Option<&Checkpoint>) -> serde_json::Result<String> {
    let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH);
    let under_way = checkpoint.map(|checkpoint| UnderWay {
        started_us: since_1970(checkpoint.started_at).map_or(0, |since| since.as_micros() as u64),
        so_far: End::of(&checkpoint.summary, checkpoint.started_at),
        hosts: Cow::Borrowed(&checkpoint.hosts),
        kept: checkpoint.kept.as_ref().map(Cow::Borrowed),
        open: Cow::Borrowed(&checkpoint.open),
        snapshot: Cow::Borrowed(&checkpoint.snapshot),
    });
    let body = serde_json::to_string(&Body { run, under_way })?;
    let header = Header {
        format: FORMAT.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        digest: digest(body.as_bytes()),
    };
    Ok(format!("{}\n{body}\n", serde_json::to_string(&header)?))
}

/// Whether this is a checkpoint or the beginning of one, as a killed process leaves it.
///
/// # Errors
/// It could not be read.
pub fn may_be_one(from: impl Read) -> io::Result<bool> {
    let begin = format!("{{\"format\":\"{FORMAT}\"");
    let mut found = Vec::new();
    from.take(begin.len() as u64).read_to_end(&mut found)?;
    Ok(begin.as_bytes().starts_with(&found))
}

/// Reads back what [`write()`] was given.
///
/// # Errors
/// [`CheckpointError`]: it is no checkpoint, or of another version, or damaged.
pub fn read<Run: DeserializeOwned>(
    mut from: impl BufRead,
) -> Result<(Run, Option<Checkpoint>), CheckpointError> {
    let damaged = |what: &dyn std::fmt::Display| CheckpointError::Damaged(what.to_string());
    let unreadable = |error: io::Error| CheckpointError::Unreadable(error.to_string());
    let mut header = Vec::new();
    let mut body = Vec::new();
    from.by_ref()
        .take(LONGEST_HEADER_BYTES)
        .read_until(b'\n', &mut header)
        .map_err(unreadable)?;
    let header = serde_json::from_slice::<Header>(&header)
        .ok()
        .filter(|header| header.format == FORMAT);
    let header = header.ok_or(CheckpointError::NoCheckpoint)?;
    if header.version != env!("CARGO_PKG_VERSION") {
        return Err(CheckpointError::OtherVersion(header.version));
    }
    from.by_ref()
        .take(LONGEST_BODY_BYTES)
        .read_until(b'\n', &mut body)
        .map_err(unreadable)?;
    if body.len() as u64 == LONGEST_BODY_BYTES {
        return Err(damaged(&"it is longer than any checkpoint"));
    }
    if !from.fill_buf().map_err(unreadable)?.is_empty() {
        return Err(damaged(&"something follows its second line"));
    }
    let body = body.strip_suffix(b"\n").unwrap_or(&body);
    if digest(body) != header.digest {
        return Err(damaged(&"its digest does not fit"));
    }
    let Body { run, under_way } = serde_json::from_slice::<Body<Run, UnderWay<Value>>>(body)
        .map_err(|error| damaged(&error))?;
    let Some(UnderWay {
        started_us,
        so_far,
        hosts,
        kept,
        open,
        snapshot,
    }) = under_way
    else {
        return Ok((run, None));
    };
    let started_at = SystemTime::UNIX_EPOCH + Duration::from_micros(started_us);
    let summary = read::end(read::Fields(&so_far), started_at).map_err(|error| damaged(&error))?;
    Ok((
        run,
        Some(Checkpoint {
            started_at,
            summary,
            snapshot: snapshot.into_owned(),
            hosts: hosts.into_owned(),
            kept: kept.map(Cow::into_owned),
            open: open.into_owned(),
        }),
    ))
}

fn digest(text: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.add_bytes(text);
    format!("{:016x}", digest.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Hardware, Listing, MacAddress, StateSet, by_host::Hosts, fixture};
    use crate::scan::{Finding, HostSnapshot, Reason, State, Time};

    fn checkpoint() -> Checkpoint {
        let mut hosts = Hosts::new(Listing::only(StateSet::states(State::ALL)));
        let endpoint = "[fe80::1%7]:22".parse().unwrap();
        let by = "192.0.2.254".parse().ok();
        let at = Time::from_us(5);
        let filtered = Finding {
            endpoint,
            reason: Reason::AdminProhibited,
            reason_ip: by,
            rtt_us: None,
            attempts: 3,
            banner: Some([0, 255].into()),
            at,
        };
        hosts.add(&filtered);
        let mut open = OpenPorts::default();
        open.add(&Finding {
            reason: Reason::SynAck,
            ..filtered
        });
        let host = HostSnapshot {
            place: u64::MAX,
            taken_up: 9,
            left: vec![1, 8],
            held: vec![0],
            ..HostSnapshot::default()
        };
        let snapshot = Snapshot {
            taken_up: 4,
            latest_first_answer: 2,
            hosts: vec![host],
        };
        let mut hosts = hosts.under_way();
        hosts[0].spilled = Some(7);
        hosts[0].report.hardware = Some(Hardware {
            mac: MacAddress([1, 2, 3, 4, 5, 6]),
            vendor: Some("maker".into()),
        });
        let mut kept = Kept::default();
        kept.keep(&hosts[0].report, StateSet::states(State::ALL));
        Checkpoint {
            started_at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
            summary: fixture::summary(),
            snapshot,
            hosts,
            kept: Some(kept),
            open,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let kept = checkpoint();
        let text = write(&["a", "b\u{1b}"], Some(&kept)).unwrap();
        let (run, again) = read::<Vec<String>>(text.as_bytes()).expect("a checkpoint");
        let again = again.expect("one under way");
        assert_eq!(run, ["a", "b\u{1b}"]);
        assert_eq!(
            (&again.snapshot, &again.hosts, &again.kept, &again.open),
            (&kept.snapshot, &kept.hosts, &kept.kept, &kept.open)
        );
        let then = &kept.summary;
        let now = &again.summary;
        assert_eq!(
            (now.elapsed, now.ended, now.exit, now.turns),
            (then.elapsed, then.ended, then.exit, then.turns)
        );
        assert_eq!(
            (again.started_at, &now.local_error),
            (kept.started_at, &then.local_error)
        );
        for state in State::ALL {
            assert!(
                now.stats.reasons(state).eq(then.stats.reasons(state)),
                "{state:?}"
            );
        }
        assert_eq!(
            (now.stats.planned, now.stats.settled(), now.stats.attempts),
            (12, 12, then.stats.attempts)
        );
        assert!(now.stats.own_errors().eq(then.stats.own_errors()));
        assert_eq!(
            now.stats.rtt.quantile_us(0.9),
            then.stats.rtt.quantile_us(0.9)
        );
        let finished = write(&7, None).unwrap();
        assert!(matches!(read::<u8>(finished.as_bytes()), Ok((7, None))));
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let text = write(&"run", Some(&checkpoint())).unwrap().into_bytes();
        let error = |text: &[u8]| {
            read::<String>(text)
                .map(|_| ())
                .expect_err("refused")
                .to_string()
        };
        for length in 0..text.len() - 1 {
            error(&text[..length]);
        }
        for at in 0..text.len() - 1 {
            let mut other = text.clone();
            other[at] ^= 1;
            error(&other);
        }
        for (content, is_one) in [
            (&text[..], true),
            (&text[..9], true),
            (b"", true),
            (b"{}", false),
            (b"mine", false),
        ] {
            assert_eq!(may_be_one(content).unwrap(), is_one);
        }
        for tail in ["\n", "{}\n"] {
            assert!(error(&[&text, tail.as_bytes()].concat()).contains("something follows"));
        }
        assert_eq!(error(b"{}\n"), "this is no checkpoint");
        let other =
            String::from_utf8(text)
                .unwrap()
                .replacen(env!("CARGO_PKG_VERSION"), "9.9.9", 1);
        assert!(
            error(other.as_bytes()).contains("by portreeve 9.9.9, and this is"),
            "{}",
            error(other.as_bytes())
        );
    }
}
