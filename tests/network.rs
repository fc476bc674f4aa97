//! The library against real sockets, in network namespaces of its own: answers of every kind, on
//! both families, and a machine that is short of things.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portreeve::engine::{Options, Scanner, raise_descriptor_limit, resolve};
use portreeve::plan::{Order, Plan, PortSet, Services, Target};
use portreeve::report::{Begin, Exit, Progress, Sink, Summary};
use portreeve::scan::{Finding, OwnError, Rate, Reason, Settings, State, Timeouts};
use simulator::namespace::{in_namespace, skip};
use simulator::tun::{OWN_V4, ROUTER_V4, ROUTER_V6, Reply, TunNetwork};
use support::command::{end_record, portreeve, signal};

fn plan(targets: &str, ports: &str, seed: u64) -> Plan {
    let targets = targets
        .split(' ')
        .map(|text| Target::parse(text).expect("a target"));
    let ports = PortSet::parse(ports, &Services::built_in()).expect("ports");
    Plan::builder()
        .targets(targets)
        .ports(ports)
        .order(Order::Random { seed })
        .build(&mut resolve)
        .expect("a plan")
}

fn scan(plan: Plan, options: Options) -> (Vec<Finding>, Summary) {
    let mut findings = Vec::new();
    let mut scanner = Scanner::new(plan, options).expect("a scanner");
    let summary = scanner
        .run(&mut |finding: &Finding| findings.push(finding.clone()))
        .expect("a scan");
    assert_eq!(
        summary.stats.planned,
        summary.stats.settled(),
        "it does not add up"
    );
    assert_eq!(
        summary.stats.planned,
        findings.len() as u64,
        "a finding is missing"
    );
    (findings, summary)
}

/// Scans twice, with kept sockets and with fresh ones, which must not make a difference.
fn scan_both_ways(plan: Plan, options: Options) -> (Vec<Finding>, Summary) {
    let answers = |findings: &[Finding]| -> BTreeMap<SocketAddr, (Reason, Option<IpAddr>)> {
        findings
            .iter()
            .map(|f| (f.endpoint, (f.reason, f.reason_ip)))
            .collect()
    };
    let (fresh, summary) = scan(
        plan.clone(),
        Options {
            fresh_sockets: true,
            ..options.clone()
        },
    );
    assert!(
        summary.sockets_opened >= summary.stats.attempts,
        "fresh sockets are not fresh"
    );
    let (kept, summary) = scan(plan, options);
    let difference = answers(&kept)
        .into_iter()
        .zip(answers(&fresh))
        .find(|(kept, fresh)| kept != fresh);
    assert_eq!(difference, None, "kept and fresh sockets disagree");
    (kept, summary)
}

fn quick(timeout_ms: u64, max_retries: u8) -> Options {
    let timeouts = Timeouts {
        fixed_us: Some(timeout_ms * 1_000),
        ..Timeouts::default()
    };
    Options {
        settings: Settings {
            timeouts,
            max_retries,
            ..Settings::default()
        },
        ..Options::default()
    }
}

fn ports_in(findings: &[Finding], state: State) -> BTreeSet<u16> {
    findings
        .iter()
        .filter(|finding| finding.state() == state)
        .map(|finding| finding.endpoint.port())
        .collect()
}

#[test]
fn fifty_listeners_among_all_ports_twenty_times_and_every_time_exactly_those() {
    in_namespace(
        "fifty_listeners_among_all_ports_twenty_times_and_every_time_exactly_those",
        || {
            raise_descriptor_limit().expect("a limit");
            // Half of them where the kernel takes its own source ports from, half below.
            let chosen = (0..50u16).map(|i| {
                if i % 2 == 0 {
                    33_000 + i * 500
                } else {
                    1 + i * 600
                }
            });
            let listeners: Vec<TcpListener> = chosen
                .map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a free port"))
                .collect();
            let open: BTreeSet<u16> = listeners
                .iter()
                .map(|listener| listener.local_addr().expect("an address").port())
                .collect();
            for seed in 0..20 {
                let (findings, summary) = scan(plan("127.0.0.1", "-", seed), Options::default());
                assert_eq!(ports_in(&findings, State::Open), open, "seed {seed}");
                assert_eq!(
                    summary.stats.in_state(State::Closed),
                    65_535 - 50,
                    "seed {seed}"
                );
                // The listeners accept nobody: their queues of 128 must not fill up and refuse us.
                for listener in &listeners {
                    listener.set_nonblocking(true).expect("an option");
                    while listener.accept().is_ok() {}
                }
            }
        },
    );
}

#[test]
fn a_socket_that_meets_itself_is_never_an_open_port() {
    in_namespace("a_socket_that_meets_itself_is_never_an_open_port", || {
        let set_range = |range: &str| {
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).expect("a range")
        };
        for address in ["127.0.0.1", "::1"] {
            // With one source port to choose from, its own port can only meet itself.
            set_range("40000 40000");
            let (findings, summary) = scan(plan(address, "40000", 0), Options::default());
            assert_eq!(
                (findings[0].reason, findings[0].attempts),
                (Reason::ConnRefused, 1),
                "{address}"
            );
            assert_eq!(summary.stats.self_connects, 1);
            let from_itself = Options {
                sources: vec![address.parse().expect("an address")],
                ..Options::default()
            };
            let (findings, _) = scan(plan(address, "40000", 0), from_itself);
            assert_eq!(
                findings[0].reason,
                Reason::ConnRefused,
                "{address} from itself"
            );
            // Nor is it one under the name of "this host".
            let unspecified = if address == "::1" { "::" } else { "0.0.0.0" };
            let (findings, _) = scan(plan(unspecified, "40000", 0), Options::default());
            assert_eq!(findings[0].reason, Reason::ConnRefused, "{unspecified}");
            // With ten, some do.
            set_range("40000 40009");
            let mut met = 0;
            for seed in 0..50 {
                let (findings, summary) =
                    scan(plan(address, "39990-40020", seed), Options::default());
                assert_eq!(
                    ports_in(&findings, State::Closed).len(),
                    31,
                    "{address}, seed {seed}"
                );
                met += summary.stats.self_connects;
            }
            assert!(met > 0, "nothing was provoked");
            // A real listener on a port of the range is open all the same.
            let _listener = TcpListener::bind((address, 40_004)).expect("a free port");
            let (findings, _) = scan(plan(address, "40000-40009", 1), Options::default());
            assert_eq!(ports_in(&findings, State::Open), [40_004].into());
        }
    });
}

#[test]
fn every_icmp_code_is_filtered_with_its_reason_and_its_sender() {
    in_namespace(
        "every_icmp_code_is_filtered_with_its_reason_and_its_sender",
        || {
            // Ports 1000 + code answer with ICMP 3 (or ICMPv6 1) of that code, 1111 and 1112 with
            // other types.
            let _network = TunNetwork::start(|to, port| match (port, to.is_ipv4()) {
                (2_000, _) => Reply::Refuse,
                (3_000, _) => Reply::Accept,
                (1_111, v4) => Reply::Icmp(if v4 { 11 } else { 3 }, 0),
                (1_112, v4) => Reply::Icmp(if v4 { 12 } else { 4 }, 0),
                (1_000..1_016, v4) => Reply::Icmp(if v4 { 3 } else { 1 }, (port - 1_000) as u8),
                _ => Reply::Silence,
            });
            let check =
                |address: &str, ports: &str, router: IpAddr, expect: &dyn Fn(u16) -> Reason| {
                    let (findings, _) = scan_both_ways(plan(address, ports, 5), quick(300, 0));
                    for finding in &findings {
                        let port = finding.endpoint.port();
                        assert_eq!(finding.reason, expect(port), "{address} port {port}");
                        let by = (port < 2_000).then_some(router);
                        assert_eq!(finding.reason_ip, by, "{address} port {port}");
                    }
                };
            check(
                "10.9.1.2",
                "1000-1003,1005-1015,1111,1112,2000,3000,4000",
                ROUTER_V4.into(),
                &|port| match port {
                    1_000 => Reason::NetUnreach,
                    1_001 => Reason::HostUnreach,
                    1_002 => Reason::ProtoUnreach,
                    1_003 => Reason::PortUnreach,
                    1_009 => Reason::NetProhibited,
                    1_010 => Reason::HostProhibited,
                    1_013 => Reason::AdminProhibited,
                    1_111 => Reason::TimeExceeded,
                    1_112 => Reason::ParamProblem,
                    2_000 => Reason::ConnRefused,
                    3_000 => Reason::SynAck,
                    4_000 => Reason::NoResponse,
                    _ => Reason::DestUnreach,
                },
            );
            check(
                "fd09::2",
                "1000-1006,1111,1112,2000,3000,4000",
                ROUTER_V6.into(),
                &|port| match port {
                    1_000 => Reason::NoRoute,
                    1_001 | 1_005 => Reason::AdminProhibited,
                    1_002 => Reason::BeyondScope,
                    1_003 => Reason::HostUnreach,
                    1_004 => Reason::PortUnreach,
                    1_006 => Reason::RejectRoute,
                    1_111 => Reason::TimeExceeded,
                    1_112 => Reason::ParamProblem,
                    2_000 => Reason::ConnRefused,
                    3_000 => Reason::SynAck,
                    4_000 => Reason::NoResponse,
                    port => panic!("port {port}"),
                },
            );
        },
    );
}

#[test]
fn a_thousand_rejects_in_a_row_invent_nothing() {
    in_namespace("a_thousand_rejects_in_a_row_invent_nothing", || {
        // The kernel wakes epoll before it sets the socket's error: whoever takes SO_ERROR 0 for
        // success finds open ports here.
        let _network = TunNetwork::start(|_, port| {
            if port % 2 == 0 {
                Reply::Icmp(3, 3)
            } else {
                Reply::Refuse
            }
        });
        for seed in 0..3 {
            let (findings, summary) =
                scan_both_ways(plan("10.9.1.2", "1-20000", seed), quick(2_000, 1));
            assert_eq!(ports_in(&findings, State::Open), BTreeSet::new());
            assert_eq!(
                (
                    summary.stats.with_reason(Reason::PortUnreach),
                    summary.stats.with_reason(Reason::ConnRefused)
                ),
                (10_000, 10_000)
            );
        }
    });
}

#[test]
fn silence_is_tried_again_and_both_families_fit_in_one_run() {
    in_namespace(
        "silence_is_tried_again_and_both_families_fit_in_one_run",
        || {
            let network = TunNetwork::start(|_, _| Reply::Silence);
            let (findings, summary) =
                scan_both_ways(plan("10.9.1.2 fd09::2 127.0.0.1", "1-20", 3), quick(50, 2));
            assert_eq!(summary.stats.with_reason(Reason::NoResponse), 40);
            assert_eq!(summary.stats.in_state(State::Closed), 20);
            // Beside a few that see what the rate does.
            let attempts = summary.stats.attempts - summary.stats.controls;
            assert_eq!(
                (attempts, summary.stats.retries),
                (100, 40),
                "two attempts where nothing is known of loss"
            );
            assert!(findings.iter().all(|finding| finding.attempts
                == if finding.state() == State::Closed {
                    1
                } else {
                    2
                }));
            assert_eq!(
                (network.syns(), network.repeated_syns()),
                (2 * 80, 0),
                "each attempt of less than a second is one packet"
            );
        },
    );
}

/// Resident memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn a_hundred_thousand_silent_endpoints_take_no_more_memory_than_the_first() {
    in_namespace(
        "a_hundred_thousand_silent_endpoints_take_no_more_memory_than_the_first",
        || {
            struct Memory {
                after_begin_kib: u64,
                peak_kib: u64,
            }
            impl Sink for Memory {
                fn progress(&mut self, progress: &Progress) -> std::io::Result<()> {
                    self.peak_kib = self.peak_kib.max(resident_kib());
                    if progress.stats.settled() < 20_000 {
                        self.after_begin_kib = self.peak_kib;
                    }
                    Ok(())
                }
            }
            let _network = TunNetwork::start(|_, _| Reply::Silence);
            let mut memory = Memory {
                after_begin_kib: 0,
                peak_kib: 0,
            };
            let options = Options {
                max_fds: Some(5_000),
                ..quick(100, 0)
            };
            let mut scanner =
                Scanner::new(plan("10.9.0.0/16", "7,8", 3), options).expect("a scanner");
            let summary = scanner.run(&mut memory).expect("a scan");
            // Two of the addresses are the namespace's own and the network's: they answer by
            // themselves.
            assert!(
                summary.stats.with_reason(Reason::NoResponse) > 131_000,
                "{:?}",
                summary.stats
            );
            assert_eq!(summary.stats.planned, summary.stats.settled());
            let growth_kib = memory.peak_kib - memory.after_begin_kib;
            assert!(
                growth_kib < 512,
                "{growth_kib} KiB more after the first 20,000"
            );
        },
    );
}

#[test]
fn descriptors_that_go_away_in_the_middle_cost_time_and_no_answer() {
    in_namespace(
        "descriptors_that_go_away_in_the_middle_cost_time_and_no_answer",
        || {
            /// Takes all but a few descriptors away at the first sight of the scan, and gives them
            /// back at a later one.
            struct Thief {
                limit: libc::rlimit,
                sights: u32,
            }
            fn set(limit: &libc::rlimit) {
                // SAFETY: setrlimit only reads the struct behind the reference.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }, 0);
            }
            impl Sink for Thief {
                fn progress(&mut self, _: &Progress) -> std::io::Result<()> {
                    self.sights += 1;
                    match self.sights {
                        2 => set(&libc::rlimit {
                            rlim_cur: 12,
                            ..self.limit
                        }),
                        6 => set(&self.limit),
                        _ => {}
                    }
                    Ok(())
                }
            }
            // An open port's socket is closed, so that even with kept sockets new descriptors are
            // needed all the time.
            let _network = TunNetwork::start(|_, port| {
                if port % 2 == 0 {
                    Reply::Accept
                } else {
                    Reply::Silence
                }
            });
            let limit = libc::rlimit {
                rlim_cur: 1_000,
                rlim_max: 1_000,
            };
            for fresh_sockets in [false, true] {
                set(&limit);
                let options = Options {
                    fresh_sockets,
                    ..quick(200, 0)
                };
                let mut scanner =
                    Scanner::new(plan("10.9.1.2", "1-4000", 3), options).expect("a scanner");
                let summary = scanner
                    .run(&mut Thief { limit, sights: 0 })
                    .expect("a scan");
                let stats = &summary.stats;
                assert!(
                    stats
                        .own_errors()
                        .any(|(error, count)| error == OwnError::ProcessDescriptors && count > 0),
                    "nothing was provoked"
                );
                assert!(
                    stats.lowest_cap < 900 && stats.cap > stats.lowest_cap,
                    "{stats:?}"
                );
                assert_eq!(
                    (
                        stats.in_state(State::Open),
                        stats.with_reason(Reason::NoResponse)
                    ),
                    (2_000, 2_000)
                );
                assert_eq!(summary.exit, Exit::Complete);
            }
        },
    );
}

#[test]
fn no_free_source_port_is_our_own_trouble() {
    in_namespace("no_free_source_port_is_our_own_trouble", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").expect("a range");
        // The only source port is held towards this very endpoint, so that no attempt can begin.
        let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        holder.set_nonblocking(true).expect("an option");
        let endpoint: std::net::SocketAddr = "10.9.1.2:80".parse().expect("an endpoint");
        let _ = holder.connect(&endpoint.into());
        let (findings, summary) = scan(plan("10.9.1.2", "80,81", 0), quick(100, 0));
        let reason_of = |port| {
            findings
                .iter()
                .find(|finding| finding.endpoint.port() == port)
                .map(|finding| finding.reason)
        };
        assert_eq!(
            (reason_of(80), reason_of(81)),
            (Some(Reason::NoSourcePort), Some(Reason::NoResponse))
        );
        assert_eq!(summary.exit, Exit::Incomplete);
    });
}

#[test]
fn what_has_no_route_is_unscanned() {
    in_namespace("what_has_no_route_is_unscanned", || {
        // Nothing but loopback exists here. Both addresses are of documentation networks.
        let (findings, summary) = scan(
            plan("192.0.2.1 2001:db8::1 fe80::1", "80", 0),
            Options::default(),
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.reason == Reason::NoLocalRoute),
            "{findings:?}"
        );
        assert_eq!(summary.exit, Exit::Incomplete);
    });
}

#[test]
fn hostile_listeners_are_open_all_the_same() {
    in_namespace("hostile_listeners_are_open_all_the_same", || {
        // One resets what it accepts, one sends and closes: the handshake was completed, so the
        // port is open.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let resets = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sends = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = std::io::Write::write_all(&mut stream, &[0x1b; 4_096]);
            }
        });
        for seed in 0..100 {
            let (findings, _) = scan_both_ways(
                plan("127.0.0.1", &format!("{resets},{sends},1-500"), seed),
                Options::default(),
            );
            assert_eq!(
                ports_in(&findings, State::Open),
                [resets, sends].into(),
                "seed {seed}"
            );
        }
    });
}

#[test]
fn a_source_address_is_used_and_a_false_one_refused() {
    in_namespace("a_source_address_is_used_and_a_false_one_refused", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let from = |source: &str| Options {
            sources: vec![source.parse().expect("an address")],
            ..Options::default()
        };
        let (findings, _) = scan(plan("127.0.0.1", &port.to_string(), 0), from("127.0.0.7"));
        assert_eq!(findings[0].state(), State::Open);
        assert_eq!(
            listener
                .accept()
                .expect("our connection")
                .1
                .ip()
                .to_string(),
            "127.0.0.7"
        );
        // Source ports are taken at connect(), not at bind(): ten are enough for a thousand
        // endpoints.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50009").expect("a range");
        let (findings, _) = scan(plan("127.0.0.1", "1-1000", 0), from("127.0.0.7"));
        assert_eq!(ports_in(&findings, State::Closed).len(), 1_000);
        let refused = |options: Options| {
            Scanner::new(plan("127.0.0.1 ::1", "1", 0), options)
                .expect_err("no such source")
                .to_string()
        };
        assert!(refused(from("192.0.2.1")).contains("192.0.2.1"));
        assert!(refused(from("127.0.0.7")).contains("IPv6"));
        assert!(
            refused(Options {
                device: Some("nosuch0".into()),
                ..Options::default()
            })
            .contains("nosuch0")
        );
    });
}

#[test]
fn open_ports_leave_no_time_wait_unless_asked_politely() {
    in_namespace(
        "open_ports_leave_no_time_wait_unless_asked_politely",
        || {
            let time_waits = || {
                let sockstat = std::fs::read_to_string("/proc/net/sockstat").expect("proc");
                let tcp = sockstat
                    .lines()
                    .find(|line| line.starts_with("TCP:"))
                    .expect("TCP")
                    .to_owned();
                tcp.split_whitespace()
                    .skip_while(|word| *word != "tw")
                    .nth(1)
                    .and_then(|n| n.parse::<u32>().ok())
                    .expect("a number")
            };
            for (polite_close, expect) in [(false, 0), (true, 10)] {
                let listeners: Vec<_> = (0..10)
                    .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
                    .collect();
                let ports: Vec<String> = listeners
                    .iter()
                    .map(|l| l.local_addr().expect("an address").port().to_string())
                    .collect();
                scan(
                    plan("127.0.0.1", &ports.join(","), 0),
                    Options {
                        polite_close,
                        ..Options::default()
                    },
                );
                listeners
                    .iter()
                    .for_each(|listener| drop(listener.accept()));
                assert_eq!(time_waits(), expect, "polite: {polite_close}");
            }
        },
    );
}

#[test]
fn two_scans_in_one_process_do_not_know_each_other() {
    in_namespace("two_scans_in_one_process_do_not_know_each_other", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut one = Scanner::new(
            plan("127.0.0.1", &format!("1-2000,{port}"), 1),
            Options::default(),
        )
        .expect("a scanner");
        let mut two =
            Scanner::new(plan("127.0.0.1", "1-3000", 2), Options::default()).expect("a scanner");
        let mut open = 0;
        let mut count = 0;
        loop {
            let first = one.next();
            let second = two.next();
            count += usize::from(first.is_some()) + usize::from(second.is_some());
            open += [&first, &second]
                .into_iter()
                .flatten()
                .filter(|f| f.as_ref().is_ok_and(|f| f.state() == State::Open))
                .count();
            if first.is_none() && second.is_none() {
                break;
            }
        }
        assert_eq!((open, count), (1, 5_001));
    });
}

#[test]
fn a_zone_of_one_attempt_does_not_stick_to_the_next() {
    in_namespace("a_zone_of_one_attempt_does_not_stick_to_the_next", || {
        let _network = TunNetwork::start(|_, port| {
            if port % 3 == 0 {
                Reply::Accept
            } else {
                Reply::Refuse
            }
        });
        let _listener = TcpListener::bind("[::1]:300").expect("a free port");
        let options = Options {
            max_fds: Some(20),
            ..quick(1_000, 0)
        };
        let (findings, _) = scan_both_ways(plan("fe80::2%town0 ::1 fd09::2", "1-300", 4), options);
        assert_eq!(
            [State::Open, State::Closed]
                .map(|state| findings.iter().filter(|f| f.state() == state).count()),
            [201, 699]
        );
    });
}

#[test]
fn a_missing_address_family_keeps_nobody_waiting() {
    in_namespace("a_missing_address_family_keeps_nobody_waiting", || {
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("IPv6 off");
        let (findings, summary) = scan(plan("127.0.0.1 ::1", "1-2000", 0), Options::default());
        assert_eq!(ports_in(&findings, State::Closed).len(), 2_000);
        assert_eq!(
            (
                summary.stats.with_reason(Reason::NoLocalRoute),
                summary.stats.own_errors().count()
            ),
            (2_000, 0)
        );
    });
}

#[test]
fn broadcast_addresses_in_a_block_are_nobodys_failure() {
    in_namespace("broadcast_addresses_in_a_block_are_nobodys_failure", || {
        let _network = TunNetwork::start(|_, _| Reply::Refuse);
        let (findings, summary) = scan(plan("10.9.255.252/30 224.0.0.1", "80", 0), quick(500, 1));
        let not_hosts = findings
            .iter()
            .filter(|finding| finding.reason == Reason::NotAHost)
            .count();
        assert_eq!(
            (
                not_hosts,
                summary.stats.in_state(State::Closed),
                summary.exit
            ),
            (2, 3, Exit::Complete),
            "{findings:?}"
        );
    });
}

#[test]
fn two_of_our_own_sockets_that_meet_are_no_open_ports() {
    in_namespace("two_of_our_own_sockets_that_meet_are_no_open_ports", || {
        // A port of this machine's own address is dropped by a "firewall" (the detour), while
        // others answer. An attempt at it waits; another attempt that happens to have that port as
        // its source meets the first: both are connected.
        TunNetwork::detour(41_000);
        let run = |command: &str| {
            let status = std::process::Command::new("sh")
                .args(["-c", command])
                .status()
                .expect("a shell");
            if !status.success() {
                skip(&format!("iproute2 is needed: {command}"));
            }
        };
        run(&format!(
            "ip route add default dev town0 src {OWN_V4} table 100 && ip rule add pref 10 lookup local"
        ));
        run("ip rule add pref 5 iif lo ipproto tcp dport 41000 lookup 100 && ip rule del pref 0");
        for device in ["all", "town0", "lo"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")
                .expect("a setting");
            std::fs::write(
                format!("/proc/sys/net/ipv4/conf/{device}/accept_local"),
                "1",
            )
            .expect("a setting");
        }
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40990 41009").expect("a range");
        let mut met = 0;
        for seed in 0..100 {
            for fresh_sockets in [false, true] {
                let options = Options {
                    fresh_sockets,
                    ..quick(40, 0)
                };
                let (findings, summary) =
                    scan(plan(&OWN_V4.to_string(), "40990-41009", seed), options);
                assert_eq!(
                    ports_in(&findings, State::Open),
                    BTreeSet::new(),
                    "seed {seed}, fresh: {fresh_sockets}"
                );
                met += summary.stats.self_connects;
            }
        }
        assert!(met > 0, "nothing was provoked");
    });
}

#[test]
fn a_slow_report_takes_no_attempts_time() {
    in_namespace("a_slow_report_takes_no_attempts_time", || {
        struct Slow(Vec<Finding>);
        impl Sink for Slow {
            fn begin(&mut self, _: &Begin) -> std::io::Result<()> {
                std::thread::sleep(Duration::from_millis(600));
                Ok(())
            }
            fn finding(&mut self, finding: &Finding) -> std::io::Result<()> {
                self.0.push(finding.clone());
                Ok(())
            }
        }
        let _network = TunNetwork::with_delays(|_, _| (Reply::Refuse, Duration::from_millis(100)));
        let mut slow = Slow(Vec::new());
        Scanner::new(plan("10.9.1.2", "1-100", 0), quick(500, 0))
            .expect("a scanner")
            .run(&mut slow)
            .expect("a scan");
        assert_eq!(ports_in(&slow.0, State::Closed).len(), 100);
    });
}

#[test]
fn events_of_kept_sockets_that_wait_are_harmless() {
    in_namespace("events_of_kept_sockets_that_wait_are_harmless", || {
        // At this rate each socket waits for its next attempt while the poll reports its last one's
        // end.
        let rate = std::num::NonZeroU32::new(2_000).map(|per_s| Rate {
            per_s,
            routed_only: false,
        });
        let options = Options {
            settings: Settings {
                rate,
                ..Settings::default()
            },
            ..Options::default()
        };
        let (findings, summary) = scan(plan("127.0.0.1", "1-500", 0), options);
        assert_eq!(ports_in(&findings, State::Closed).len(), 500);
        assert!(summary.stale_events > 0, "nothing was provoked");
        assert!(
            summary.sockets_opened < 50,
            "{} sockets for 500 attempts",
            summary.sockets_opened
        );
    });
}

#[test]
fn late_answers_are_not_taken_for_the_next_attempts() {
    in_namespace("late_answers_are_not_taken_for_the_next_attempts", || {
        // Answers come when their attempt is over and its socket has another one: which must not
        // get them.
        let late = Duration::from_millis(20);
        let _network = TunNetwork::with_delays(move |_, port| match port % 4 {
            0 => (Reply::Refuse, late),
            1 => (Reply::Icmp(3, 13), late),
            2 => (Reply::Accept, late),
            _ => (Reply::Silence, Duration::ZERO),
        });
        let options = Options {
            max_fds: Some(100),
            ..quick(10, 1)
        };
        let (findings, summary) = scan(plan("10.9.1.2", "1-4000", 8), options);
        for finding in &findings {
            let own = [
                Reason::ConnRefused,
                Reason::AdminProhibited,
                Reason::SynAck,
                Reason::NoResponse,
            ];
            let own = own[usize::from(finding.endpoint.port() % 4)];
            assert!(
                [own, Reason::NoResponse].contains(&finding.reason),
                "{finding:?}"
            );
        }
        assert!(
            summary.stats.with_reason(Reason::NoResponse) > 2_000,
            "the answers were not late: {:?}",
            summary.stats
        );
        // With time enough, each gets its own.
        let (findings, _) = scan_both_ways(plan("10.9.1.2", "1-400", 8), quick(2_000, 0));
        assert_eq!(
            [State::Closed, State::Filtered, State::Open]
                .map(|state| ports_in(&findings, state).len()),
            [100, 200, 100]
        );
    });
}

#[test]
fn a_network_that_gets_slower_than_the_timeout_has_not_gone_away() {
    in_namespace(
        "a_network_that_gets_slower_than_the_timeout_has_not_gone_away",
        || {
            let seen = std::cell::Cell::new(0);
            let _network = TunNetwork::with_delays(move |_, _| {
                seen.set(seen.get() + 1);
                (
                    Reply::Refuse,
                    Duration::from_millis(if seen.get() <= 150 { 1 } else { 40 }),
                )
            });
            let (findings, summary) = scan(
                plan("10.9.1.2", "1-300", 8),
                Options {
                    max_fds: Some(100),
                    ..quick(20, 1)
                },
            );
            assert_eq!(summary.exit, Exit::Complete);
            assert_eq!(
                (
                    summary.stats.outages,
                    ports_in(&findings, State::Open).len()
                ),
                (0, 0)
            );
            assert!(summary.stats.voided > 0, "nothing was provoked");
        },
    );
}

#[test]
fn what_listens_here_is_compared_with_what_was_found() {
    in_namespace("what_listens_here_is_compared_with_what_was_found", || {
        // One listener that is reached, one whose queue is full and drops what comes, and one that
        // is there only for the scan.
        let reached = TcpListener::bind("0.0.0.0:1").expect("a free port");
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let at: SocketAddr = ([127, 0, 0, 1], 2).into();
        full.bind(&at.into())
            .and_then(|()| full.listen(0))
            .expect("a free port");
        let _fills = std::net::TcpStream::connect(at).expect("the queue takes one");
        struct Passing(Option<TcpListener>, Option<Summary>);
        impl Sink for Passing {
            fn begin(&mut self, _: &Begin) -> std::io::Result<()> {
                self.0 = Some(TcpListener::bind("127.0.0.1:3")?);
                Ok(())
            }
            fn end(&mut self, summary: &Summary) -> std::io::Result<()> {
                self.1 = Some(summary.clone());
                Ok(())
            }
            fn finding(&mut self, finding: &Finding) -> std::io::Result<()> {
                if finding.endpoint.port() == 3 {
                    self.0 = None;
                }
                Ok(())
            }
        }
        let mut sink = Passing(None, None);
        let options = Options {
            verify_local: true,
            ..quick(200, 0)
        };
        let summary = Scanner::new(plan("127.0.0.1", "1-4", 0), options)
            .expect("a scanner")
            .run(&mut sink)
            .expect("a scan");
        assert_eq!(sink.1.expect("an end").local, summary.local);
        let local = summary.local.expect("it was asked for");
        let found: Vec<_> = local
            .ports
            .iter()
            .map(|port| (port.endpoint.port(), port.reason, port.listens))
            .collect();
        assert_eq!(
            found,
            [
                (1, Reason::SynAck, true),
                (2, Reason::NoResponse, true),
                (3, Reason::SynAck, false)
            ]
        );
        let me = format!("({})", std::process::id());
        assert!(
            local.ports[0]
                .owner
                .as_ref()
                .is_some_and(|owner| owner.ends_with(&me)),
            "{local:?}"
        );
        drop(reached);
    });
}

/// A laptop that sleeps: nobody takes an answer in, and the network is away as well.
#[test]
fn what_was_under_way_when_the_process_was_stopped_is_asked_again() {
    in_namespace(
        "what_was_under_way_when_the_process_was_stopped_is_asked_again",
        || {
            let sleeps = Arc::new(AtomicBool::new(false));
            let is_away = sleeps.clone();
            let network = TunNetwork::start(move |_, _| {
                if is_away.load(Ordering::SeqCst) {
                    Reply::Silence
                } else {
                    Reply::Refuse
                }
            });
            // One attempt each, so that nothing else mends what was lost, with more time than it
            // takes to stop it.
            let mut command = portreeve(
                "10.9.1.0/28 -p 1-1000 --json --max-rate 8000 --max-retries 0 --min-timeout 800ms",
            );
            let child = command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("it runs");
            let until = |is_so: &dyn Fn() -> bool| {
                let deadline = Instant::now() + Duration::from_secs(60);
                while !is_so() {
                    assert!(Instant::now() < deadline, "it never comes to that");
                    std::thread::yield_now();
                }
            };
            until(&|| network.syns() > 3_000);
            sleeps.store(true, Ordering::SeqCst);
            let lost = network.syns() + 100;
            until(&|| network.syns() > lost);
            signal(&child, libc::SIGSTOP);
            // The kernel's second SYNs come when the time of an attempt is long over.
            until(&|| network.repeated_syns() > 50);
            sleeps.store(false, Ordering::SeqCst);
            signal(&child, libc::SIGCONT);
            let output = child.wait_with_output().expect("it ends");
            let end = end_record(&String::from_utf8(output.stdout).expect("UTF-8"));
            assert!(
                end["closed"] == 16_000 && end["voided"].as_u64() >= Some(50),
                "{end}"
            );
        },
    );
}

/// A scan that has sent 3,000 SYNs into this network.
fn in_its_midst(network: &TunNetwork, arguments: &str) -> std::process::Child {
    let before = network.syns();
    let child = portreeve(arguments)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let deadline = Instant::now() + Duration::from_secs(60);
    while network.syns() < before + 3_000 {
        assert!(Instant::now() < deadline, "it never comes to that");
        std::thread::yield_now();
    }
    child
}

/// A cable that is pulled, a lease that ends: nothing of that is a word about a target.
#[test]
fn an_outage_of_this_machines_own_interface_loses_nothing() {
    in_namespace(
        "an_outage_of_this_machines_own_interface_loses_nothing",
        || {
            let network = TunNetwork::start(|_, port| {
                if port % 2 == 0 {
                    Reply::Refuse
                } else {
                    Reply::Silence
                }
            });
            let troubles = [
                ("link set town0 down", "link set town0 up"),
                (
                    "address del 10.9.255.253/16 dev town0",
                    "address add 10.9.255.253/16 dev town0",
                ),
            ];
            for (breaks, mends) in troubles {
                let child = in_its_midst(
                    &network,
                    "10.9.1.0/26 -p 1-200 --json --max-rate 8000 --show unscanned",
                );
                ip(breaks);
                // How long does not matter.
                std::thread::sleep(Duration::from_millis(1_000));
                ip(mends);
                let output = child.wait_with_output().expect("it ends");
                let text = String::from_utf8(output.stdout).expect("UTF-8");
                let end = end_record(&text);
                assert_eq!(
                    (&end["closed"], &end["filtered"], &end["exit"]),
                    (&6_400.into(), &6_400.into(), &"complete".into()),
                    "{breaks}: {end}"
                );
                // On a busy machine answers may stay away for a moment besides.
                assert!(end["outages"].as_u64() >= Some(1), "{breaks}: {end}");
            }
        },
    );
}

/// A VPN that reconnects under another name, and one that comes back under its own: the device that
/// was named is waited for, and nothing of that is a word about a target.
#[test]
fn a_device_that_is_renamed_is_waited_for() {
    in_namespace("a_device_that_is_renamed_is_waited_for", || {
        let network = TunNetwork::start(|_, _| Reply::Refuse);
        let rename = |from: &str, to: &str| {
            ip(&format!("link set {from} down"));
            ip(&format!("link set {from} name {to}"));
            ip(&format!("link set {to} up"));
        };
        for (patience, comes_back) in [("1s", false), ("60s", true)] {
            let child = in_its_midst(
                &network,
                &format!(
                    "10.9.1.0/26 -p 1-200 -e town0 --json --max-rate 8000 --patience {patience}"
                ),
            );
            rename("town0", "other0");
            if comes_back {
                // How long does not matter.
                std::thread::sleep(Duration::from_millis(1_000));
                rename("other0", "town0");
            }
            let output = child.wait_with_output().expect("it ends");
            let end = end_record(&String::from_utf8(output.stdout).expect("UTF-8"));
            let exit = if comes_back { "complete" } else { "incomplete" };
            assert_eq!(end["exit"], exit, "{end}");
            assert_eq!(
                (&end["filtered"], &end["unscanned"]),
                (
                    &0.into(),
                    end["reasons"].get("network-away").unwrap_or(&0.into())
                ),
                "{end}"
            );
            if !comes_back {
                rename("other0", "town0");
            }
        }
    });
}

fn ip(arguments: &str) {
    let done = std::process::Command::new("ip")
        .args(arguments.split_whitespace())
        .status();
    match done {
        Ok(status) => assert!(status.success(), "ip {arguments}"),
        Err(error) => skip(&format!("ip cannot be run: {error}")),
    }
}
