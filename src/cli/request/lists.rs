//! Lists of targets and of ports, from files and standard input: lines and comments. What a target
//! or a port is, the plan's grammar says. It knows no flags.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use portreeve::lines::{LineError, Lines};
use portreeve::plan::{PortError, PortSet, Services, Target, TargetError};
use rustix::fs::{FileType, fstat};
use rustix::stdio::stdin;

use super::formats::Formats;
use super::mistakes::Mistakes;
use crate::cli::advice;
use crate::cli::exit::Failure;

/// A file with a longer line is no list.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// Adds the targets in a file, or from standard input for `-`, to `plan`. A line that `parse` does
/// not understand is among the mistakes, and none of its targets is added.
pub fn read_targets<P>(
    path: &Path,
    mut formats: Formats,
    parse: &dyn Fn(&str) -> Result<Vec<Target>, TargetError>,
    mut plan: P,
    add: fn(P, Target) -> P,
    mistakes: &mut Mistakes,
) -> Result<P, Failure> {
    let mut list = List::open(path, "targets")?;
    let mut is_empty = true;
    let parsed = |text: &str| parse(text).map_err(|error| advice::target(&error));
    while let Some((number, line)) = list.next_line()? {
        let targets = line.and_then(|line| parsed(&formats.targets(&line)));
        is_empty &= targets.as_ref().is_ok_and(Vec::is_empty);
        match targets {
            Ok(targets) => plan = targets.into_iter().fold(plan, add),
            Err(what) => mistakes.add(list.at(number, &what)),
        }
    }
    let last = parsed(&formats.last()).map_err(Failure::Usage)?;
    if is_empty && last.is_empty() {
        return Err(Failure::Usage(format!(
            "{} holds no target; write one a line, such as 192.0.2.0/24",
            list.name
        )));
    }
    Ok(last.into_iter().fold(plan, add))
}

/// The ports in a file, or from standard input for `-`.
pub fn read_ports(path: &Path, services: &Services) -> Result<PortSet, Failure> {
    let mut list = List::open(path, "ports")?;
    let mut ports = Vec::new();
    while let Some((number, line)) = list.next_line()? {
        let set = match line.as_deref().map(str::trim) {
            Ok("") => continue,
            Ok(text) => {
                PortSet::parse(text, services).map_err(|error: PortError| error.to_string())
            }
            Err(what) => Err(what.clone()),
        };
        ports.push(set.map_err(|what| Failure::Usage(list.at(number, &what)))?);
    }
    if ports.is_empty() {
        return Err(Failure::Usage(format!(
            "{} holds no port; write some a line, such as 22,80,8000-8100",
            list.name
        )));
    }
    Ok(ports.iter().flat_map(PortSet::iter).collect())
}

pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether somebody feeds standard input: it is a pipe, a socket or a file, and neither a terminal
/// nor /dev/null.
pub fn is_stdin_fed() -> bool {
    let fed = [FileType::Fifo, FileType::Socket, FileType::RegularFile];
    fstat(stdin()).is_ok_and(|data| fed.contains(&FileType::from_raw_mode(data.st_mode)))
}

/// A line without its comment, or why it is no text.
type Text<'a> = Result<Cow<'a, str>, String>;

/// A list that is being read.
struct List {
    name: String,
    /// What it is a list of.
    what: &'static str,
    lines: Lines<Box<dyn BufRead>>,
}

impl List {
    fn open(path: &Path, what: &'static str) -> Result<Self, Failure> {
        let name = if is_stdin(path) {
            "standard input".into()
        } else {
            path.display().to_string()
        };
        let reader: Box<dyn BufRead> = if is_stdin(path) {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(
                File::open(path).map_err(|error| unread(what, &name, &error))?,
            ))
        };
        let lines = Lines::new(reader, LONGEST_LINE_BYTES);
        Ok(List { name, what, lines })
    }

    /// The next line, and its number.
    fn next_line(&mut self) -> Result<Option<(usize, Text<'_>)>, Failure> {
        let name = &self.name;
        let line = self.lines.next_line().map_err(|error| match error {
            LineError::Read(error) => unread(self.what, name, &error),
            error => Failure::Usage(format!("{name}, {error}")),
        })?;
        Ok(line.map(|line| {
            let text = line.text().map_err(|error| error.to_string());
            (line.number, text.and_then(without_comment))
        }))
    }

    /// What is wrong with a line, in a message.
    fn at(&self, number: usize, what: &str) -> String {
        format!("{}, line {number}: {what}", self.name)
    }
}

fn unread(what: &str, name: &str, error: &io::Error) -> Failure {
    Failure::Usage(format!("{what} cannot be read from {name}: {error}"))
}

/// The line up to a comment. Unicode's own line ends may be in it, NEL, LS and PS: what follows one
/// belongs to no comment before it.
fn without_comment(line: &str) -> Text<'_> {
    check_letters(line)?;
    let ends = ['\u{85}', '\u{2028}', '\u{2029}'];
    let mut parts = line
        .split(ends)
        .map(|part| part.split('#').next().unwrap_or_default());
    let first = parts.next().unwrap_or_default();
    Ok(parts.fold(first.into(), |line: Cow<str>, part| line + " " + part))
}

/// Refuses control characters. Some programs end lines with them, others do not: a comment might
/// hide targets, and hidden exclusions would be scanned.
fn check_letters(line: &str) -> Result<(), String> {
    let is_doubtful = |letter: char| letter.is_control() && !matches!(letter, '\t' | '\u{85}');
    let found = line
        .chars()
        .enumerate()
        .find(|&(_, letter)| is_doubtful(letter));
    found.map_or(Ok(()), |(before, letter)| {
        Err(format!(
            "character {} is U+{:04X}, which does not belong in a list; end lines with LF or CR LF",
            before + 1,
            u32::from(letter)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file with this content: its targets, or the error without the file's name.
    fn check(content: &[u8], expect: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        let add = |list: Vec<String>, target: Target| [list, vec![target.to_string()]].concat();
        let mut mistakes = Mistakes::default();
        let told = match read_targets(
            file.path(),
            Formats::plain(),
            &Target::parse_all,
            Vec::new(),
            add,
            &mut mistakes,
        ) {
            Ok(targets) => match mistakes.first() {
                None => targets.join(" "),
                Some(_) => mistakes.message(""),
            },
            Err(failure) => failure.to_string(),
        };
        let told = told.replace(&file.path().display().to_string(), "error");
        let is_right = match expect.strip_prefix("error") {
            Some(part) => told.starts_with("error") && told.contains(part),
            None => told == expect,
        };
        assert!(is_right, "{}: {told}", content.escape_ascii());
    }

    #[test]
    fn no_line_end_hides_a_target() {
        for end in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"] {
            let list = format!("::1 # é a{end}{end}::2\t::3{end}# ::4{end}::5{end}");
            check(list.as_bytes(), "::1 ::2 ::3 ::5");
            check(format!("\u{feff}{list}").as_bytes(), "::1 ::2 ::3 ::5");
        }
        for end in ['\u{b}', '\u{c}', '\u{1c}', '\0', '\u{1b}'] {
            let list = format!("::1\n10.0.0.0/8 # ours{end}192.0.2.0/24\n");
            let expect = format!("error, line 2: character 18 is U+{:04X}", u32::from(end));
            check(list.as_bytes(), &expect);
        }
    }

    #[test]
    fn blanks_that_nobody_sees_are_blanks() {
        for blank in [
            " ", "\t", "\u{a0}", "\u{202f}", "\u{3000}", "\u{200b}", "\u{2060}",
        ] {
            check(
                format!("{blank}::1{blank}::2{blank}\n").as_bytes(),
                "::1 ::2",
            );
        }
        check(
            "10.0.0.1\u{ad}\n".as_bytes(),
            "error, line 1: \"10.0.0.1\\u{ad}\"",
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        check(b"", "error holds no target");
        check(b"\xef\xbb\xbf# nothing\n", "error holds no target");
        check(b"\xff\xfe1\0", "error, line 1: this is UTF-16");
        check(
            b"::1\n::2 # \xff\n",
            "error, line 2: this is no text in UTF-8",
        );
        check(&[b'a'; 70_000], "error, line 1: it is longer than 64 KiB");
    }
}
