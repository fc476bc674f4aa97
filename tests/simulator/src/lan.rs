//! What stands on the other machine ([`Peer`]): services, and firewalls and routers of the kinds
//! that make scans go wrong. Each function adds to a peer; none knows who scans.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::{self, Peer, ip};
use crate::tun::{Reply, TunNetwork};

/// Listens on these ports of all the peer's addresses, and accepts what comes.
pub fn serve(peer: &Peer, ports: &'static [u16]) {
    peer.run(move || {
        for &port in ports {
            let listener = TcpListener::bind(("::", port)).expect("a free port");
            std::thread::spawn(move || listener.incoming().for_each(drop));
        }
    });
}

/// Listens on these ports without ever accepting: connections fill the queue, which holds one more
/// than `backlog`, and then the port looks silent. Returns a count of what waits in each.
pub fn serve_busily(
    peer: &Peer,
    ports: &'static [u16],
    backlog: i32,
) -> impl Fn() -> Vec<usize> + use<> {
    let listeners: Arc<Vec<TcpListener>> = Arc::new(peer.run(move || {
        let listen = |&port: &u16| {
            let listener = TcpListener::bind(("0.0.0.0", port))?;
            listener.set_nonblocking(true)?;
            // SAFETY: it only sets the length of the queue of a socket that is ours.
            crate::namespace::check(unsafe { libc::listen(listener.as_raw_fd(), backlog) })?;
            Ok(listener)
        };
        ports
            .iter()
            .map(listen)
            .collect::<io::Result<Vec<_>>>()
            .expect("listeners")
    }));
    move || {
        let waiting = |socket: &TcpListener| socket.incoming().map_while(Result::ok).count();
        listeners.iter().map(waiting).collect()
    }
}

/// A chain of the peer's firewall that sees what is sent to itself.
pub const INPUT: [&str; 2] = [
    "add table ip f",
    "add chain ip f i { type filter hook input priority 0 ; }",
];

/// Sets up a firewall on the peer.
///
/// # Errors
/// Where nftables cannot be had.
pub fn firewall<R: AsRef<str> + Send + 'static>(peer: &Peer, rules: Vec<R>) -> io::Result<()> {
    peer.run(move || {
        rules
            .iter()
            .try_for_each(|rule| peer::run("nft", rule.as_ref()))
    })
}

/// Makes the peer a router in front of 10.78.0.9, which remembers so many connections and drops
/// whatever is new beyond them, and forgets after this time those that nobody answers. Its own
/// services on the ports 21, 22, 80, 443 and 8080 are that host's; all other ports are silent.
///
/// # Errors
/// Where nftables or its connection tracking cannot be had.
pub fn table_on_the_way(peer: &Peer, places: u32, lifetime_s: u32) -> io::Result<()> {
    peer.run(|| {
        for arguments in [
            "link add d0 type veth peer name d1",
            "address add 10.78.0.1/24 dev d0",
            "link set d0 up",
            "link set d1 up",
            "neigh add 10.78.0.9 lladdr 02:00:00:00:00:09 dev d0 nud permanent",
        ] {
            ip(arguments)?;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
    })?;
    let rules = [
        "add table ip f".into(),
        "add chain ip f c { type filter hook prerouting priority -150 ; }".into(),
        format!("add rule ip f c ct state new ct count over {places} drop"),
        "add chain ip f d { type nat hook prerouting priority -100 ; }".into(),
        "add rule ip f d tcp dport { 21, 22, 80, 443, 8080 } redirect".into(),
    ];
    firewall(peer, rules.into())?;
    peer.run(move || {
        let file = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_syn_sent";
        std::fs::write(file, lifetime_s.to_string())
    })?;
    ip("route add 10.78.0.0/24 via 10.77.0.7")
}

/// Has these addresses of the peer shut out for a while whoever sends them SYNs faster than this,
/// over a burst of 100.
///
/// # Errors
/// Where nftables cannot be had.
pub fn ban(peer: &Peer, addresses: &str, rate: &str, for_s: u32) -> io::Result<()> {
    let rules = [
        "add set ip f seen { type ipv4_addr ; flags dynamic ; }".into(),
        format!(
            "add set ip f shut {{ type ipv4_addr ; flags dynamic,timeout ; timeout {for_s}s ; }}"
        ),
        "add rule ip f i ip daddr @shut drop".into(),
        format!(
            "add rule ip f i ip daddr {{ {addresses} }} tcp flags & (syn|ack) == syn \
             add @seen {{ ip daddr limit rate over {rate} burst 100 packets }} \
             add @shut {{ ip daddr }} drop"
        ),
    ];
    firewall(
        peer,
        INPUT.map(String::from).into_iter().chain(rules).collect(),
    )
}

/// The networks that scanners are compared on.
pub const NAMES: [&str; 7] = [
    "on-link /20",
    "on-link /21, half up",
    "state table",
    "ban",
    "listen queue",
    "limit on ssh",
    "far host",
];

/// What is to be scanned, and what is open there; it is gone when the process ends.
pub struct Lan {
    pub targets: &'static str,
    pub ports: &'static str,
    pub open: HashSet<SocketAddr>,
    /// What has to live meanwhile.
    _alive: Box<dyn std::any::Any>,
}

const SERVICES: &[u16] = &[21, 22, 80, 443, 8080];

/// The network of this name, if there is one. To be called in a namespace of its own.
///
/// # Errors
/// Where veth devices or nftables cannot be had.
pub fn network(name: &str) -> io::Result<Option<Lan>> {
    Ok(Some(match name {
        "on-link /20" => {
            let hosts = ["10.77.0.7", "10.77.5.200", "10.77.9.34", "10.77.15.250"];
            on_link(
                "10.77.0.0/20",
                20,
                &hosts.map(|host| host.parse().expect("it is one")),
            )?
        }
        "on-link /21, half up" => {
            let every_second = (2..2_047u16).step_by(2);
            let address = |n: u16| Ipv4Addr::new(10, 77, n.to_be_bytes()[0], n.to_be_bytes()[1]);
            on_link(
                "10.77.0.0/21",
                21,
                &every_second.map(address).collect::<Vec<_>>(),
            )?
        }
        "state table" => {
            let peer = lone_host()?;
            serve(&peer, SERVICES);
            table_on_the_way(&peer, 4_096, 30)?;
            lan(
                "10.78.0.9",
                "1-10000",
                &[Ipv4Addr::new(10, 78, 0, 9)],
                SERVICES,
                peer,
            )
        }
        "ban" => {
            let peer = lone_host()?;
            serve(&peer, &[22, 80, 443]);
            ban(&peer, "10.77.0.7", "20/second", 30)?;
            lan("10.77.0.7", "1-1000", &[HOST], &[22, 80, 443], peer)
        }
        "listen queue" => {
            let peer = lone_host()?;
            let waiting = serve_busily(&peer, SERVICES, 16);
            let silent = "add rule ip f i tcp dport != { 21, 22, 80, 443, 8080 } drop";
            firewall(&peer, [INPUT.as_slice(), &[silent]].concat())?;
            lan("10.77.0.7", "1-20000", &[HOST], SERVICES, (peer, waiting))
        }
        "limit on ssh" => {
            let peer = lone_host()?;
            serve(&peer, &[22]);
            let rules = [
                "add set ip f seen { type ipv4_addr ; flags dynamic ; }",
                "add rule ip f i tcp dport != 22 drop",
                "add rule ip f i tcp flags & (syn|ack) == syn \
                 add @seen { ip saddr limit rate over 12/minute burst 6 packets } drop",
            ];
            firewall(&peer, [INPUT.as_slice(), &rules].concat())?;
            lan("10.77.0.7", "1-1000", &[HOST], &[22], peer)
        }
        "far host" => far_host(),
        _ => return Ok(None),
    }))
}

const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 7);

fn lone_host() -> io::Result<Peer> {
    Peer::joined(&["10.77.0.1/24"], &["10.77.0.7/24"])
}

/// These ports are open on these hosts.
fn lan(
    targets: &'static str,
    ports: &'static str,
    hosts: &[Ipv4Addr],
    open: &[u16],
    alive: impl std::any::Any,
) -> Lan {
    let of = |&host: &Ipv4Addr| open.iter().map(move |&port| SocketAddr::from((host, port)));
    Lan {
        targets,
        ports,
        open: hosts.iter().flat_map(of).collect(),
        _alive: Box::new(alive),
    }
}

fn on_link(targets: &'static str, prefix: u8, hosts: &[Ipv4Addr]) -> io::Result<Lan> {
    let theirs: Vec<String> = hosts
        .iter()
        .map(|host| format!("{host}/{prefix}"))
        .collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let peer = Peer::joined(&[&format!("10.77.0.1/{prefix}")], &theirs)?;
    serve(&peer, &[22, 80]);
    Ok(lan(targets, "22,80", hosts, &[22, 80], peer))
}

/// Sixty hosts that answer at once, and one of the same /24 that takes 0.6 s.
fn far_host() -> Lan {
    let network = TunNetwork::with_delays(|to, port| {
        let IpAddr::V4(v4) = to else {
            return (Reply::Silence, Duration::ZERO);
        };
        let delay = Duration::from_millis(if v4.octets()[3] == 100 { 600 } else { 0 });
        let reply = match v4.octets()[3] {
            1..=60 | 100 if [22, 80, 443].contains(&port) => Reply::Accept,
            1..=60 | 100 => Reply::Refuse,
            _ => Reply::Silence,
        };
        (reply, delay)
    });
    let hosts: Vec<_> = (1..=60)
        .chain([100])
        .map(|n| Ipv4Addr::new(10, 9, 1, n))
        .collect();
    lan("10.9.1.0/24", "1-1000", &hosts, &[22, 80, 443], network)
}
