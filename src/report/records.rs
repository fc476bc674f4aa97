//! JSON records read one after another, whoever wrote them. It knows lines and the kinds of
//! records; what is in them is `read`'s.

use std::io::{self, BufRead};

use serde_json::Value;

use super::escape::printable;
use super::read::Fields;
use crate::lines::{LineError, Lines};

/// The longest line of an input: a command line of 2 MiB, as Linux allows, and as much again.
const LONGEST_LINE_BYTES: usize = 4 << 20;

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader failed.
    #[error("{name} cannot be read: {error}")]
    Read {
        /// The report's name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// These are no JSON lines of portreeve.
    #[error("{name}, line {number}: {what}; give JSON lines that portreeve has written")]
    Line {
        /// The report's name.
        name: String,
        /// The line number, from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// This is no XML of nmap's kind.
    #[error("{name}, byte {at}: {what}; give XML that nmap or portreeve has written (-oX)")]
    Xml {
        /// The report's name.
        name: String,
        /// How many bytes were read.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// The scan was interrupted before it had written anything.
    #[error("{name} has not one whole line: its scan was broken off at once, or has not begun")]
    Untold {
        /// The report's name.
        name: String,
    },
}

/// Reads a scan's records to their end. `begin` makes a value from the start record, and `take`
/// adds each further record of this kind to it. An incomplete last line is ignored: its writer was
/// killed.
pub(super) fn read_scan<T>(
    name: &str,
    from: impl BufRead,
    begin: impl Fn(Fields) -> Result<T, String>,
    mut take: impl FnMut(&mut T, &str, Fields) -> Result<(), String>,
) -> Result<T, ReadError> {
    let wrong = |number: usize, what: String| ReadError::Line {
        name: printable(name),
        number,
        what: printable(&what),
    };
    let mut scan: Option<T> = None;
    let mut lines = Lines::new(from, LONGEST_LINE_BYTES);
    let unread = |error| match error {
        LineError::Read(error) => ReadError::Read {
            name: printable(name),
            error,
        },
        LineError::Text { number, error } => wrong(number, error.to_string()),
    };
    while let Some(line) = lines.next_line().map_err(unread)? {
        let number = line.number;
        if line.bytes.trim_ascii().is_empty() {
            continue;
        }
        let record = match serde_json::from_slice::<Value>(line.bytes) {
            Err(_) if !line.is_ended && line.bytes[0] == b'{' => break,
            record => record.map_err(|error| wrong(number, error.to_string()))?,
        };
        let record = Fields(&record);
        let taken = match (record.text("type"), &mut scan) {
            (Ok("start"), None) => begin(record).map(|begun| scan = Some(begun)),
            (Ok("start"), Some(_)) => Err("a second scan begins here".into()),
            (_, None) => Err("there is no start record before it".into()),
            (kind, Some(scan)) => kind.and_then(|kind| take(scan, kind, record)),
        };
        taken.map_err(|what| wrong(number, what))?;
    }
    scan.ok_or_else(|| ReadError::Untold {
        name: printable(name),
    })
}
