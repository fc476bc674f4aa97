//! Lines of text files, whoever wrote them: what ends a line, what may stand before the first one,
//! and what is no text. It knows bytes, and nothing of what they mean.

use std::io::{self, BufRead};

/// Reads a text line by line. LF, CR LF or CR ends a line, as Unix, Windows and old Macs write it.
/// A byte-order mark before the first line is skipped. Memory is bounded by the longest line.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    longest_bytes: usize,
    line: Vec<u8>,
    number: usize,
    ended_with_cr: bool,
}

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// What it holds.
    pub bytes: &'a [u8],
    /// Whether something ended it. The last line of a broken file may be cut off.
    pub is_ended: bool,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The reader failed.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// This line is no text.
    #[error("line {number}: {error}")]
    Text {
        /// Its number, from 1.
        number: usize,
        /// What is wrong with it.
        error: TextError,
    },
}

/// Why bytes are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Two bytes a letter, as Windows' PowerShell writes files.
    #[error("this is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")]
    Utf16,
    /// Another encoding, or no text at all.
    #[error("this is no text in UTF-8; save it as UTF-8")]
    NotUtf8,
    /// A line that nobody has written.
    #[error("it is longer than {}", size(*.0))]
    TooLong(usize),
}

/// A round number of bytes in words.
fn size(bytes: usize) -> String {
    match bytes {
        0x10_0000.. => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// UTF-8's byte-order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl<R: BufRead> Lines<R> {
    /// Begins to read. No line may be longer than `longest_bytes`.
    pub fn new(reader: R, longest_bytes: usize) -> Self {
        Lines {
            reader,
            longest_bytes,
            line: Vec::new(),
            number: 0,
            ended_with_cr: false,
        }
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// [`LineError`]: the reader failed, the text is UTF-16, or a line is too long.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, LineError> {
        self.number += 1;
        let number = self.number;
        let wrong = |error| LineError::Text { number, error };
        self.line.clear();
        let is_ended = self.fill()?;
        if self.line.len() > self.longest_bytes {
            return Err(wrong(TextError::TooLong(self.longest_bytes)));
        }
        if self.line.is_empty() && !is_ended {
            return Ok(None);
        }
        let bytes = match number {
            1 => without_mark(&self.line).map_err(wrong)?,
            _ => &self.line,
        };
        Ok(Some(Line {
            number,
            bytes,
            is_ended,
        }))
    }

    /// Reads up to a line's end, or until there is too much. Returns whether there was an end.
    fn fill(&mut self) -> io::Result<bool> {
        while self.line.len() <= self.longest_bytes {
            let read = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let ended_with_cr = std::mem::take(&mut self.ended_with_cr);
            match (read, read.iter().position(|byte| b"\r\n".contains(byte))) {
                ([], _) => return Ok(false),
                // The second half of CR LF.
                ([b'\n', ..], _) if ended_with_cr => self.reader.consume(1),
                (_, Some(at)) => {
                    self.line.extend_from_slice(&read[..at]);
                    self.ended_with_cr = read[at] == b'\r';
                    self.reader.consume(at + 1);
                    return Ok(true);
                }
                (_, None) => {
                    let length = read.len();
                    self.line.extend_from_slice(read);
                    self.reader.consume(length);
                }
            }
        }
        Ok(false)
    }
}

impl<'a> Line<'a> {
    /// The line as text.
    ///
    /// # Errors
    /// [`TextError::NotUtf8`].
    pub fn text(self) -> Result<&'a str, TextError> {
        std::str::from_utf8(self.bytes).map_err(|_| TextError::NotUtf8)
    }
}

/// A whole file as text, without its byte-order mark and with LF at the end of each line.
///
/// # Errors
/// [`TextError`]: UTF-16, or not UTF-8.
pub fn text(bytes: &[u8]) -> Result<String, TextError> {
    let text = std::str::from_utf8(without_mark(bytes)?).map_err(|_| TextError::NotUtf8)?;
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// The beginning of a text without its byte-order mark.
fn without_mark(bytes: &[u8]) -> Result<&[u8], TextError> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => Err(TextError::Utf16),
        _ => Ok(bytes.strip_prefix(MARK).unwrap_or(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The lines, with `+` behind those that were ended, or the error.
    fn read(text: &[u8]) -> Vec<String> {
        // With one byte a time, CR and LF come in different buffers.
        let [slow, fast] = [1, 4096].map(|capacity| {
            let mut lines = Lines::new(BufReader::with_capacity(capacity, text), 9);
            let mut told = Vec::new();
            loop {
                match lines.next_line() {
                    Ok(Some(line)) => told.push(format!(
                        "{} {}{}",
                        line.number,
                        line.bytes.escape_ascii(),
                        if line.is_ended { "+" } else { "" }
                    )),
                    Ok(None) => return told,
                    Err(error) => {
                        told.push(error.to_string());
                        return told;
                    }
                }
            }
        });
        assert_eq!(slow, fast);
        fast
    }

    #[test]
    fn lines_end_as_each_system_ends_them() {
        assert_eq!(read(b""), [""; 0]);
        assert_eq!(read(b"a\nb"), ["1 a+", "2 b"]);
        assert_eq!(read(b"a\r\nb\r\n"), ["1 a+", "2 b+"]);
        assert_eq!(read(b"a\rb\r"), ["1 a+", "2 b+"]);
        assert_eq!(read(b"a\r\r\n\n\rb"), ["1 a+", "2 +", "3 +", "4 +", "5 b"]);
        assert_eq!(
            read(b"\xef\xbb\xbfa\n\xef\xbb\xbf"),
            ["1 a+", "2 \\xef\\xbb\\xbf"]
        );
        assert_eq!(read(b"123456789\n"), ["1 123456789+"]);
    }

    #[test]
    fn what_is_no_text_is_named() {
        for text in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0\n\0", b"\0a\0\n"] {
            assert!(read(text)[0].contains("UTF-16"), "{text:?}");
            assert_eq!(super::text(text), Err(TextError::Utf16));
        }
        assert_eq!(
            read(b"a\n1234567890"),
            ["1 a+", "line 2: it is longer than 0 KiB"]
        );
        assert_eq!(super::text(b"a\xfc"), Err(TextError::NotUtf8));
        assert_eq!(
            super::text(b"\xef\xbb\xbfa\r\nb\rc").as_deref(),
            Ok("a\nb\nc")
        );
    }
}
