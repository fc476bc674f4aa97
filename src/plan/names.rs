//! The names that targets were given by, for the addresses that they resolved to. It knows words
//! and addresses, and looks nothing up.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::PortSet;

/// The names that targets were given by, for the addresses that they resolved to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<HashMap<IpAddr, Vec<Name>>>);

/// A name of an address, which has it once.
#[derive(Clone, Debug)]
struct Name {
    text: Box<str>,
    /// The ports that it was given with; `None` if it stands for all.
    ports: Option<PortSet>,
}

/// A name that led to an address, and the ports that it was given with, if it does not stand for
/// all.
pub type FoundName = (IpAddr, Box<str>, Option<PortSet>);

/// A name with the ports of each time that it was given.
type Given = (Box<str>, Vec<Option<PortSet>>);

impl From<Given> for Name {
    fn from((text, given): Given) -> Self {
        let sets: Option<Vec<PortSet>> = given.into_iter().collect();
        Name {
            text,
            ports: sets.map(|sets| sets.iter().flat_map(PortSet::iter).collect()),
        }
    }
}

impl Names {
    /// The name that led to `address`, the first one if there are several.
    pub fn get(&self, address: IpAddr) -> Option<&str> {
        self.all(address).next()
    }

    /// All names that led to `address`, in the order in which they were given.
    pub fn all(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let names = self.0.get(&address).into_iter().flatten();
        names.map(|name| &*name.text)
    }

    /// The name under which this endpoint was asked for: one given with this port, or else with
    /// none, or else any.
    pub fn of(&self, endpoint: SocketAddr) -> Option<&str> {
        let names = self.0.get(&endpoint.ip())?;
        let has_port = |name: &&Name| {
            let ports = name.ports.as_ref();
            ports.is_some_and(|ports| ports.contains(endpoint.port()))
        };
        let with_port = names.iter().find(has_port);
        let name = with_port.or_else(|| names.iter().find(|name| name.ports.is_none()));
        name.or_else(|| names.first()).map(|name| &*name.text)
    }

    /// The addresses that several names led to.
    pub(super) fn shared(&self) -> Vec<IpAddr> {
        let mut shared: Vec<IpAddr> = self
            .0
            .keys()
            .copied()
            .filter(|&address| self.all(address).nth(1).is_some())
            .collect();
        shared.sort_unstable();
        shared
    }
}

impl FromIterator<FoundName> for Names {
    fn from_iter<I: IntoIterator<Item = FoundName>>(all: I) -> Self {
        let mut names: HashMap<IpAddr, Vec<Given>> = HashMap::new();
        // One address may have ten thousand names, and one name as many ports.
        let mut places = HashMap::new();
        for (address, text, ports) in all {
            let here = names.entry(address).or_default();
            let place = *places
                .entry((address, text))
                .or_insert_with_key(|(_, text)| {
                    here.push((text.clone(), Vec::new()));
                    here.len() - 1
                });
            here[place].1.push(ports);
        }
        let together = |(address, given): (IpAddr, Vec<Given>)| {
            (address, given.into_iter().map(Name::from).collect())
        };
        Names(Arc::new(names.into_iter().map(together).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_the_name_that_it_was_asked_for_by() {
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        let found = [
            ("c", Some(80)),
            ("a", Some(22)),
            ("any", None),
            ("c", Some(81)),
            ("any", Some(80)),
        ]
        .map(|(text, port)| {
            (
                address,
                text.into(),
                port.map(|port| [port].into_iter().collect()),
            )
        });
        let names: Names = found.into_iter().collect();
        for (port, name) in [(80, "c"), (22, "a"), (81, "c"), (9, "any")] {
            assert_eq!(names.of((address, port).into()), Some(name), "{port}");
        }
        assert_eq!(names.get(address), Some("c"));
        assert_eq!(names.all(address).collect::<Vec<_>>(), ["c", "a", "any"]);
        assert_eq!(names.shared(), [address]);
        let other = "192.0.2.2".parse().expect("an address");
        assert_eq!(
            (names.get(other), names.of((other, 1).into())),
            (None, None)
        );
    }
}
