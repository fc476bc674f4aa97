//! Which ports: nmap's grammar for them, and the ranked list of top ports. It knows numbers and
//! service names, no addresses.

use std::fmt;

use super::services::Services;
use super::top_ports::TOP_PORTS;

/// A set of TCP ports in ascending order, each once.
///
/// ```
/// use portreeve::plan::{PortSet, Services};
/// let ports = PortSet::parse("443,8000-8002,ssh", &Services::built_in())?;
/// assert_eq!(ports.to_string(), "22,443,8000-8002");
/// # Ok::<(), portreeve::plan::PortError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortSet {
    /// Sorted, neither touching nor overlapping. All ports together are one run of a few bytes; a
    /// list of them would take 128 KiB.
    runs: Box<[Run]>,
    len: u32,
}

/// Consecutive ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    first: u16,
    last: u16,
    /// How many ports the runs before this one have.
    before: u32,
}

/// Why a port list was not understood. Each message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Two commas with nothing between them, or no text at all.
    #[error(
        "port list {0:?} has an empty entry; write numbers, ranges or names with commas between, such as 22,80,8000-8100"
    )]
    Empty(String),
    /// A number beyond 65535.
    #[error("port {0} does not exist; ports go from 0 to 65535")]
    TooLarge(String),
    /// The range's end is below its start.
    #[error("port range {first}-{last} is backwards; write {last}-{first}")]
    Backwards {
        /// The range's left side.
        first: u16,
        /// The range's right side.
        last: u16,
    },
    /// No service of that name.
    #[error("no TCP service is called {0:?}; give the port's number, or a mask such as http*")]
    UnknownName(String),
    /// Neither number, range nor name.
    #[error(
        "{0:?} is no port; write a number, a range such as 1-1024 (or - for all), or a service name"
    )]
    NotAPort(String),
    /// Unbalanced brackets.
    #[error(
        "brackets in {0:?} do not pair up; [1-1024] takes the ports of that range that have a service name"
    )]
    Brackets(String),
    /// A protocol that is not TCP.
    #[error(
        "{0:?} asks for a protocol other than TCP; portreeve scans TCP only, so leave that part out"
    )]
    NotTcp(String),
    /// More top ports than the ranking has, or none.
    #[error("there are no top {0} ports; the ranking has 1000, so ask for 1 to 1000")]
    TopPorts(usize),
}

impl PortSet {
    /// Parses nmap's port grammar: `22`, `1000-2000`, `-100` (1-100), `60000-` (to 65535), `-`
    /// (1-65535), service names with `*` and `?`, `[…]` for only those ports that have a service
    /// name, and `T:` before any of these. Port 0 is included only when it is written. Commas or
    /// blanks separate them.
    ///
    /// # Errors
    /// [`PortError`] with the offending part.
    pub fn parse(text: &str, services: &Services) -> Result<Self, PortError> {
        let mut set = Bits::new();
        let mut bracketed = false;
        let list = text.trim();
        let list = list.strip_suffix(',').unwrap_or(list);
        for entry in list.split(',').flat_map(words) {
            let mut part = entry;
            part = match part.split_once(':') {
                Some(("T" | "t", rest)) => rest,
                Some(_) => return Err(PortError::NotTcp(entry.into())),
                None => part,
            };
            if let Some(rest) = part.strip_prefix('[') {
                if std::mem::replace(&mut bracketed, true) {
                    return Err(PortError::Brackets(list.into()));
                }
                part = rest;
            }
            let closes = part.ends_with(']');
            part = part.strip_suffix(']').unwrap_or(part);
            if part.is_empty() {
                return Err(PortError::Empty(text.into()));
            }
            for (first, last) in ranges_of(part, services)? {
                if bracketed {
                    let named = (first..=last).filter(|&port| services.name(port).is_some());
                    named.for_each(|port| set.insert(port, port));
                } else {
                    set.insert(first, last);
                }
            }
            if closes && !std::mem::replace(&mut bracketed, false) {
                return Err(PortError::Brackets(list.into()));
            }
        }
        if bracketed {
            return Err(PortError::Brackets(list.into()));
        }
        Ok(set.into())
    }

    /// The `count` ports most often found open, 1 to 1000. The next in rank replace those in
    /// `except`.
    ///
    /// # Errors
    /// [`PortError::TopPorts`] when `count` is 0 or above 1000.
    pub fn top(count: usize, except: &PortSet) -> Result<Self, PortError> {
        if !(1..=TOP_PORTS.len()).contains(&count) {
            return Err(PortError::TopPorts(count));
        }
        Ok(TOP_PORTS
            .iter()
            .copied()
            .filter(|&port| !except.contains(port))
            .take(count)
            .collect())
    }

    /// The empty set.
    pub fn none() -> Self {
        PortSet {
            runs: Box::new([]),
            len: 0,
        }
    }

    /// These ports without those in `except`.
    pub fn without(&self, except: &PortSet) -> Self {
        if except.is_empty() {
            return self.clone();
        }
        self.iter().filter(|&port| !except.contains(port)).collect()
    }

    /// How many ports there are, 0 to 65,536.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.runs.partition_point(|run| run.first <= port);
        after > 0 && port <= self.runs[after - 1].last
    }

    /// The ports, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.runs.iter().flat_map(|run| run.first..=run.last)
    }

    /// How many ports are below this one.
    pub(super) fn rank(&self, port: u16) -> usize {
        let after = self.runs.partition_point(|run| run.first < port);
        after.checked_sub(1).map_or(0, |at| {
            let run = &self.runs[at];
            let below = port.min(run.last.saturating_add(1)) - run.first;
            run.before as usize + usize::from(below)
        })
    }

    /// The `index`-th smallest port; `index` must be below [`len`](Self::len).
    pub(super) fn nth(&self, index: usize) -> u16 {
        let after = self
            .runs
            .partition_point(|run| run.before as usize <= index);
        let run = &self.runs[after - 1];
        run.first + (index - run.before as usize) as u16
    }
}

/// The words of an entry. One whose hyphen stands alone is whole: `2 - 3` is no 2, all ports and 3.
fn words(entry: &str) -> Vec<&str> {
    let words: Vec<&str> = entry.split_whitespace().collect();
    let is_open = |word: &&str| word.starts_with('-') || word.ends_with('-');
    if words.is_empty() || (words.len() > 1 && words.iter().any(is_open)) {
        vec![entry.trim()]
    } else {
        words
    }
}

/// The ranges that an entry of a list stands for.
fn ranges_of(part: &str, services: &Services) -> Result<Vec<(u16, u16)>, PortError> {
    if part.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let ports: Vec<_> = services.matching(part).map(|port| (port, port)).collect();
        return if ports.is_empty() {
            Err(PortError::UnknownName(part.into()))
        } else {
            Ok(ports)
        };
    }
    let (first, last) = match part.split_once('-') {
        None => {
            let port = number(part, part)?;
            (port, port)
        }
        Some((first, last)) => (
            if first.is_empty() {
                1
            } else {
                number(first, part)?
            },
            if last.is_empty() {
                u16::MAX
            } else {
                number(last, part)?
            },
        ),
    };
    if first > last {
        return Err(PortError::Backwards { first, last });
    }
    Ok(vec![(first, last)])
}

fn number(text: &str, part: &str) -> Result<u16, PortError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PortError::NotAPort(part.into()));
    }
    text.parse().map_err(|_| PortError::TooLarge(text.into()))
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut set = Bits::new();
        ports.into_iter().for_each(|port| set.insert(port, port));
        set.into()
    }
}

/// Prints as a list of ranges that parses to the same set.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Run { first, last, .. }) in self.runs.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// One bit per port while a set is built, so that a hostile list of overlapping ranges costs 8 KiB.
struct Bits {
    words: Vec<u64>,
    /// Where the words are that may not be 0, and where they end: most sets are of few neighbours.
    from: usize,
    end: usize,
}

impl Bits {
    fn new() -> Self {
        Bits {
            words: vec![0; 1024],
            from: 1024,
            end: 0,
        }
    }

    /// Adds a range, word by word.
    fn insert(&mut self, first: u16, last: u16) {
        for word in first >> 6..=last >> 6 {
            let from = first.max(word << 6) & 63;
            let to = last.min(word << 6 | 63) & 63;
            self.words[usize::from(word)] |= u64::MAX >> (63 - (to - from)) << from;
        }
        let [first, last] = [first, last].map(|port| usize::from(port >> 6));
        self.from = self.from.min(first);
        self.end = self.end.max(last + 1);
    }

    /// The ports, ascending.
    fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (self.from..self.end).flat_map(|at| {
            let next = |&word: &u64| Some(word & (word - 1)).filter(|&word| word != 0);
            let word = Some(self.words[at]).filter(|&word| word != 0);
            let left = std::iter::successors(word, next);
            left.map(move |word| (at as u16) << 6 | word.trailing_zeros() as u16)
        })
    }
}

impl From<Bits> for PortSet {
    fn from(bits: Bits) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        let mut len = 0;
        for port in bits.iter() {
            match runs
                .last_mut()
                .filter(|run| run.last.checked_add(1) == Some(port))
            {
                Some(run) => run.last = port,
                None => runs.push(Run {
                    first: port,
                    last: port,
                    before: len,
                }),
            }
            len += 1;
        }
        PortSet {
            runs: runs.into(),
            len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expect: &str) {
        let got = match PortSet::parse(input, &Services::built_in()) {
            Ok(ports) => ports.to_string(),
            Err(error) => format!("error: {error}"),
        };
        assert!(
            if expect.starts_with("error") {
                got.contains(&expect[7..]) && got.starts_with("error")
            } else {
                got == expect
            },
            "{input:?} gave {got:?}"
        );
    }

    #[test]
    fn nmap_grammar() {
        check("22,80,1000-2000", "22,80,1000-2000");
        check("-100", "1-100");
        check("60000-", "60000-65535");
        check("-", "1-65535");
        check("0", "0");
        check("0-", "0-65535");
        check(" 80 , 22,", "22,80");
        check("22 80\t443", "22,80,443");
        check("22\n80-81\r\n", "22,80-81");
        check("80,80,79-81", "79-81");
        check("https*", "443,8443,8991");
        check("T:22,80", "22,80");
        check("[1-25]", "1,5,7,9,11,13,17-25");
        check("[21-22,444,4],9999", "21-22,444,9999");
    }

    #[test]
    fn mistakes_are_named() {
        check("20-10", "error: port range 20-10 is backwards; write 10-20");
        check("70000", "error: port 70000 does not exist");
        check(
            "99999999999999999999",
            "error: port 99999999999999999999 does not exist",
        );
        check("", "error: has an empty entry");
        check("1,,2", "error: has an empty entry");
        check("2 - 3", "error: \"2 - 3\" is no port");
        check("2 -3", "error: \"2 -3\" is no port");
        check("1, ,2", "error: has an empty entry");
        check("1-2-3", "error: is no port");
        check("nonesuch", "error: no TCP service is called \"nonesuch\"");
        check("U:53", "error: TCP only");
        check("[1-5", "error: do not pair up");
        check("1-5]", "error: do not pair up");
        check("[1,[2]]", "error: do not pair up");
        check("é", "error: is no port");
    }

    #[test]
    fn top_ports_fill_up_past_the_excluded() {
        let except: PortSet = [80, 443].into_iter().collect();
        assert_eq!(PortSet::top(3, &except).unwrap().to_string(), "21-23");
        assert_eq!(PortSet::top(1000, &PortSet::none()).unwrap().len(), 1000);
        assert_eq!(PortSet::top(0, &except), Err(PortError::TopPorts(0)));
        assert_eq!(PortSet::top(1001, &except), Err(PortError::TopPorts(1001)));
    }

    proptest! {
        #[test]
        fn ranges_are_what_they_span(ranges in proptest::collection::vec((any::<u16>(), 0..200u16), 1..9)) {
            let mut bits = Bits::new();
            let ends = |(first, more): (u16, u16)| (first, first.saturating_add(more));
            ranges.iter().for_each(|&range| bits.insert(ends(range).0, ends(range).1));
            let ports = ranges.iter().flat_map(|&range| ends(range).0..=ends(range).1);
            prop_assert_eq!(PortSet::from(bits), ports.collect());
        }

        #[test]
        fn printed_sets_parse_to_themselves(ports in proptest::collection::btree_set(any::<u16>(), 1..200)) {
            let set: PortSet = ports.iter().copied().collect();
            prop_assert!(set.iter().eq(ports.iter().copied()));
            prop_assert_eq!(PortSet::parse(&set.to_string(), &Services::built_in()), Ok(set));
        }

        #[test]
        fn any_text_is_answered(text in "[-0-9,:TU\\[\\]a-z* ]{0,20}|.*") {
            let _ = PortSet::parse(&text, &Services::built_in());
        }
    }
}
