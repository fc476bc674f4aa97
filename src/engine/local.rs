//! Compares what the scan finds on this machine with what listens there by the kernel's list. It
//! reads /proc (proc(5)) and looks up routes; it sends nothing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::socket;
use crate::report::{LocalCheck, LocalPort};
use crate::scan::{Finding, State};

/// At most this many ports of each kind are named; further ones are only counted.
const NAMED: usize = 1_000;

/// What was found on this machine's own addresses so far.
#[derive(Debug)]
pub(super) struct Local {
    before: Listeners,
    ports: HashSet<u16>,
    open: Vec<SocketAddr>,
    not_open: Vec<Finding>,
    untold: u64,
}

impl Local {
    pub fn begin() -> io::Result<Self> {
        let before = Listeners::read()?;
        let ports = before.0.keys().map(|at| at.port()).collect();
        Ok(Local {
            before,
            ports,
            open: Vec::new(),
            not_open: Vec::new(),
            untold: 0,
        })
    }

    pub fn finding(&mut self, finding: &Finding) {
        let is_open = finding.state() == State::Open;
        // An unscanned port says nothing.
        if finding.state() == State::Unscanned
            || !(is_open || self.ports.contains(&finding.endpoint.port()))
        {
            return;
        }
        if !socket::is_local(finding.endpoint) || !(is_open || self.before.has(finding.endpoint)) {
            return;
        }
        match is_open {
            true if self.open.len() < NAMED => self.open.push(finding.endpoint),
            false if self.not_open.len() < NAMED => self.not_open.push(finding.clone()),
            _ => self.untold += 1,
        }
    }

    /// The comparison. A socket that began or ceased to listen during the scan is no contradiction.
    pub fn check(&self) -> io::Result<LocalCheck> {
        let after = Listeners::read()?;
        let owners = after.owners();
        let listener = |at: SocketAddr| after.inode(at).or_else(|| self.before.inode(at));
        let owner = |at: SocketAddr| listener(at).and_then(|inode| owners.get(&inode).cloned());
        let port = |endpoint: SocketAddr, reason| LocalPort {
            endpoint,
            reason,
            listens: listener(endpoint).is_some(),
            owner: owner(endpoint),
        };
        let open = self
            .open
            .iter()
            .map(|&endpoint| port(endpoint, crate::scan::Reason::SynAck));
        let not_open = self
            .not_open
            .iter()
            .filter(|finding| after.has(finding.endpoint));
        let mut ports: Vec<LocalPort> = open
            .chain(not_open.map(|finding| port(finding.endpoint, finding.reason)))
            .collect();
        ports.sort_unstable_by_key(|port| port.endpoint);
        Ok(LocalCheck {
            ports,
            untold: self.untold,
        })
    }
}

/// Sockets that listen, with their inodes.
#[derive(Debug)]
struct Listeners(HashMap<SocketAddr, u64>);

impl Listeners {
    fn read() -> io::Result<Self> {
        if !cfg!(target_os = "linux") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this system's list of listening sockets cannot be read yet",
            ));
        }
        let mut listeners = HashMap::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            match std::fs::read_to_string(table) {
                Ok(text) => listeners.extend(text.lines().filter_map(listener)),
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Listeners(listeners))
    }

    /// Whether some socket certainly takes connections to `at`: one of the same family, bound to
    /// this address or to all.
    fn has(&self, at: SocketAddr) -> bool {
        let any = unspecified(at.is_ipv6(), at.port());
        self.0.contains_key(&plain(at)) || self.0.contains_key(&any)
    }

    /// The socket that may take connections to `at`. The kernel's list does not say which IPv6
    /// sockets take IPv4 connections, too.
    fn inode(&self, at: SocketAddr) -> Option<u64> {
        let mapped = match at.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), at.port()),
            IpAddr::V6(_) => plain(at),
        };
        let places = [
            plain(at),
            unspecified(at.is_ipv6(), at.port()),
            mapped,
            unspecified(true, at.port()),
        ];
        places.iter().find_map(|place| self.0.get(place).copied())
    }

    /// The processes that have these sockets open, as far as they may be seen: `sshd (711)`.
    fn owners(&self) -> HashMap<u64, String> {
        let wanted: HashSet<u64> = self.0.values().copied().collect();
        let mut owners = HashMap::new();
        for process in entries("/proc") {
            let Some(id) = process
                .file_name()
                .and_then(|name| name.to_str()?.parse::<u32>().ok())
            else {
                continue;
            };
            for descriptor in entries(process.join("fd")) {
                let Ok(target) = std::fs::read_link(descriptor) else {
                    continue;
                };
                let inode = target.to_str().and_then(|text| {
                    text.strip_prefix("socket:[")?
                        .strip_suffix(']')?
                        .parse()
                        .ok()
                });
                if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
                    owners
                        .entry(inode)
                        .or_insert_with(|| format!("{} ({id})", name.trim_end()));
                }
            }
        }
        owners
    }
}

/// What is in a folder, as far as it can be read: some processes end meanwhile, others belong to
/// another user.
fn entries(folder: impl AsRef<std::path::Path>) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

/// The address without its zone, which the kernel's list does not show.
fn plain(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), at.port())
}

fn unspecified(v6: bool, port: u16) -> SocketAddr {
    if v6 {
        ([0u16; 8], port).into()
    } else {
        ([0u8; 4], port).into()
    }
}

/// Address and inode of a listening socket (state 0A) from a line of /proc/net/tcp or tcp6; `None`
/// for any other line.
fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (ip, port) = fields.next()?.split_once(':')?;
    let is_listening = fields.nth(1)? == "0A";
    let inode = fields.nth(5)?.parse().ok()?;
    // Words of 32 bits, each in this machine's byte order.
    let words = ip.as_bytes().chunks(8).map(|digits| {
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    let ip: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    is_listening.then_some((
        SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?),
        inode,
    ))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0";
        assert_eq!(
            listener(v4),
            Some(("127.0.0.1:8080".parse().unwrap(), 4711))
        );
        assert_eq!(listener(&v4.replace(" 0A ", " 01 ")), None, "a connection");
        let v6 = v4.replace("0100007F:1F90", "B80D0120000000000000000007000000:0016");
        assert_eq!(
            listener(&v6),
            Some(("[2001:db8::7]:22".parse().unwrap(), 4711))
        );
        for text in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "0: é:1 2 0A 3 4 5 6 7 8",
        ] {
            assert_eq!(listener(text), None, "{text}");
        }
    }

    #[test]
    fn a_listener_takes_what_is_sent_to_all_addresses() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listeners = Listeners(
            [
                (at("0.0.0.0:22"), 1),
                (at("[::]:80"), 2),
                (at("127.0.0.1:53"), 3),
            ]
            .into(),
        );
        assert!(
            listeners.has(at("127.0.0.1:22"))
                && listeners.has(at("[::1]:80"))
                && listeners.has(at("127.0.0.1:53"))
        );
        assert!(!listeners.has(at("[::1]:22")) && !listeners.has(at("127.0.0.2:53")));
        assert!(
            !listeners.has(at("127.0.0.1:80")),
            "it may be of IPv6 alone"
        );
        assert_eq!(
            listeners.inode(at("127.0.0.1:80")),
            Some(2),
            "and it may not"
        );
        assert_eq!(listeners.inode(at("127.0.0.2:53")), None);
    }
}
