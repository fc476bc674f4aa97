//! Lists of targets, from files and standard input: lines, blanks and comments. What one target is
//! is the plan's grammar. It knows no flags.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use portreeve::lines::{LineError, Lines};
use portreeve::plan::Target;

use super::mistakes::Mistakes;
use crate::cli::advice;
use crate::cli::exit::Failure;

/// A file with a longer line is no list of targets.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// Adds the targets in a file, or from standard input for `-`, to `plan`. A line that is not
/// understood is among the mistakes, and none of its targets is added.
pub fn read<P>(
    path: &Path,
    mut plan: P,
    add: fn(P, Target) -> P,
    mistakes: &mut Mistakes,
) -> Result<P, Failure> {
    let name = if is_stdin(path) {
        "standard input".into()
    } else {
        path.display().to_string()
    };
    let cannot =
        |error: io::Error| Failure::Usage(format!("targets cannot be read from {name}: {error}"));
    let reader: Box<dyn BufRead> = if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(cannot)?))
    };
    let mut lines = Lines::new(reader, LONGEST_LINE_BYTES);
    let mut is_empty = true;
    loop {
        let line = lines.next_line().map_err(|error| match error {
            LineError::Read(error) => cannot(error),
            error => Failure::Usage(format!("{name}, {error}")),
        })?;
        let Some(line) = line else { break };
        let text = line.text().map_err(|error| error.to_string());
        match text.and_then(targets_of_line) {
            Ok(targets) => {
                is_empty &= targets.is_empty();
                plan = targets.into_iter().fold(plan, add);
            }
            Err(what) => {
                is_empty = false;
                mistakes.add(format!("{name}, line {}: {what}", line.number));
            }
        }
    }
    if is_empty {
        return Err(Failure::Usage(format!(
            "{name} holds no target; write one a line, such as 192.0.2.0/24"
        )));
    }
    Ok(plan)
}

pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The targets of a line. Unicode's own line ends may be in it: NEL, LS and PS.
fn targets_of_line(line: &str) -> Result<Vec<Target>, String> {
    check_letters(line)?;
    line.split(['\u{85}', '\u{2028}', '\u{2029}'])
        .flat_map(|line| words(line.split('#').next().unwrap_or_default()))
        .map(|word| Target::parse(word).map_err(|error| advice::target(&error)))
        .collect()
}

/// Words between blanks, also those that nobody sees: zero-width spaces come with what is copied
/// from a web page.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_blank = |letter: char| {
        letter.is_whitespace() || matches!(letter, '\u{200b}' | '\u{2060}' | '\u{feff}')
    };
    text.split(is_blank).filter(|word| !word.is_empty())
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
        let told = match read(file.path(), Vec::new(), add, &mut mistakes) {
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
