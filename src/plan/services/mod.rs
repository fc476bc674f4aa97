//! Names of TCP services: what the system's file says anew, then the familiar names, then IANA's.
//! It parses the text it is given and opens no file.

mod table;

use std::collections::BTreeMap;

use table::Table;

/// The service names of TCP ports.
///
/// The text format is that of services(5): `name port/protocol [alias …] [# comment]`.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// The names of the system's file. They are compared with the tables only when one is wanted:
    /// a table that nobody has asked takes no memory.
    system: BTreeMap<u16, Box<str>>,
    /// All names and aliases of that file, by which a port may be asked for.
    aliases: Vec<(Box<str>, u16)>,
}

/// What nearly everybody calls a service that the registry has under another name, or not at all.
const FAMILIAR: Table = Table(include_str!("familiar.txt"));

/// IANA's registry; `iana.jq` says where it comes from.
const IANA: Table = Table(include_str!("iana.txt"));

impl Services {
    /// The built-in tables.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The names in a services(5) text on top of the built-in tables. Lines that do not parse are
    /// skipped, as the C library does.
    ///
    /// Systems come with a part of IANA's registry in that file. So a name that the tables know for
    /// its port is no reason to show it instead of the familiar one; any other is somebody's own.
    pub fn with_system(text: &str) -> Self {
        let mut services = Services::default();
        for line in text.lines() {
            services.add_line(line);
        }
        services
    }

    fn add_line(&mut self, line: &str) {
        let mut words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (Some(name), Some(place)) = (words.next(), words.next()) else {
            return;
        };
        let Some((port, "tcp")) = place.split_once('/') else {
            return;
        };
        let Ok(port) = port.parse() else { return };
        // Names are printed unchanged, so one that could control a terminal is rejected.
        if !name.chars().all(|c| c.is_ascii_graphic()) {
            return;
        }
        self.system.entry(port).or_insert_with(|| name.into());
        self.aliases
            .extend(words.chain([name]).map(|word| (word.into(), port)));
    }

    /// The service's name, if the port has one.
    pub fn name(&self, port: u16) -> Option<&str> {
        let system = self.system.get(&port).map(AsRef::as_ref);
        system
            .filter(|&name| known(port).all(|known| known != name))
            .or_else(|| known(port).next())
    }

    /// The ports whose name or alias matches `mask` (`*` for any run of characters, `?` for any
    /// one), ignoring case. One may come more than once.
    pub fn matching<'a>(&'a self, mask: &'a str) -> impl Iterator<Item = u16> + 'a {
        let mask = mask.to_ascii_lowercase();
        let own = self
            .aliases
            .iter()
            .map(|(name, port)| (name.as_ref(), *port));
        own.chain(
            FAMILIAR
                .iter()
                .chain(IANA.iter())
                .map(|known| known as (&'a str, u16)),
        )
        .filter(move |(name, _)| glob(mask.as_bytes(), name.to_ascii_lowercase().as_bytes()))
        .map(|(_, port)| port)
    }
}

/// The names that the tables have for a port, the one to be shown first.
fn known(port: u16) -> impl Iterator<Item = &'static str> {
    FAMILIAR.names(port).chain(IANA.names(port))
}

/// Whether `text` matches `mask`. Only the last star is remembered, so a hostile mask costs at most
/// the product of both lengths.
fn glob(mask: &[u8], text: &[u8]) -> bool {
    let mut m = 0;
    let mut t = 0;
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match mask.get(m) {
            Some(b'*') => {
                retry = Some((m + 1, t));
                m += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                m += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    m = after_star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    mask[m..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_port_is_named_by_the_systems_own_names_then_familiar_ones_then_the_registry() {
        let check = |system: &str, port, expected: Option<&str>| {
            let services = Services::with_system(system);
            assert_eq!(services.name(port), expected, "{port} with {system:?}");
        };
        check("", 22, Some("ssh"));
        check("", 135, Some("msrpc"));
        check("", 8000, Some("http-alt"));
        check("", 4, None);
        check("web\t80/tcp www # the web\n", 80, Some("web"));
        check("ssh-udp 22/udp\nbroken\nbad 99999/tcp\n", 22, Some("ssh"));
        // What the file only repeats from the registry does not hide the familiar name.
        check("epmap 135/tcp loc-srv\n", 135, Some("msrpc"));
        check("imap2 143/tcp imap\n", 143, Some("imap"));
    }

    #[test]
    fn ports_are_asked_for_by_any_of_their_names() {
        let services = Services::with_system("web 80/tcp the-web\n");
        for (mask, ports) in [
            ("THE-WEB", &[80][..]),
            ("epmap", &[135]),
            ("msrpc", &[135]),
            ("https", &[443]),
            ("tor-*", &[9001, 9040, 9050]),
            ("no-such-service", &[]),
        ] {
            let found: BTreeSet<_> = services.matching(mask).collect();
            assert!(found.iter().eq(ports), "{mask}: {found:?}");
        }
        assert_eq!(services.matching("http").next(), Some(80), "a URL's scheme");
    }

    #[test]
    fn the_tables_are_in_order() {
        for (table, at_least) in [(FAMILIAR, 100), (IANA, 5_000)] {
            let names: Vec<_> = table.iter().collect();
            assert!(names.len() > at_least, "{} names", names.len());
            assert!(names.is_sorted_by_key(|&(_, port)| port));
            for &(name, port) in &names {
                assert!(port > 0, "{name:?} has no port");
                assert!(
                    table.names(port).any(|found| found == name),
                    "{port} {name:?}"
                );
                assert!(
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic()),
                    "{name:?}"
                );
            }
        }
    }

    #[test]
    fn names_that_drive_a_terminal_are_no_names() {
        assert_eq!(Services::with_system("\x1b[31mred 4/tcp").name(4), None);
    }

    #[test]
    fn masks() {
        for (mask, text, matches) in [
            ("http*", "http", true),
            ("http*", "https-alt", true),
            ("h?tp", "http", true),
            ("h?tp", "htp", false),
            ("*s", "https", true),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(
                glob(mask.as_bytes(), text.as_bytes()),
                matches,
                "{mask} on {text}"
            );
        }
    }
}
