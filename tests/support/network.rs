//! A network behind a TUN device, answered from user space: what a test says of an endpoint is what a scan must find.
//! Only for use inside a namespace of one's own (`namespace.rs`): the device is made where the process is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::namespace::{check, skip};

/// What answers a SYN.
#[derive(Clone, Copy, Debug)]
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

/// The namespace's own addresses: everything else in 10.9.0.0/16 and fd09::/64 is the network.
const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
/// Who sends the ICMP errors.
pub const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 255, 254);
/// Who sends the ICMPv6 errors.
pub const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0xff, 0, 0, 1);

/// The network, answering until the process ends.
pub struct Network {
    syns: Arc<AtomicU64>,
}

impl Network {
    /// Sets the device up and answers each SYN at once, as `behaviour` says for its address and port.
    pub fn start(behaviour: impl Fn(IpAddr, u16) -> Reply + Send + 'static) -> Self {
        Self::with_delays(move |to, port| (behaviour(to, port), Duration::ZERO))
    }

    /// Sets the device up and answers each SYN as `behaviour` says, so much later.
    pub fn with_delays(behaviour: impl Fn(IpAddr, u16) -> (Reply, Duration) + Send + 'static) -> Self {
        let mut device = open_device();
        let syns = Arc::new(AtomicU64::new(0));
        let count = syns.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            let mut later: BinaryHeap<Reverse<(Instant, Vec<u8>)>> = BinaryHeap::new();
            loop {
                let now = Instant::now();
                while let Some(Reverse((due, _))) = later.peek()
                    && *due <= now
                    && let Some(Reverse((_, answer))) = later.pop()
                {
                    // A full queue loses a packet, as networks do.
                    let _ = device.write(&answer);
                }
                let next = later.peek().map(|Reverse((due, _))| due.saturating_duration_since(now));
                if !readable(&device, next) {
                    continue;
                }
                let Ok(length) = device.read(&mut packet) else { return };
                let Some(syn) = Syn::parse(&packet[..length]) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let (reply, delay) = behaviour(syn.to, syn.to_port);
                if let Some(answer) = syn.answer(reply) {
                    later.push(Reverse((Instant::now() + delay, answer)));
                }
            }
        });
        Network { syns }
    }

    /// Sets the device up as a detour: what is sent into it comes back as it was, except SYNs to the port that is dropped.
    pub fn detour(dropped: u16) {
        let mut device = open_device();
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok(length) = device.read(&mut packet) {
                let packet = &packet[..length];
                if Syn::parse(packet).is_none_or(|syn| syn.to_port != dropped) {
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
        self.syns.load(Ordering::Relaxed)
    }
}

/// Whether a packet has come, waiting for one as long as `timeout` or for ever.
fn readable(device: &File, timeout: Option<Duration>) -> bool {
    let mut poll = libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_micros().div_ceil(1_000) as i32);
    // SAFETY: the pointer is to one pollfd, as is said.
    unsafe { libc::poll(&mut poll, 1, timeout_ms) > 0 }
}

fn open_device() -> File {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let device = device.unwrap_or_else(|error| skip(&format!("/dev/net/tun cannot be opened: {error}")));
    let name = b"town0";
    // SAFETY: each ioctl gets a zeroed request of the type that it takes, filled as netdevice(7) and ipv6(7) say.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        check(libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &request)).expect("TUNSETIFF");

        let v4 = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(v4).expect("a socket");
        for (what, address) in [(libc::SIOCSIFADDR, OWN_V4), (libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 0, 0))] {
            let mut sockaddr: libc::sockaddr_in = std::mem::zeroed();
            sockaddr.sin_family = libc::AF_INET as libc::sa_family_t;
            sockaddr.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
            request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(sockaddr);
            check(libc::ioctl(v4, what, &request)).expect("an IPv4 address");
            // Without NOARP the IPv6 addresses would be unusable for up to a second, while the kernel looks for duplicates.
            request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_NOARP) as libc::c_short;
            check(libc::ioctl(v4, libc::SIOCSIFFLAGS, &request)).expect("the device up");
        }
        check(libc::ioctl(v4, libc::SIOCGIFINDEX, &mut request)).expect("the device's index");
        let index = request.ifr_ifru.ifru_ifindex;
        libc::close(v4);

        let v6 = libc::socket(libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if v6 >= 0 {
            let mut own: libc::in6_ifreq = std::mem::zeroed();
            own.ifr6_addr.s6_addr = OWN_V6.octets();
            (own.ifr6_prefixlen, own.ifr6_ifindex) = (64, index);
            check(libc::ioctl(v6, libc::SIOCSIFADDR, &own)).expect("an IPv6 address");
            libc::close(v6);
            wait_for_addresses();
        }
    }
    device
}

/// The kernel completes IPv6 addresses in a work queue of its own. Until then they are tentative, and a SYN would leave with
/// another source, ::1 for one, whose answer the kernel drops.
fn wait_for_addresses() {
    const TENTATIVE: u32 = 0x40;
    let is_ready = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(5) != Some(&"town0") || u32::from_str_radix(fields[4], 16).is_ok_and(|flags| flags & TENTATIVE == 0)
    };
    for _ in 0..1_000 {
        // No such file: no IPv6 here.
        if fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().lines().all(is_ready) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the addresses of town0 stay tentative");
}

/// A SYN as it came, with the packet for the ICMP errors that quote it.
struct Syn<'a> {
    packet: &'a [u8],
    tcp: &'a [u8],
    from: IpAddr,
    to: IpAddr,
    to_port: u16,
}

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

impl<'a> Syn<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let (from, to, protocol, tcp): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 15) * 4;
                let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
                (address(12)?.into(), address(16)?.into(), *packet.get(9)?, packet.get(header..)?)
            }
            6 => {
                let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
                (address(8)?.into(), address(24)?.into(), *packet.get(6)?, packet.get(40..)?)
            }
            _ => return None,
        };
        let only_syn = tcp.get(13)? & 0x17 == 0x02;
        let to_port = u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]);
        (protocol == TCP && only_syn).then_some(Syn { packet, tcp, from, to, to_port })
    }

    fn answer(&self, reply: Reply) -> Option<Vec<u8>> {
        match reply {
            Reply::Silence => None,
            Reply::Accept => Some(self.tcp_answer(0x12)),
            Reply::Refuse => Some(self.tcp_answer(0x14)),
            Reply::Icmp(kind, code) => Some(self.icmp_answer(kind, code)),
        }
    }

    fn tcp_answer(&self, flags: u8) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[0..2].copy_from_slice(&self.tcp[2..4]);
        tcp[2..4].copy_from_slice(&self.tcp[0..2]);
        tcp[4..8].copy_from_slice(&0x1234_5678u32.to_be_bytes());
        let sequence = u32::from_be_bytes([self.tcp[4], self.tcp[5], self.tcp[6], self.tcp[7]]);
        tcp[8..12].copy_from_slice(&sequence.wrapping_add(1).to_be_bytes());
        (tcp[12], tcp[13]) = (5 << 4, flags);
        tcp[14..16].copy_from_slice(&64_000u16.to_be_bytes());
        packet(self.to, self.from, TCP, tcp, 16)
    }

    fn icmp_answer(&self, kind: u8, code: u8) -> Vec<u8> {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(self.packet);
        let (router, protocol) = if self.to.is_ipv4() { (ROUTER_V4.into(), ICMP) } else { (ROUTER_V6.into(), ICMPV6) };
        packet(router, self.from, protocol, icmp, 2)
    }
}

/// An IP packet around `payload`, whose checksum stands at `checksum_at`.
fn packet(from: IpAddr, to: IpAddr, protocol: u8, mut payload: Vec<u8>, checksum_at: usize) -> Vec<u8> {
    let length = payload.len() as u16;
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let addresses = [octets(from), octets(to)].concat();
    let pseudo_header = [&addresses[..], &u32::from(length).to_be_bytes(), &u32::from(protocol).to_be_bytes()].concat();
    // ICMP over IPv4 is the one without a pseudo header (RFC 792).
    let covered = if protocol == ICMP { payload.clone() } else { [&pseudo_header[..], &payload].concat() };
    payload[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&covered).to_be_bytes());
    let mut header = match from {
        IpAddr::V4(_) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header[2..4].copy_from_slice(&(20 + length).to_be_bytes());
            header.extend(&addresses);
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        IpAddr::V6(_) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header.extend(&addresses);
            header
        }
    };
    header.extend(payload);
    header
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
