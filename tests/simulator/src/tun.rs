//! A network behind a TUN device, answered from user space: what a test says of an endpoint is what
//! a scan must find. Use it only inside a namespace of its own (`namespace.rs`): the device is
//! made where the process is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::namespace::{check, skip};
use crate::network::{Answer, SimNetwork};
use crate::scenario::{Icmp, Scenario};

/// What answers a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// Nothing.
    Silence,
    /// SYN-ACK.
    Accept,
    /// RST.
    Refuse,
    /// An ICMP (or ICMPv6) error of this type and code, from [`ROUTER_V4`] or [`ROUTER_V6`].
    Icmp(u8, u8),
}

/// The namespace's own addresses, which its kernel answers for: the rest of 10.9.0.0/16 and
/// fd09::/64 is the network.
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 255, 253);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
/// Who sends the ICMP errors.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 255, 254);
/// Who sends the ICMPv6 errors.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0xff, 0, 0, 1);

/// The network, answering until the process ends.
pub struct TunNetwork {
    counts: Arc<[AtomicU64; 2]>,
}

/// When a reply arrives, in microseconds since the network began, and what it is.
type Timed = (u64, Reply);

/// An ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443) error.
fn icmp(error: Icmp, v4: bool) -> Reply {
    let (kind, code) = match (error, v4) {
        (Icmp::HostUnreachable, true) => (3, 1),
        (Icmp::HostUnreachable, false) => (1, 3),
        (Icmp::AdminProhibited, true) => (3, 13),
        (Icmp::AdminProhibited, false) => (1, 1),
    };
    Reply::Icmp(kind, code)
}

impl TunNetwork {
    /// Sets the device up and answers each SYN at once, as `behaviour` says for its address and
    /// port.
    pub fn start(behaviour: impl Fn(IpAddr, u16) -> Reply + Send + 'static) -> Self {
        Self::with_delays(move |to, port| (behaviour(to, port), Duration::ZERO))
    }

    /// Sets the device up and answers each SYN as `behaviour` says, so much later.
    pub fn with_delays(
        behaviour: impl Fn(IpAddr, u16) -> (Reply, Duration) + Send + 'static,
    ) -> Self {
        Self::answering(move |syn, now_us| {
            let (reply, delay) = behaviour(syn.to.ip(), syn.to.port());
            Some((now_us + delay.as_micros() as u64, reply))
        })
    }

    /// Sets the device up with a simulated network behind it.
    pub fn simulated(mut network: SimNetwork) -> Self {
        let Scenario {
            rejected_with,
            nobody_with,
            ..
        } = network.scenario;
        Self::answering(move |&Syn { to, from_port, .. }, now_us| {
            let (at_us, answer) = network.syn(to, from_port.into(), now_us)?;
            let reply = match answer {
                Answer::SynAck => Reply::Accept,
                Answer::Rst => Reply::Refuse,
                Answer::Rejected => icmp(rejected_with, to.is_ipv4()),
                Answer::Nobody => icmp(nobody_with?, to.is_ipv4()),
            };
            Some((at_us, reply))
        })
    }

    fn answering(mut answer: impl FnMut(&Syn, u64) -> Option<Timed> + Send + 'static) -> Self {
        let device = open_device();
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let counted = counts.clone();
        std::thread::spawn(move || respond(&device, &counted, &mut answer));
        TunNetwork { counts }
    }

    /// Sets the device up as a detour: what is sent into it comes back as it was, except SYNs to
    /// the port that is dropped.
    pub fn detour(dropped: u16) {
        let mut device = open_device();
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while readable(&device, None)
                && let Ok(length) = device.read(&mut packet)
            {
                let packet = &packet[..length];
                if Syn::parse(packet).is_none_or(|syn| syn.to.port() != dropped) {
                    let _ = device.write(packet);
                }
            }
        });
    }

    /// Sets the device up and never answers nor even looks: the kernel drops what nobody reads.
    pub fn silent() {
        std::mem::forget(open_device());
    }

    /// SYNs seen, the kernel's own repetitions included.
    pub fn syns(&self) -> u64 {
        self.counts[0].load(Ordering::Relaxed)
    }

    /// Those of them that the kernel sent by itself, because the first was not answered within a
    /// second.
    pub fn repeated_syns(&self) -> u64 {
        self.counts[1].load(Ordering::Relaxed)
    }
}

/// SYNs that came lately, to know the kernel's repetitions: by the hash of what names a connection,
/// another part of that hash. It forgets where two hashes meet.
struct Lately(Vec<u32>);

impl Lately {
    fn saw(&mut self, syn: &Syn) -> bool {
        let mut hasher = DefaultHasher::new();
        (syn.to, syn.from_port, syn.sequence).hash(&mut hasher);
        let hash = hasher.finish();
        let at = hash as usize % self.0.len();
        std::mem::replace(&mut self.0[at], (hash >> 32) as u32) == (hash >> 32) as u32
    }
}

/// Packets taken from the device before answers that are due are given.
const BATCH: usize = 64;

fn respond(
    device: &File,
    counts: &[AtomicU64; 2],
    answer: &mut dyn FnMut(&Syn, u64) -> Option<Timed>,
) {
    let began = Instant::now();
    let now_us = || began.elapsed().as_micros() as u64;
    let mut lately = Lately(vec![0; 1 << 18]);
    let mut later: BinaryHeap<Reverse<(u64, u64, Syn, Reply)>> = BinaryHeap::new();
    let mut packet = [0; 2048];
    let mut out = Vec::with_capacity(128);
    let mut count = 0;
    loop {
        while let Some(Reverse((due_us, _, syn, reply))) = later.peek().copied()
            && due_us <= now_us()
        {
            later.pop();
            syn.answer(reply, &mut out);
            // A full queue loses a packet, as networks do.
            let _ = if out.is_empty() {
                Ok(0)
            } else {
                (&*device).write(&out)
            };
        }
        let next_us = later
            .peek()
            .map(|Reverse((due_us, ..))| due_us.saturating_sub(now_us()));
        if !readable(device, next_us) {
            continue;
        }
        for _ in 0..BATCH {
            let length = match (&*device).read(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            };
            let Some(syn) = Syn::parse(&packet[..length]) else {
                continue;
            };
            counts[0].fetch_add(1, Ordering::Relaxed);
            if lately.saw(&syn) {
                counts[1].fetch_add(1, Ordering::Relaxed);
            }
            if let Some((at_us, reply)) = answer(&syn, now_us()) {
                count += 1;
                later.push(Reverse((at_us, count, syn, reply)));
            }
        }
    }
}

/// Whether a packet has come, waiting for one as long as `timeout_us` or for ever.
fn readable(device: &File, timeout_us: Option<u64>) -> bool {
    let mut poll = libc::pollfd {
        fd: device.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = timeout_us.map(|us| libc::timespec {
        tv_sec: (us / 1_000_000) as i64,
        tv_nsec: (us % 1_000_000 * 1_000) as i64,
    });
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers are to one pollfd, as is said, and to a timespec that outlives the call
    // or to none.
    unsafe { libc::ppoll(&mut poll, 1, timeout, std::ptr::null()) > 0 }
}

/// Packets that wait in the device while the responder is not running.
const QUEUE: libc::c_int = 20_000;
/// netdevice(7).
const SIOCSIFTXQLEN: libc::c_ulong = 0x8943;

fn open_device() -> File {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun");
    let device =
        device.unwrap_or_else(|error| skip(&format!("/dev/net/tun cannot be opened: {error}")));
    let name = b"town0";
    // SAFETY: each ioctl gets a zeroed request of the type that it takes, filled as netdevice(7)
    // and ipv6(7) say.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        check(libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &request)).expect("TUNSETIFF");

        let v4 = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(v4).expect("a socket");
        for (what, address) in [
            (libc::SIOCSIFADDR, OWN_V4),
            (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 0, 0)),
        ] {
            let mut sockaddr: libc::sockaddr_in = std::mem::zeroed();
            sockaddr.sin_family = libc::AF_INET as libc::sa_family_t;
            sockaddr.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
            request.ifr_ifru.ifru_addr =
                std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(sockaddr);
            check(libc::ioctl(v4, what, &request)).expect("an IPv4 address");
            // Without NOARP the IPv6 addresses would be unusable for up to a second, while the
            // kernel looks for duplicates.
            request.ifr_ifru.ifru_flags =
                (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_NOARP) as libc::c_short;
            check(libc::ioctl(v4, libc::SIOCSIFFLAGS, &request)).expect("the device up");
        }
        request.ifr_ifru.ifru_metric = QUEUE;
        check(libc::ioctl(v4, SIOCSIFTXQLEN, &request)).expect("a longer queue");
        check(libc::ioctl(v4, libc::SIOCGIFINDEX, &mut request)).expect("the device's index");
        let index = request.ifr_ifru.ifru_ifindex;
        libc::close(v4);

        let v6 = libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if v6 >= 0 {
            let mut own: libc::in6_ifreq = std::mem::zeroed();
            own.ifr6_addr.s6_addr = OWN_V6.octets();
            own.ifr6_prefixlen = 64;
            own.ifr6_ifindex = index;
            check(libc::ioctl(v6, libc::SIOCSIFADDR, &own)).expect("an IPv6 address");
            libc::close(v6);
            wait_for_addresses();
        }
    }
    device
}

/// The kernel completes IPv6 addresses in a work queue of its own. Until then they are tentative,
/// and a SYN would leave with another source, ::1 for one, whose answer the kernel drops.
fn wait_for_addresses() {
    const TENTATIVE: u32 = 0x40;
    let is_ready = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(5) != Some(&"town0")
            || u32::from_str_radix(fields[4], 16).is_ok_and(|flags| flags & TENTATIVE == 0)
    };
    for _ in 0..1_000 {
        // No such file: no IPv6 here.
        if fs::read_to_string("/proc/net/if_inet6")
            .unwrap_or_default()
            .lines()
            .all(is_ready)
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the addresses of town0 stay tentative");
}

/// What a SYN says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Syn {
    from: IpAddr,
    from_port: u16,
    to: SocketAddr,
    sequence: u32,
}

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SYN: u8 = 0x02;

impl Syn {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (from, to, protocol, tcp): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 15) * 4;
                let address =
                    |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
                (
                    address(12)?.into(),
                    address(16)?.into(),
                    *packet.get(9)?,
                    packet.get(header..)?,
                )
            }
            6 => {
                let address =
                    |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
                (
                    address(8)?.into(),
                    address(24)?.into(),
                    *packet.get(6)?,
                    packet.get(40..)?,
                )
            }
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
        let sequence = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
        let only_syn = tcp.get(13)? & 0x17 == SYN;
        (protocol == TCP && only_syn).then_some(Syn {
            from,
            from_port: port(0)?,
            to: SocketAddr::new(to, port(2)?),
            sequence,
        })
    }

    /// The answer as a packet, into `out`.
    fn answer(&self, reply: Reply, out: &mut Vec<u8>) {
        out.clear();
        let from = (self.from, self.from_port);
        let to = (self.to.ip(), self.to.port());
        match reply {
            Reply::Silence => {}
            Reply::Accept => segment(
                to,
                from,
                [0x1234_5678, self.sequence.wrapping_add(1)],
                0x12,
                out,
            ),
            Reply::Refuse => segment(to, from, [0, self.sequence.wrapping_add(1)], 0x14, out),
            Reply::Icmp(kind, code) => {
                // An ICMP error quotes what it is about (RFC 792, RFC 4443).
                let mut quoted = Vec::with_capacity(64);
                segment(from, to, [self.sequence, 0], SYN, &mut quoted);
                let (router, protocol) = if self.from.is_ipv4() {
                    (ROUTER_V4.into(), ICMP)
                } else {
                    (ROUTER_V6.into(), ICMPV6)
                };
                packet(
                    router,
                    self.from,
                    protocol,
                    &[&[kind, code, 0, 0, 0, 0, 0, 0], &quoted[..]].concat(),
                    2,
                    out,
                );
            }
        }
    }
}

/// A TCP segment without data.
fn segment(
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    numbers: [u32; 2],
    flags: u8,
    out: &mut Vec<u8>,
) {
    let mut tcp = [0; 20];
    tcp[0..2].copy_from_slice(&from.1.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.1.to_be_bytes());
    tcp[4..8].copy_from_slice(&numbers[0].to_be_bytes());
    tcp[8..12].copy_from_slice(&numbers[1].to_be_bytes());
    tcp[12] = 5 << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&64_000u16.to_be_bytes());
    packet(from.0, to.0, TCP, &tcp, 16, out);
}

/// An IP packet around `payload`, whose checksum stands at `checksum_at`, into `out`.
fn packet(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &[u8],
    checksum_at: usize,
    out: &mut Vec<u8>,
) {
    let length = payload.len() as u16;
    let mut sum = 0;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
            out[2..4].copy_from_slice(&(20 + length).to_be_bytes());
            out.extend(from.octets());
            out.extend(to.octets());
            let header = folded(added(0, out));
            out[10..12].copy_from_slice(&header.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            out.extend([0x60, 0, 0, 0, 0, 0, protocol, 64]);
            out[4..6].copy_from_slice(&length.to_be_bytes());
            out.extend(from.octets());
            out.extend(to.octets());
        }
        _ => return,
    }
    // ICMP over IPv4 is the one without a pseudo header (RFC 792).
    if protocol != ICMP {
        let addresses = if from.is_ipv4() { 12 } else { 8 };
        sum = added(u32::from(length) + u32::from(protocol), &out[addresses..]);
    }
    let at = out.len();
    out.extend(payload);
    let sum = folded(added(sum, &out[at..]));
    out[at + checksum_at..at + checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of the Internet checksum (RFC 1071), of these bytes and others before.
fn added(sum: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(sum, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    })
}

fn folded(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
