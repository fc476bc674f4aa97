//! The pages: what they link to is there, the index has each of them, and their tables are those
//! of the tests.

use std::fs;
use std::path::{Path, PathBuf};

use portreeve::report::grouped;
use portreeve::scan::Settings;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Markdown files of a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect()
}

/// Where the links of a text lead: `[…](…)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The names of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let name = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
        text.chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(name).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut checked = 0;
    for folder in ["", "docs", "docs/decisions", "docs/runs"] {
        for page in pages(&root().join(folder)) {
            let text = read(&page);
            for link in links(&text).filter(|link| !link.contains("://")) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => page.clone(),
                    file => page.parent().expect("a folder").join(file),
                };
                assert!(target.exists(), "{}: {link}", page.display());
                let has_anchor = || anchors(&read(&target)).iter().any(|name| name == anchor);
                assert!(
                    anchor.is_empty() || has_anchor(),
                    "{}: {link}",
                    page.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} links were found");
}

#[test]
fn the_index_has_every_page() {
    let index = read(&root().join("docs/README.md"));
    for page in pages(&root().join("docs")) {
        let name = page.file_name().expect("a name").to_string_lossy();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "docs/README.md does not mention {name}"
        );
    }
}

/// What tests write into tables, the page of measurements has as it is.
#[test]
fn the_tables_of_simulated_networks_are_those_of_the_tests() {
    let page = read(&root().join("docs/MEASURED.md"));
    for table in [
        "tests/towns.txt",
        "tests/drawn.txt",
        "tests/remembering.txt",
    ] {
        let now = read(&root().join(table));
        assert!(
            page.contains(now.trim_end()),
            "docs/MEASURED.md has not the table of {table}"
        );
    }
}

/// What a scan does to others is said with the numbers that it has.
#[test]
fn the_page_on_etiquette_has_the_defaults() {
    let page = read(&root().join("docs/ETIQUETTE.md"));
    let settings = Settings::default();
    let per_s = settings.rate.expect("a ceiling").per_s;
    for row in [
        format!("where no port refuses | {} at most", settings.canaries),
        format!(
            "through routers, to public and private addresses | {} at most",
            grouped(per_s.get().into())
        ),
        format!(
            "where answers get lost, {} at most",
            settings.max_retries + 1
        ),
    ] {
        assert!(
            page.contains(&row),
            "docs/ETIQUETTE.md does not say {row:?}"
        );
    }
}
