//! Whether docs/COMING-FROM.md says of each option of another scanner what the command does with
//! it. It reads the page's tables, and knows them by their first line.

use clap::{CommandFactory, Parser};

use super::*;
use crate::cli::args::Args;

const PAGE: &str = include_str!("../../../docs/COMING-FROM.md");

/// The cells of the tables whose first line ends with these columns.
fn rows(columns: &str) -> Vec<Vec<&'static str>> {
    let mut is_inside = false;
    let mut found = Vec::new();
    for line in PAGE.lines() {
        let Some(row) = line
            .strip_prefix("| ")
            .and_then(|row| row.strip_suffix(" |"))
        else {
            is_inside &= line.starts_with("|-");
            continue;
        };
        match is_inside {
            true => found.push(row.split(" | ").collect()),
            false => is_inside = row.ends_with(columns),
        }
    }
    assert!(found.len() > 3, "{columns}: {found:?}");
    found
}

/// What stands in backticks in a cell.
fn typed(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn translation(words: &str) -> Result<Vec<OsString>, Failure> {
    let words = std::iter::once("portreeve").chain(words.split_whitespace());
    translated(words.map(OsString::from).collect())
}

/// The flags that these words come to, or why they are none.
fn flags(words: &str) -> Result<String, String> {
    let words = translation(words).map_err(|failure| failure.to_string())?;
    let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
    Ok(format!("{args:?}"))
}

#[test]
fn what_is_taken_means_what_the_page_says() {
    for row in rows(" | here | what differs") {
        let here = typed(row[1]).next().unwrap_or("");
        let expect = flags(here).unwrap_or_else(|why| panic!("{here}: {why}"));
        for theirs in typed(row[0]) {
            assert_eq!(
                flags(theirs).as_ref(),
                Ok(&expect),
                "{theirs} is not {here}"
            );
        }
    }
}

#[test]
fn what_is_answered_is_answered_in_the_pages_words() {
    for row in rows(" | the answer") {
        for theirs in typed(row[0]) {
            let told = translation(theirs)
                .map(|_| ())
                .expect_err(theirs)
                .to_string();
            let (name, answer) = told.split_once(": ").expect("a name and an answer");
            assert!(theirs.starts_with(name), "{theirs}: {told}");
            assert_eq!(answer, row[1], "{theirs}");
        }
    }
}

#[test]
fn what_is_not_taken_is_refused_or_means_something_else() {
    for row in rows(" | type instead | why") {
        for instead in typed(row[1]).filter(|words| words.starts_with('-')) {
            let flags_instead = flags(instead).unwrap_or_else(|why| panic!("{instead}: {why}"));
            for theirs in typed(row[0]) {
                assert_ne!(flags(theirs).as_ref(), Ok(&flags_instead), "{theirs}");
            }
        }
    }
}

#[test]
fn every_option_that_is_known_is_on_the_page() {
    let is_there = |name: &str| {
        let begins = |words: &str| {
            let rest = words.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '=']))
        };
        rows(" | here | what differs")
            .iter()
            .chain(&rows(" | the answer"))
            .any(|row| typed(row[0]).any(begins))
    };
    for &name in TABLE.iter().flat_map(|(names, _)| *names) {
        assert!(is_there(name), "{name} is missing");
    }
    for kind in ('A'..='z').filter(|&kind| kind_of_scan(kind).is_some()) {
        assert!(is_there(&format!("-s{kind}")), "-s{kind} is missing");
    }
    let command = Args::command();
    let letters = command.get_arguments().filter_map(clap::Arg::get_short);
    for letter in letters {
        assert!(is_there(&format!("-{letter}")), "-{letter} is missing");
    }
}
