//! The shape of the source: which folder may know which, where clocks, sockets and unsafe code may
//! be, and what every file begins with.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, by the first folder or file below `src/`.
const ARROWS: [(&str, &[&str]); 8] = [
    ("lines", &[]),
    ("plan", &[]),
    ("scan", &["plan"]),
    ("report", &["lines", "plan", "scan"]),
    ("trace", &["scan"]),
    ("engine", &["plan", "scan", "report", "trace"]),
    ("experiment", &["plan", "scan", "report", "engine"]),
    (
        "cli",
        &["lines", "plan", "scan", "report", "engine", "experiment"],
    ),
];

/// Words that only `engine/` may contain.
const ENGINE_ONLY: [&str; 11] = [
    "Instant",
    "SystemTime::now",
    "elapsed()",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "mio::",
    "socket2::",
    "libc::",
    "unsafe",
];

/// The Rust files below a folder of this package.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    found
}

/// The files below `src/`, each with the first folder or file on its way there.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let module = |path: &Path| {
        let below = path.strip_prefix(&root).expect("below src/");
        let first = below.components().next().expect("a name").as_os_str();
        first.to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    let found: Vec<_> = files("src")
        .into_iter()
        .map(|(path, text)| (module(&path), path, text))
        .collect();
    assert!(found.len() > 20, "the sources are where they were");
    found
}

/// All Rust files, those of tests, benches and examples included.
fn all_files() -> impl Iterator<Item = (PathBuf, String)> {
    ["src", "tests", "benches", "examples"]
        .into_iter()
        .flat_map(files)
}

/// The code without comments and without its tests, which stand at the end of each file.
fn code(text: &str) -> String {
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn nothing_points_back_up() {
    for (module, path, text) in sources() {
        let Some((_, may_use)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            assert!(
                ["lib", "main"].contains(&module.as_str()),
                "{} has no place in tests/tidy.rs",
                path.display()
            );
            continue;
        };
        for (other, _) in ARROWS
            .iter()
            .filter(|(other, _)| *other != module && !may_use.contains(other))
        {
            for way in [format!("crate::{other}"), format!("portreeve::{other}")] {
                assert!(
                    !code(&text).contains(&way),
                    "{} uses {other}: {module} must not know it",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn clocks_sockets_and_unsafe_code_are_in_the_engine() {
    for (module, path, text) in sources().iter().filter(|(module, ..)| module != "engine") {
        for word in ENGINE_ONLY {
            assert!(
                !code(text).contains(word),
                "{} says {word}, which is for engine/ only ({module})",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for (path, text) in all_files() {
        assert!(
            text.starts_with("//! "),
            "{} begins without a word on what it does",
            path.display()
        );
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (_, path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("unsafe {"))
        {
            let reasoned = lines[at.saturating_sub(4)..=at]
                .iter()
                .any(|line| line.contains("SAFETY:"));
            assert!(reasoned, "{}:{}: {line}", path.display(), at + 1);
        }
    }
}

/// Code is rustfmt's business; what it does not touch are comments.
#[test]
fn comments_fit_into_a_hundred_columns() {
    for (path, text) in all_files() {
        let mut comments = text
            .lines()
            .filter(|line| line.trim_start().starts_with("//"));
        if let Some(line) = comments.find(|line| line.chars().count() > 100) {
            panic!("{}: {line}", path.display());
        }
    }
}
