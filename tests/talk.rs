//! What is said on open connections, with real sockets on a loopback of their own: banners of ports
//! that behave in every way, and notices. Every server here ends by itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use portreeve::engine::{Options, Scanner};
use portreeve::plan::{Plan, PortSet, Target};
use portreeve::report::{BANNER_BYTES, Notices, Summary};
use portreeve::scan::{Finding, Reason, Settings, State};
use simulator::namespace::in_namespace;

/// A server that does this to the first that connects to it, on `port`.
fn serve<T: Send + 'static>(
    port: u16,
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> JoinHandle<T> {
    serve_on(listener(port), talk)
}

fn listener(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).expect("a free port")
}

fn serve_on<T: Send + 'static>(
    listener: TcpListener,
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::spawn(move || talk(listener.accept().expect("a connection").0))
}

fn scan(ports: &str, options: Options) -> (Vec<Finding>, Summary) {
    let ports = PortSet::parse(ports, &Default::default()).expect("ports");
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1").expect("a target"))
        .ports(ports);
    let plan = plan
        .build(&mut |_| unreachable!("no names"))
        .expect("a plan");
    let mut findings = Vec::new();
    let mut scanner = Scanner::new(plan, options).expect("a scanner");
    let summary = scanner
        .run(&mut |finding: &Finding| findings.push(finding.clone()))
        .expect("a scan");
    findings.sort_unstable_by_key(|finding| finding.endpoint);
    (findings, summary)
}

fn listening(wait_ms: u64) -> Options {
    Options {
        settings: Settings {
            banner_wait_us: Some(wait_ms * 1_000),
            ..Settings::default()
        },
        ..Options::default()
    }
}

/// Reads until the other end is gone.
fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut text = Vec::new();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("an option");
    match stream.read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => text,
    }
}

#[test]
fn what_ports_say_is_read_within_its_bounds() {
    in_namespace("what_ports_say_is_read_within_its_bounds", || {
        let greeting = serve(1, |mut stream| {
            stream
                .write_all(b"220 \x1b[31m\xff")
                .and_then(|()| stream.write_all(b" ready\r\n"))
                .expect("it is listened to");
            read_all(stream).len()
        });
        let mute = serve(2, |stream| read_all(stream).len());
        // A byte each 20 ms, for a minute: whoever waits for the end of it has waited too long.
        let tarpit = serve(3, |mut stream| {
            let mut trickle = || {
                stream
                    .write_all(b"x")
                    .map(|()| std::thread::park_timeout(Duration::from_millis(20)))
            };
            (0..3_000).take_while(|_| trickle().is_ok()).count()
        });
        let gigabyte = serve(4, |mut stream| {
            (0..1_024)
                .take_while(|_| stream.write_all(&[b'y'; 1 << 20]).is_ok())
                .count()
        });
        // A connection within this machine that is reset before it is looked at may have been one
        // of ours, and is tried again: it must not find the port closed.
        let open = listener(5);
        let reset = serve_on(open.try_clone().expect("a descriptor"), |mut stream| {
            stream.write_all(b"no").expect("it was asked");
            socket2::SockRef::from(&stream)
                .set_linger(Some(Duration::ZERO))
                .expect("an option");
        });
        let brief = serve(6, |mut stream| {
            stream.write_all(b"bye").expect("it is listened to")
        });

        let (findings, summary) = scan("1-7", listening(400));
        assert!(
            findings[..6]
                .iter()
                .all(|finding| finding.state() == State::Open),
            "{findings:?}"
        );
        assert_eq!(findings[6].reason, Reason::ConnRefused);
        let banner = |port: usize| findings[port - 1].banner.as_deref();
        assert_eq!(banner(1), Some(b"220 \x1b[31m\xff ready\r\n".as_slice()));
        assert_eq!(banner(2), None);
        assert!(
            banner(3).is_some_and(|text| text.len() < 100 && text.iter().all(|&byte| byte == b'x')),
            "{:?}",
            banner(3)
        );
        assert_eq!(banner(4), Some([b'y'; BANNER_BYTES].as_slice()));
        assert!(
            [None, Some(b"no".as_slice())].contains(&banner(5)),
            "{:?}",
            banner(5)
        );
        assert_eq!(banner(6), Some(b"bye".as_slice()));
        assert_eq!(summary.stats.settled(), 7);

        assert_eq!(
            [greeting, mute].map(|server| server.join().expect("it ended")),
            [0, 0],
            "nothing was to be sent"
        );
        assert!(
            tarpit.join().expect("it ended") < 3_000 && gigabyte.join().expect("it ended") < 1_024,
            "each costs its bound"
        );
        [reset, brief]
            .into_iter()
            .for_each(|server| server.join().expect("it ended"));
    });
}

#[test]
fn ports_that_are_listened_to_count_for_the_cap() {
    in_namespace("ports_that_are_listened_to_count_for_the_cap", || {
        let servers: Vec<_> = (1..=20)
            .map(|port| serve(port, |stream| read_all(stream).len()))
            .collect();
        let (findings, summary) = scan(
            "1-40",
            Options {
                max_fds: Some(3),
                ..listening(50)
            },
        );
        assert_eq!(
            findings
                .iter()
                .filter(|finding| finding.state() == State::Open)
                .count(),
            20
        );
        assert!(
            summary.peak_sockets <= 3 && summary.stats.peak_in_flight <= 3,
            "{summary:?}"
        );
        servers
            .into_iter()
            .for_each(|server| assert_eq!(server.join().expect("it ended"), 0));
    });
}

#[test]
fn each_connection_and_each_port_is_told_who_scans() {
    in_namespace("each_connection_and_each_port_is_told_who_scans", || {
        let notice = b"scan by example.org\r\n".as_slice();
        for banner_wait_us in [None, Some(50_000)] {
            let open = serve(1, read_all);
            let sockets =
                [1, 2].map(|port| UdpSocket::bind(("127.0.0.1", port)).expect("a free port"));
            let settings = Settings {
                sends_datagrams: true,
                banner_wait_us,
                ..Settings::default()
            };
            let (findings, summary) = scan(
                "1-3",
                Options {
                    notice: Some(notice.into()),
                    settings,
                    ..Options::default()
                },
            );
            assert_eq!(
                findings
                    .iter()
                    .filter(|finding| finding.state() == State::Open)
                    .count(),
                1
            );
            assert_eq!(
                open.join().expect("it ended"),
                notice,
                "it is not lost when the connection closes"
            );
            let notices = summary.notices;
            assert_eq!(
                (notices.connections, notices.datagrams, notices.failed),
                (1, 3, 0)
            );
            for socket in sockets {
                let mut text = [0; 100];
                socket.set_nonblocking(true).expect("an option");
                assert_eq!(
                    socket
                        .recv(&mut text)
                        .map(|length| &text[..length])
                        .expect("a datagram"),
                    notice
                );
                assert_eq!(
                    socket.recv(&mut text).expect_err("one only").kind(),
                    ErrorKind::WouldBlock
                );
            }
        }
        // Paper comes out of printers, unless that was meant.
        for (ports, notice_printers, is_told) in [
            ("515,9100,9107", false, false),
            ("515,9100,9107", true, true),
            ("514,9099,9108", false, true),
        ] {
            let servers: Vec<_> = ports
                .split(',')
                .map(|port| serve(port.parse().expect("a port"), read_all))
                .collect();
            let settings = Settings {
                sends_datagrams: true,
                ..Settings::default()
            };
            let options = Options {
                notice: Some(notice.into()),
                notice_printers,
                settings,
                ..Options::default()
            };
            let notices = scan(ports, options).1.notices;
            let sent = if is_told { 3 } else { 0 };
            let expected = Notices {
                connections: sent,
                datagrams: sent,
                failed: 0,
                withheld: 6 - 2 * sent,
            };
            assert_eq!(notices, expected, "{ports}");
            for server in servers {
                let heard = server.join().expect("it ended");
                assert_eq!(heard == notice, is_told, "{ports}");
                assert_eq!(heard.is_empty(), !is_told, "{ports}");
            }
        }
        // No more than fits, whatever is asked for.
        let open = serve(1, read_all);
        scan(
            "1",
            Options {
                notice: Some([b'z'; 2_000].into()),
                ..Options::default()
            },
        );
        assert_eq!(
            open.join().expect("it ended"),
            [b'z'; portreeve::engine::NOTICE_BYTES]
        );
    });
}
