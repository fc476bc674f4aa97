//! A table of names inside the program, as lines sorted by port. It is searched where it lies:
//! nothing is read before a name is wanted, and nothing is kept. It knows no other table.

use std::cmp::Ordering;

/// Lines of `port name [other names]`, sorted by port, behind comments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table(pub(super) &'static str);

impl Table {
    /// All names of a port, the one to be shown first.
    pub(super) fn names(self, port: u16) -> impl Iterator<Item = &'static str> {
        self.find(port)
            .into_iter()
            .flat_map(|names| names.split(' '))
    }

    fn find(self, port: u16) -> Option<&'static str> {
        let mut rest = self.lines();
        while let Some((before, line, after)) = halves(rest) {
            let (at, names) = split(line);
            rest = match port.cmp(&at) {
                Ordering::Less => before,
                Ordering::Equal => return Some(names),
                Ordering::Greater => after,
            };
        }
        None
    }

    /// Every name with its port, by port.
    pub(super) fn iter(self) -> impl Iterator<Item = (&'static str, u16)> {
        self.lines().lines().flat_map(|line| {
            let (port, names) = split(line);
            names.split(' ').map(move |name| (name, port))
        })
    }

    /// What follows the comments.
    fn lines(self) -> &'static str {
        let mut rest = self.0;
        while rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        }
        rest
    }
}

/// The line in the middle of a text, with what stands before and behind it.
fn halves(text: &str) -> Option<(&str, &str, &str)> {
    if text.is_empty() {
        return None;
    }
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    let start = first
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let end = second
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(text.len(), |at| first.len() + at);
    let after = text.get(end + 1..).unwrap_or_default();
    Some((&text[..start], &text[start..end], after))
}

/// A line's port and its names. A test makes sure that each line of a table has both.
fn split(line: &str) -> (u16, &str) {
    let (port, names) = line.split_once(' ').unwrap_or_default();
    (port.parse().unwrap_or_default(), names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_found_and_nothing_else() {
        let check = |text: &'static str, port, expected: &[&str]| {
            assert_eq!(
                Table(text).names(port).collect::<Vec<_>>(),
                expected,
                "{port} in {text:?}"
            );
        };
        let table = "# what it is\n# and whose\n1 one\n20 twenty a-score\n300 many\n65535 last\n";
        check(table, 1, &["one"]);
        check(table, 20, &["twenty", "a-score"]);
        check(table, 300, &["many"]);
        check(table, 65_535, &["last"]);
        for port in [0, 2, 200, 301, 65_534] {
            check(table, port, &[]);
        }
        check("7 echo", 7, &["echo"]);
        check("", 7, &[]);
        check("# nothing", 7, &[]);
    }

    #[test]
    fn names_come_with_their_ports() {
        let all: Vec<_> = Table("# what\n1 one\n20 twenty a-score\n").iter().collect();
        assert_eq!(all, [("one", 1), ("twenty", 20), ("a-score", 20)]);
    }
}
