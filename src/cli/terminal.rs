//! What the terminals behind standard output and standard error can show, as the environment and
//! the kernel tell. It knows no reports.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use portreeve::report::{Screen, wrapped};

/// The size of standard output, if that is a terminal that has one.
pub fn screen() -> Option<Screen> {
    size(io::stdout())
}

/// A text as wide as standard output, if that is a terminal.
pub fn fitted(text: &str) -> String {
    broken(text, screen())
}

/// The same for standard error.
pub fn fitted_to_errors(text: &str) -> String {
    broken(text, size(io::stderr()))
}

fn broken(text: &str, screen: Option<Screen>) -> String {
    screen.map_or_else(|| text.into(), |screen| wrapped(text, screen.columns))
}

fn size(terminal: impl AsFd) -> Option<Screen> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    // A serial line has none.
    (size.ws_col > 0 && size.ws_row > 0).then_some(Screen {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    })
}

/// Whether to use colours on standard output: it is a terminal that takes them, and NO_COLOR is not
/// set (no-color.org).
pub fn wants_color() -> bool {
    io::stdout().is_terminal()
        && understands_escapes()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether the terminal says that it understands escape sequences.
pub fn understands_escapes() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Whether letters beyond ASCII can be shown: the first of these variables that is set names the
/// locale (POSIX, section 8.2), and its name ends in the encoding.
pub fn shows_unicode() -> bool {
    let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let name = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
    let locale = name.and_then(|name| std::env::var(name).ok());
    locale.is_some_and(|locale| {
        let encoding = locale.to_ascii_lowercase().replace('-', "");
        encoding.contains("utf8")
    })
}
