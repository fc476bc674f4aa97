//! Rows that are too many to be held in memory, in a file: written when there are too many, read
//! back when their host is done. It grows with what was written, and what was written stays, so a
//! checkpoint needs no more of it than its length. It knows rows and bytes; somebody else opens the
//! file.

use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;

use super::host::Row;
use crate::scan::Reason;

/// A file for reading and writing.
pub trait SpillFile: Read + Write + Seek {}

impl<F: Read + Write + Seek> SpillFile for F {}

/// Where a piece of a host's rows is in the file. The piece knows the one before it, so that each
/// host has one place to remember, however many pieces it has.
pub(super) type Place = u64;

/// What the file begins with, so that any program can tell it from other files.
const FORMAT: &[u8] = b"portreeve-findings\n";

/// Stands for no place, no round-trip time.
const NONE: u64 = u64::MAX;
const NO_BANNER: u16 = u16::MAX;

/// The file.
pub(super) struct Spill {
    file: Box<dyn SpillFile>,
    end: u64,
    /// Writing has failed, and is not tried again.
    is_full: bool,
}

/// Whether this is such a file or the beginning of one.
///
/// # Errors
/// It could not be read.
#[cfg(feature = "cli")]
pub fn may_be_findings(from: impl Read) -> io::Result<bool> {
    let mut found = Vec::new();
    from.take(FORMAT.len() as u64).read_to_end(&mut found)?;
    Ok(FORMAT.starts_with(&found))
}

impl Spill {
    /// `file` is empty, or has what a checkpoint knows of.
    pub fn new(mut file: Box<dyn SpillFile>) -> io::Result<Self> {
        let end = file.seek(SeekFrom::End(0))?;
        Ok(Spill {
            file,
            end,
            is_full: false,
        })
    }

    /// Writes a piece for each host: its rows, and the place of its piece before. Returns the
    /// places of their last pieces, or `None` if that failed: what was written before is still
    /// there.
    pub fn put<'a>(
        &mut self,
        hosts: impl Iterator<Item = (&'a [Row], Option<Place>)>,
    ) -> Option<Vec<Option<Place>>> {
        let places = if self.is_full {
            None
        } else {
            self.try_put(hosts).ok()
        };
        self.is_full = places.is_none();
        places
    }

    fn try_put<'a>(
        &mut self,
        hosts: impl Iterator<Item = (&'a [Row], Option<Place>)>,
    ) -> io::Result<Vec<Option<Place>>> {
        self.file.seek(SeekFrom::Start(self.end))?;
        let mut out = BufWriter::new(&mut self.file);
        let mut places = Vec::new();
        let mut end = self.end;
        if end == 0 {
            out.write_all(FORMAT)?;
            end += FORMAT.len() as u64;
        }
        let mut piece = Vec::new();
        for (rows, before) in hosts {
            if rows.is_empty() {
                places.push(before);
                continue;
            }
            piece.clear();
            rows.iter().for_each(|row| encode(row, &mut piece));
            out.write_all(&before.unwrap_or(NONE).to_le_bytes())?;
            out.write_all(&(piece.len() as u64).to_le_bytes())?;
            out.write_all(&piece)?;
            places.push(Some(end));
            end += 2 * size_of::<u64>() as u64 + piece.len() as u64;
        }
        out.flush()?;
        drop(out);
        self.end = end;
        Ok(places)
    }

    /// Reads a host's rows back, from its last piece to its first.
    pub fn get(&mut self, last: Place, rows: &mut Vec<Row>) -> io::Result<()> {
        let told = |error| {
            let what = "findings cannot be read back from the file that they were kept in";
            io::Error::other(format!("{what}: {error}"))
        };
        self.try_get(last, rows).map_err(told)
    }

    fn try_get(&mut self, last: Place, rows: &mut Vec<Row>) -> io::Result<()> {
        let mut place = last;
        while place != NONE {
            let mut head = [[0; 8]; 2];
            self.file.seek(SeekFrom::Start(place))?;
            self.file.read_exact(head.as_flattened_mut())?;
            let [before, length] = head.map(u64::from_le_bytes);
            if length > self.end || (before != NONE && before >= place) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut piece = vec![0; length as usize];
            self.file.read_exact(&mut piece)?;
            let mut left = piece.as_slice();
            while !left.is_empty() {
                rows.push(decode(&mut left).ok_or(io::ErrorKind::InvalidData)?);
            }
            place = before;
        }
        Ok(())
    }
}

fn encode(row: &Row, out: &mut Vec<u8>) {
    out.extend(row.port.to_le_bytes());
    out.push(row.reason as u8);
    match row.reason_ip {
        None => out.push(0),
        Some(IpAddr::V4(ip)) => out.extend([4].iter().chain(&ip.octets())),
        Some(IpAddr::V6(ip)) => out.extend([6].iter().chain(&ip.octets())),
    }
    out.extend(row.rtt_us.unwrap_or(NONE).to_le_bytes());
    let banner = row.banner.as_deref();
    let length = banner.map_or(NO_BANNER, |banner| banner.len() as u16);
    out.extend(length.to_le_bytes());
    out.extend(banner.unwrap_or_default());
}

fn decode(from: &mut &[u8]) -> Option<Row> {
    let port = u16::from_le_bytes(taken(from)?);
    let [reason, family] = taken(from)?;
    let reason_ip = match family {
        4 => Some(IpAddr::from(taken::<4>(from)?)),
        6 => Some(IpAddr::from(taken::<16>(from)?)),
        _ => None,
    };
    let rtt_us = Some(u64::from_le_bytes(taken(from)?)).filter(|&us| us != NONE);
    let length = u16::from_le_bytes(taken(from)?);
    let banner = match length {
        NO_BANNER => None,
        length => Some(from.split_off(..usize::from(length))?.into()),
    };
    Some(Row {
        port,
        reason: *Reason::ALL.get(usize::from(reason))?,
        reason_ip,
        rtt_us,
        banner,
    })
}

fn taken<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    from.split_off(..N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a disk with this much room.
    struct Disk(io::Cursor<Vec<u8>>, usize);

    impl Read for Disk {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.position() as usize + bytes.len() > self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn row(port: u16, reason: Reason) -> Row {
        Row {
            port,
            reason,
            reason_ip: None,
            rtt_us: None,
            banner: None,
        }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().ok());
        let rows: Vec<Row> = Reason::ALL
            .into_iter()
            .zip(1..)
            .map(|(reason, port)| row(port, reason))
            .chain([
                Row {
                    reason_ip: v4,
                    rtt_us: Some(0),
                    ..row(0, Reason::PortUnreach)
                },
                Row {
                    reason_ip: v6,
                    rtt_us: Some(1 << 40),
                    ..row(9, Reason::NoRoute)
                },
                Row {
                    banner: Some([].into()),
                    ..row(u16::MAX, Reason::SynAck)
                },
                Row {
                    banner: Some([7; 1_024].into()),
                    ..row(1, Reason::SynAck)
                },
            ])
            .collect();
        let mut spill = Spill::new(Box::new(io::Cursor::new(Vec::new()))).unwrap();
        let (some, others) = rows.split_at(7);
        let hosts = [(some, None), (others, None), (&[], None)];
        let first = spill.put(hosts.into_iter()).unwrap();
        let hosts = [(others, first[0]), (&[], first[1]), (&[], first[2])];
        let again = spill.put(hosts.into_iter()).unwrap();
        assert_eq!(again[1..], first[1..]);
        let mut back = |place: Option<Place>| {
            let mut rows = Vec::new();
            spill.get(place.unwrap(), &mut rows).unwrap();
            rows
        };
        assert_eq!(back(again[0]), [others, some].concat());
        assert_eq!(back(again[1]), others);
        assert_eq!(again[2], None);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let rows: Vec<Row> = (0..2_000)
            .map(|port| row(port, Reason::ConnRefused))
            .collect();
        let mut spill = Spill::new(Box::new(Disk(io::Cursor::default(), 20_000))).unwrap();
        let mut put = |rows, before| spill.put([(rows, before)].into_iter());
        let one = put(&rows[..9], None).unwrap()[0];
        assert_eq!(put(&rows, one), None);
        assert_eq!(put(&rows[9..12], one), None, "it is not tried again");
        let mut back = Vec::new();
        spill.get(one.unwrap(), &mut back).unwrap();
        assert_eq!(back, rows[..9]);
    }
}
