//! The words for answers: outcomes of one attempt, verdicts on one endpoint, and why.
//! Types and their names only; it decides nothing and knows no errno.

use std::net::{IpAddr, SocketAddr};

use super::observation::Ending;
use super::time::Time;

/// What is known of an endpoint in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It accepts connections.
    Open,
    /// The host answers that nothing listens there.
    Closed,
    /// Nothing came back, or something in between said no.
    Filtered,
    /// Closed or filtered, and not asked which (`--open-only`).
    NotOpen,
    /// It was not probed to an end, for a reason on our own side.
    Unscanned,
}

impl State {
    /// All five, in the order in which reports name them.
    pub const ALL: [State; 5] = [
        State::Open,
        State::Closed,
        State::Filtered,
        State::NotOpen,
        State::Unscanned,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Closed => "closed",
            State::Filtered => "filtered",
            State::NotOpen => "closed|filtered",
            State::Unscanned => "unscanned",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $state:ident $text:literal,)*) => {
        /// Why an endpoint has its state. The reason decides the state, so that no pair of them can
        /// contradict itself. Names are nmap's where nmap has them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
        pub enum Reason { $($(#[$doc])* #[cfg_attr(feature = "cli", serde(rename = $text))] $name,)* }

        impl Reason {
            /// Every reason, in the order in which reports name them.
            pub const ALL: [Reason; [$($text),*].len()] = [$(Reason::$name),*];

            /// The state that follows from this reason.
            pub fn state(self) -> State {
                match self { $(Reason::$name => State::$state,)* }
            }

            /// The word used in every report.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }
        }
    };
}

impl Reason {
    /// Whether it says that nobody is there to be scanned.
    pub fn is_nobody(self) -> bool {
        use Reason::*;
        matches!(self, SilentHost | NoNeighbor | NotAHost | OwnListener)
    }

    /// Whether a scan that ends with it has left nothing out that was asked for.
    pub fn leaves_nothing_out(self) -> bool {
        self.is_nobody() || self == Reason::HostUp
    }

    /// Whether nothing came, however often it was tried.
    pub fn is_silence(self) -> bool {
        matches!(self, Reason::NoResponse | Reason::NoSynAck)
    }

    /// Whether it shows that a host is there. "No such host", in whatever words, shows the
    /// contrary.
    pub fn speaks_for_presence(self) -> bool {
        use Reason::*;
        !matches!(
            self,
            NoResponse | NoSynAck | HostUnreach | NetUnreach | NoRoute | TimeExceeded
        ) && (self.state() != State::Unscanned || self == HostUp)
    }
}

reasons! {
    /// The handshake was completed.
    SynAck = Open "syn-ack",
    /// A RST came from the endpoint.
    ConnRefused = Closed "conn-refused",
    /// Nothing came within the timeout, however often it was tried.
    NoResponse = Filtered "no-response",
    /// ICMP 3/0.
    NetUnreach = Filtered "net-unreach",
    /// ICMP 3/1, ICMPv6 1/3, or the last router's neighbour discovery failed.
    HostUnreach = Filtered "host-unreach",
    /// ICMP 3/2.
    ProtoUnreach = Filtered "proto-unreach",
    /// ICMP 3/3, ICMPv6 1/4: a firewall's reject, for a host without a listener sends a RST.
    PortUnreach = Filtered "port-unreach",
    /// ICMP 3/9.
    NetProhibited = Filtered "net-prohibited",
    /// ICMP 3/10.
    HostProhibited = Filtered "host-prohibited",
    /// ICMP 3/13, ICMPv6 1/1 and 1/5.
    AdminProhibited = Filtered "admin-prohibited",
    /// Any other "destination unreachable".
    DestUnreach = Filtered "dest-unreach",
    /// ICMP 11, ICMPv6 3: the packet ran out of hops.
    TimeExceeded = Filtered "time-exceeded",
    /// ICMP 12, ICMPv6 4.
    ParamProblem = Filtered "param-problem",
    /// ICMPv6 1/0: a router on the way has no route.
    NoRoute = Filtered "no-route",
    /// ICMPv6 1/2.
    BeyondScope = Filtered "beyond-scope",
    /// ICMPv6 1/6.
    RejectRoute = Filtered "reject-route",
    /// Nothing came, and resets were not waited for: they may have been withheld.
    NoSynAck = NotOpen "no-syn-ack",
    /// No descriptor was to be had (EMFILE, ENFILE), however long it was tried.
    OutOfDescriptors = Unscanned "out-of-descriptors",
    /// The kernel had no memory (ENOBUFS, ENOMEM, EAGAIN), however long it was tried.
    OutOfMemory = Unscanned "out-of-memory",
    /// No source port was free (EADDRNOTAVAIL, EADDRINUSE), however long it was tried.
    NoSourcePort = Unscanned "no-source-port",
    /// This machine's own firewall or security policy forbade the connection (EPERM, EACCES).
    LocalFirewall = Unscanned "local-firewall",
    /// This machine has no way to send there (ENETUNREACH, EHOSTUNREACH and their kin at once).
    NoLocalRoute = Unscanned "no-local-route",
    /// A broadcast or multicast address: nothing that TCP can connect to.
    NotAHost = Unscanned "not-a-host",
    /// The scan itself listens there, as a server of metrics, and so nobody else does.
    OwnListener = Unscanned "own-listener",
    /// The kernel refused for a reason that portreeve does not know; the report ends with the
    /// system's words.
    LocalError = Unscanned "local-error",
    /// Its host is there, and that was all that was to be found out (`--alive`).
    HostUp = Unscanned "host-up",
    /// Its host answered nothing on many other ports, so nobody seems to be there.
    SilentHost = Unscanned "silent-host",
    /// It is on this machine's own link, and nobody there answers for its address (ARP, NDP).
    NoNeighbor = Unscanned "no-neighbor",
    /// The network stopped answering, and did not come back for as long as was waited.
    NetworkAway = Unscanned "network-away",
    /// Its host stopped answering while others went on, and did not come back for as long as was
    /// waited.
    HostAway = Unscanned "host-away",
    /// The scan was stopped first.
    Interrupted = Unscanned "interrupted",
    /// Its part of the scan is missing among those that were joined, or did not come to its end.
    Untold = Unscanned "untold",
}

macro_rules! own_errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $reason:ident;)*) => {
        /// A failure on our own side that may pass: the probe goes back and is tried again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
        pub enum OwnError { $($(#[$doc])* #[cfg_attr(feature = "cli", serde(rename = $text))] $name,)* }

        impl OwnError {
            /// Every one, in the order in which reports name them.
            pub const ALL: [OwnError; [$($text),*].len()] = [$(OwnError::$name),*];

            /// The name in errno(3).
            pub fn as_str(self) -> &'static str {
                match self { $(OwnError::$name => $text,)* }
            }

            /// What an endpoint is called that could not be probed for it.
            pub fn reason(self) -> Reason {
                match self { $(OwnError::$name => Reason::$reason,)* }
            }
        }
    };
}

own_errors! {
    /// This process may open no more descriptors.
    ProcessDescriptors = "EMFILE", OutOfDescriptors;
    /// The system may open no more descriptors.
    SystemDescriptors = "ENFILE", OutOfDescriptors;
    /// The kernel has no buffer.
    Buffers = "ENOBUFS", OutOfMemory;
    /// The kernel has no memory, or epoll no watch left (ENOSPC).
    Memory = "ENOMEM", OutOfMemory;
    /// The kernel asks to try again.
    TryAgain = "EAGAIN", OutOfMemory;
    /// No free source port for this destination, or no source address.
    SourcePorts = "EADDRNOTAVAIL", NoSourcePort;
    /// The source port is taken.
    SourcePortTaken = "EADDRINUSE", NoSourcePort;
}

/// What the kernel said of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handshake was completed.
    Connected {
        /// The kernel's own measure of the handshake, in microseconds, where it has one.
        rtt_us: Option<u32>,
        /// Whether the kernel had to send its SYN again, where it tells.
        syn_sent_again: bool,
    },
    /// The socket met itself or another of ours (TCP's simultaneous open): no answer.
    SelfConnected,
    /// A RST came.
    Refused,
    /// Something said no on the way.
    Unreachable {
        /// A reason whose state is filtered.
        reason: Reason,
        /// Who sent the ICMP error, where that is known.
        by: Option<IpAddr>,
    },
    /// Nothing came in time.
    Silence,
    /// This machine found nobody on its link to send it to (ARP, NDP): the target itself, or the
    /// router to it.
    NoNeighbour,
    /// A failure on our own side that may pass.
    TransientLocal(OwnError),
    /// A failure on our own side that will not pass, with a reason whose state is unscanned.
    PermanentLocal(Reason),
}

impl Outcome {
    /// What it is for the rate controllers.
    pub(super) fn ending(self) -> Ending {
        match self {
            Outcome::Connected { .. } | Outcome::Refused => Ending::Answered,
            Outcome::Silence => Ending::Silent,
            _ => Ending::Discarded,
        }
    }

    /// Whether this machine itself gave the attempt up, because nobody on the link answers for the
    /// host: no word of the network's.
    pub(super) fn is_own_silence(self) -> bool {
        matches!(
            self,
            Outcome::Unreachable {
                reason: Reason::HostUnreach | Reason::NetUnreach,
                by: None
            }
        )
    }
}

/// An endpoint and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// Why it has its [state](Reason::state).
    pub reason: Reason,
    /// Who sent the ICMP error that decided, where one did and the system tells.
    pub reason_ip: Option<IpAddr>,
    /// From the last attempt's start to its answer, in microseconds; none where nothing answered.
    /// For open ports on Linux this is the kernel's own measure of the handshake; elsewhere it
    /// includes up to one turn of the loop.
    pub rtt_us: Option<u64>,
    /// Connection attempts that came to an end.
    pub attempts: u16,
    /// What the port said first, byte for byte, if it was [listened
    /// to](super::Settings::banner_wait_us) and said something. Whoever shows it has to see to it
    /// that it does no harm.
    pub banner: Option<Box<[u8]>>,
    /// When this was decided.
    pub at: Time,
}

impl Finding {
    /// The endpoint's state.
    pub fn state(&self) -> State {
        self.reason.state()
    }
}

/// What a scan has to tell, in the order in which it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An endpoint has its verdict.
    Finding(Finding),
    /// A host is done with.
    HostDone(HostDone),
}

/// A host of which nothing more will be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostDone {
    /// Its address, with its zone; the port is 0.
    pub address: SocketAddr,
    /// How many ports it was to be probed on.
    pub ports: u32,
    /// What became of those that no finding told of.
    pub rest: Reason,
}
