//! Reports as lists of targets: nmap's grepable lines, masscan's list, and comma-separated values
//! that name their columns. Their lines become words of the plan's grammar. It knows words only.

use std::borrow::Cow;

/// What is known of the lines so far.
#[derive(Default)]
pub struct Formats {
    /// Whether reports are no targets here.
    is_plain: bool,
    has_begun: bool,
    columns: Option<Columns>,
    /// A grepable host that is up. Its ports may be on the next line.
    up: Option<String>,
}

impl Formats {
    /// For a list that must not be a report: what is not open is in none, and a host that seems to
    /// be excluded would be scanned.
    pub fn plain() -> Self {
        Formats {
            is_plain: true,
            ..Formats::default()
        }
    }

    /// The targets that a line without its comment stands for: the line itself, unless it belongs
    /// to a report.
    pub fn targets<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        if self.is_plain || line.trim().is_empty() {
            return line.into();
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            self.columns = Columns::of(line);
            if self.columns.is_some() {
                return "".into();
            }
        }
        if let Some(columns) = &self.columns {
            return columns.target(line).map_or(line.into(), Cow::from);
        }
        if let Some(target) = masscan_target(line) {
            return target.into();
        }
        let mut fields = line.split('\t');
        let Some(host) = fields
            .clone()
            .find_map(|field| field.strip_prefix("Host: "))
        else {
            return line.into();
        };
        let host = host.split(' ').next().unwrap_or_default();
        let before = self.up.take().filter(|up| up != host).unwrap_or_default();
        if let Some(ports) = fields
            .clone()
            .find_map(|field| field.strip_prefix("Ports: "))
        {
            return format!("{before} {}", with_ports(host, &open_ports(ports))).into();
        }
        if fields.any(|field| field == "Status: Up") {
            self.up = Some(host.into());
        }
        before.into()
    }

    /// The target that only the end of the list shows.
    pub fn last(self) -> String {
        self.up.unwrap_or_default()
    }
}

/// The target in a line of masscan's list: `open tcp 80 192.0.2.1 1700000000`; nothing in the line
/// of a banner.
fn masscan_target(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let kind = words
        .next()
        .filter(|kind| ["open", "banner"].contains(kind))?;
    let (_, port, host) = (
        words.next().filter(|&it| it == "tcp")?,
        words.next()?,
        words.next()?,
    );
    Some(if kind == "open" {
        with_ports(host, port)
    } else {
        String::new()
    })
}

/// The open TCP ports of a grepable line: `22/open/tcp//ssh///, 80/closed/tcp//http///`.
fn open_ports(ports: &str) -> String {
    let open = ports.split(", ").filter_map(|entry| {
        let mut fields = entry.split('/');
        let port = fields.next()?;
        (fields.next()? == "open" && fields.next()? == "tcp").then_some(port)
    });
    open.collect::<Vec<_>>().join(",")
}

/// A host with these ports, in the plan's grammar; nothing if there are none.
fn with_ports(host: &str, ports: &str) -> String {
    match (ports, host.contains(':')) {
        ("", _) => String::new(),
        (ports, true) => format!("[{host}]:{ports}"),
        (ports, false) => format!("{host}:{ports}"),
    }
}

/// Which columns of a table matter.
struct Columns {
    address: usize,
    port: usize,
    state: Option<usize>,
    protocol: Option<usize>,
}

impl Columns {
    /// The columns that a table's first line names, in our words, masscan's, naabu's or zmap's.
    fn of(line: &str) -> Option<Self> {
        let names: Vec<String> = cells(line).map(str::to_ascii_lowercase).collect();
        let place = |known: &[&str]| {
            let at = |name: &&str| names.iter().position(|other| other == name);
            known.iter().find_map(at)
        };
        Some(Columns {
            address: place(&["ip", "saddr", "address", "host"])?,
            port: place(&["port", "sport"])?,
            state: place(&["state"]),
            protocol: place(&["protocol", "proto"]),
        })
    }

    /// The target of a row; nothing if it is not open, or not TCP. `None` if it has too few cells.
    fn target(&self, line: &str) -> Option<String> {
        let cells: Vec<&str> = cells(line).collect();
        let is = |column: Option<usize>, value: &str| {
            column
                .and_then(|at| cells.get(at))
                .is_none_or(|cell| *cell == value)
        };
        let (address, port) = (cells.get(self.address)?, cells.get(self.port)?);
        if is(self.state, "open") && is(self.protocol, "tcp") {
            Some(with_ports(address, port))
        } else {
            Some(String::new())
        }
    }
}

/// The cells of a row. Those that matter here hold neither commas nor quotes.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(|cell| cell.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expect: &str) {
        let mut formats = Formats::default();
        let mut told: Vec<String> = lines
            .iter()
            .map(|line| formats.targets(line).into_owned())
            .collect();
        told.push(formats.last());
        let words: Vec<&str> = told
            .iter()
            .flat_map(|text| text.split_whitespace())
            .collect();
        assert_eq!(words.join(" "), expect, "{lines:?}");
    }

    #[test]
    fn grepable_lines_name_open_ports() {
        check(
            &[
                "Host: 10.0.0.1 (a.test)\tStatus: Up",
                "Host: 10.0.0.1 (a.test)\tPorts: 22/open/tcp//ssh///, 23/closed/tcp//x///, \
                 53/open/udp//dns///, 80/open/tcp//http///\tIgnored State: filtered (9)",
                "Host: 10.0.0.2 ()\tStatus: Up",
                "Host: 10.0.0.2 ()\tPorts: \tIgnored State: closed (1000)",
                "Host: 10.0.0.3 ()\tStatus: Down",
                "Host: fe80::1%7 ()\tPorts: 22/open/tcp//ssh///",
                "Timestamp: 17\tHost: 10.0.0.9 ()\tPorts: 80/open/tcp//http//",
            ],
            "10.0.0.1:22,80 [fe80::1%7]:22 10.0.0.9:80",
        );
        check(
            &[
                "Host: 10.0.0.1 ()\tStatus: Up",
                "Host: 10.0.0.2 ()\tStatus: Up",
            ],
            "10.0.0.1 10.0.0.2",
        );
    }

    #[test]
    fn masscans_lines_name_one_port_each() {
        check(
            &[
                "open tcp 80 10.0.0.1 1700000000",
                "banner tcp 80 10.0.0.1 1700000000 http x y",
                "open tcp 22 ::1 1700000000",
                "open udp 53 ::1 1700000000",
            ],
            "10.0.0.1:80 [::1]:22 open udp 53 ::1 1700000000",
        );
        check(&["open"], "open");
    }

    #[test]
    fn columns_have_names() {
        check(
            &[
                "",
                "ip,host,port,protocol,state,reason",
                "10.0.0.1,a,22,tcp,open,syn-ack",
                "10.0.0.1,a,23,tcp,closed,conn-refused",
                "::1,,80,tcp,open,syn-ack",
            ],
            "10.0.0.1:22 [::1]:80",
        );
        check(&["saddr,sport", "10.0.0.1,80"], "10.0.0.1:80");
        check(&["host,ip,port,\"tls\"", "a,10.0.0.1,80,"], "10.0.0.1:80");
        check(&["ip,port", "10.0.0.1"], "10.0.0.1");
        check(&["10.0.0.1,80", "ip,port"], "10.0.0.1,80 ip,port");
    }
}
