//! The scan that every format's golden test is fed with, and the comparison with the golden files.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::by_host::ByHost;
use super::{
    Begin, Exit, Hardware, LocalCheck, LocalPort, MacAddress, Notices, OpenEverywhere, Origin,
    PhaseCost, Progress, Sink, Summary,
};
use crate::plan::{Order, Outline, Plan, PortSet, Services, Target};
use crate::scan::{
    Connect, Event, Finding, Histogram, Limits, Outcome, OwnError, Reason, Scan, Settings, State,
    Time,
};

/// Names of services as they may stand in a file that a stranger wrote.
pub fn services() -> Services {
    Services::with_system("<b>&\"'--> 4444/tcp\nwww/, 80/tcp\n\x1b[31m 22/tcp\n")
}

/// A command line that tries to break out of the report. What was not UTF-8 is already replaced.
pub fn arguments() -> Vec<String> {
    [
        "127.0.0.1",
        "odd \"\u{1b}[31m\n",
        "--><!--",
        "<&'>",
        "--",
        "\u{fffd}\u{fffe}",
    ]
    .map(String::from)
    .into()
}

/// A host name as it may stand in a report that a stranger wrote.
const HOSTILE: &str = "<i>\u{1b}[2J--> \"&',(x)/\r\n\u{202e}";

/// Compares with the file of that name in `golden/`; with PORTREEVE_BLESS set, writes it.
pub fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/report/golden")
        .join(name);
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        std::fs::write(&path, text).expect("a writable checkout");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file");
    assert_eq!(
        text, golden,
        "{name} differs: a report's form is a contract (docs/OUTPUT.md); PORTREEVE_BLESS=1 accepts it"
    );
}

/// The summary of the scan that [`play`] plays.
pub fn summary() -> Summary {
    struct Last(Option<Summary>);
    impl Sink for Last {
        fn end(&mut self, summary: &Summary) -> io::Result<()> {
            self.0 = Some(summary.clone());
            Ok(())
        }
    }
    let mut last = Last(None);
    play(&mut last);
    last.0.expect("an end")
}

/// The beginning of a scan of this plan.
pub fn begin(plan: &Outline) -> Begin<'_> {
    let limits = Limits {
        nofile: Some(256),
        already_open: 6,
        max_fds: None,
        available_bytes: Some(1 << 30),
        tcp_available_bytes: None,
    };
    let (cap, cap_set_by) = limits.cap();
    Begin {
        started_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        plan,
        settings: Settings::default(),
        limits,
        cap,
        cap_set_by,
        origin: Origin::Scan,
    }
}

/// Reports a whole scan to `sink`: every state, many reasons, and an interruption at 30 ms.
pub fn play(sink: &mut dyn Sink) {
    let plan = plan();
    let mut outline = plan.outline();
    outline.names = [
        ("192.0.2.9", HOSTILE),
        ("fe80::1", "odd.test"),
        ("fe80::1", "twin.test"),
    ]
    .map(|(ip, name)| (ip.parse().expect("an address"), name.into(), None))
    .into_iter()
    .collect();
    let begin = begin(&outline);
    let mut sink = ByHost::new(sink);
    sink.begin(&begin).expect("begin");
    let mut scan = Scan::new(plan, begin.settings, begin.cap);
    settle(&mut scan);
    tell(&mut scan, &mut sink);
    sink.progress(&Progress {
        stats: scan.stats(),
        elapsed: at(30),
        pace: scan.pace(),
    })
    .expect("progress");
    sink.end(&summary_of(&scan, &begin)).expect("end");
}

fn at(ms: u64) -> Time {
    Time::from_us(ms * 1_000)
}

fn plan() -> Plan {
    let targets =
        ["192.0.2.1", "odd.test", "192.0.2.9"].map(|text| Target::parse(text).expect("a target"));
    let ports: PortSet = [22, 80, 4_444, 65_535].into_iter().collect();
    Plan::builder()
        .targets(targets)
        .ports(ports)
        .order(Order::Sequential)
        .build(&mut |_| Ok(vec!["[fe80::1%7]:0".parse().expect("an address")]))
        .expect("a plan")
}

/// Ends every attempt: some with an answer at 20 ms, the others with the interruption.
fn settle(scan: &mut Scan) {
    let slots: Vec<Connect> = std::iter::from_fn(|| scan.poll_connect(at(0))).collect();
    for (connect, outcome) in slots.iter().zip(outcomes()) {
        scan.handle_outcome(connect.slot, outcome, at(20));
    }
    scan.handle_stop(Reason::Interrupted, at(30));
    while let Some(slot) = scan.poll_expired(at(30)) {
        scan.handle_outcome(slot, Outcome::Silence, at(30));
    }
}

fn outcomes() -> [Outcome; 11] {
    let connected = |rtt_us| Outcome::Connected {
        rtt_us,
        syn_sent_again: false,
    };
    let unreachable = |reason, by| Outcome::Unreachable { reason, by };
    [
        connected(Some(41)),
        Outcome::Refused,
        unreachable(Reason::AdminProhibited, "192.0.2.254".parse().ok()),
        Outcome::TransientLocal(OwnError::ProcessDescriptors),
        Outcome::Refused,
        Outcome::Refused,
        Outcome::Refused,
        Outcome::PermanentLocal(Reason::LocalFirewall),
        connected(None),
        unreachable(Reason::PortUnreach, None),
        connected(Some(1_234_567)),
    ]
}

fn tell(scan: &mut Scan, sink: &mut ByHost) {
    while let Some(event) = scan.poll_event(at(30)) {
        match event {
            Event::Finding(finding) => sink.finding(&Finding {
                banner: banner(&finding),
                ..finding
            }),
            Event::HostDone(done) => sink.host_done(&done, at(30), hardware),
        }
        .expect("told");
    }
}

/// What the open ports say: one sends a greeting, the others send as much harm as they can.
fn banner(finding: &Finding) -> Option<Box<[u8]>> {
    match finding.endpoint.port() {
        _ if finding.state() != State::Open => None,
        22 => Some(b"SSH-2.0-portreeve_test, \"1\"\r\n".as_slice().into()),
        _ => Some(b"\x1b]0;x\x07\0<b a='1'>&amp; --> \\x ]]>\xff\xc3\r\n1,2\xe2\x80\xae\xc2\x9b\xef\xbf\xbe".as_slice().into()),
    }
}

/// What answers for the hosts: one has a maker's name as a stranger may have written it, one has
/// none, and one is behind a router.
fn hardware(host: SocketAddr) -> Option<Hardware> {
    let vendor = match host.to_string().as_str() {
        "192.0.2.9:0" => Some(HOSTILE.into()),
        "192.0.2.1:0" => None,
        _ => return None,
    };
    let mac = MacAddress([0x52, 0x54, 0, 0x12, 0x34, 0xab]);
    Some(Hardware { mac, vendor })
}

fn summary_of(scan: &Scan, begin: &Begin) -> Summary {
    Summary {
        stats: scan.stats().clone(),
        elapsed: at(30),
        ended: at(30),
        exit: Exit::Interrupted,
        stopped: scan.stopped(),
        cap: begin.cap,
        cap_set_by: begin.cap_set_by,
        peak_sockets: 12,
        sockets_opened: 14,
        tcp_memory_growth_bytes: Some(40_960),
        turns: 3,
        events: 13,
        late: Histogram::default(),
        profile: Some([1, 2, 3, 4, 5].map(|n| PhaseCost {
            calls: n,
            ns: n * 12_345_678,
        })),
        stale_events: 2,
        local_error: Some("Exec format error (os error 8)".into()),
        notices: Notices {
            connections: 3,
            datagrams: 12,
            failed: 1,
            withheld: 2,
        },
        local: Some(local_check()),
        hosts_in_doubt: 1,
        open_everywhere: [25, 2_000]
            .map(|port| OpenEverywhere { port, addresses: 3 })
            .into(),
    }
}

fn local_check() -> LocalCheck {
    let ports = [
        (22, Reason::SynAck, true),
        (25, Reason::NoResponse, true),
        (4_444, Reason::SynAck, false),
    ];
    let port = |(port, reason, listens)| LocalPort {
        endpoint: ([192, 0, 2, 1], port).into(),
        reason,
        listens,
        owner: (port == 22).then(|| "<ss>\u{1b}[2J\" (711)".into()),
    };
    LocalCheck {
        ports: ports.map(port).into(),
        untold: 1,
    }
}
