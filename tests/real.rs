//! Real kernels on both sides: two network namespaces joined by veth devices, with real listeners.
//! What simulations cannot show: neighbour tables, firewalls, queues of connections.

mod support;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use simulator::lan::{INPUT, ban, firewall, serve, serve_busily, table_on_the_way};
use simulator::namespace::{in_namespace, skip};
use simulator::peer::Peer;
use simulator::tun::{Reply, TunNetwork};
use support::command::{end_record, json_lines, portreeve, run};

/// A peer on our own link, or the test is skipped.
fn peer(own: &[&str], theirs: &[&str]) -> Peer {
    Peer::joined(own, theirs).unwrap_or_else(|error| skip(&format!("no second machine: {error}")))
}

/// What a scan told: the open endpoints, and its end record. It must have ended well.
fn scanned(arguments: &str) -> (BTreeSet<String>, Value) {
    let ran = run(portreeve(&format!("{arguments} --json -q")));
    assert_eq!(
        ran.code,
        Some(0),
        "{arguments}: {}{}",
        ran.stdout,
        ran.stderr
    );
    let open = json_lines(&ran.stdout)
        .iter()
        .filter(|record| record["state"] == "open")
        .map(|record| {
            format!(
                "{} {}",
                record["ip"].as_str().expect("text"),
                record["port"]
            )
        })
        .collect();
    (open, end_record(&ran.stdout))
}

fn endpoints(addresses: &[&str], ports: &[u16]) -> BTreeSet<String> {
    let of = |address: &&str| {
        ports
            .iter()
            .map(|port| format!("{address} {port}"))
            .collect::<Vec<_>>()
    };
    addresses.iter().flat_map(of).collect()
}

/// Twice as many addresses as the kernel's neighbour table holds, four of them in use.
#[test]
fn a_lan_larger_than_the_neighbour_table_is_scanned_whole() {
    in_namespace(
        "a_lan_larger_than_the_neighbour_table_is_scanned_whole",
        || {
            let hosts = ["10.77.0.7", "10.77.3.200", "10.77.5.34", "10.77.7.250"];
            let hosts6 = ["fd77::7", "fd77::200", "fd77::3ff", "fd77::7fe"];
            let with = |prefix: &str, hosts: &[&str]| -> Vec<String> {
                hosts
                    .iter()
                    .map(|host| format!("{host}/{prefix}"))
                    .collect()
            };
            let theirs = [with("21", &hosts), with("64", &hosts6)].concat();
            let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
            let peer = peer(&["10.77.0.1/21", "fd77::1/64"], &theirs);
            serve(&peer, &[22, 80]);
            for (target, hosts) in [("10.77.0.0/21", hosts), ("fd77::/117", hosts6)] {
                let (open, end) = scanned(&format!("{target} -p 22,80"));
                assert_eq!(open, endpoints(&hosts, &[22, 80]), "{end}");
                assert_eq!(end["filtered"], 0, "{end}");
                let absent = end["hosts_absent"].as_u64().expect("a count");
                assert!((2_041..=2_043).contains(&absent), "{end}");
            }
        },
    );
}

/// Where nmap has its list of makers.
const NMAPS_LIST: &str = "/usr/share/nmap/nmap-mac-prefixes";

/// Two hosts on our own link and one behind the first: every report that has a place for it tells
/// who answers on the link, joined reports too.
#[test]
fn hardware_addresses_of_neighbours_are_told() {
    in_namespace("hardware_addresses_of_neighbours_are_told", || {
        let theirs = ["10.77.0.7/24", "fd77::7/64", "10.78.0.1/32"];
        let peer = peer(&["10.77.0.1/24", "fd77::1/64"], &theirs);
        let mac = "52:54:00:AB:CD:EF";
        let made = peer.run(move || simulator::peer::ip(&format!("link set peer0 address {mac}")));
        made.expect("an address of one's own");
        simulator::peer::ip("route add 10.78.0.0/24 via 10.77.0.7").expect("a route");
        serve(&peer, &[22]);
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (json, base) = (file("scan.jsonl"), file("scan"));
        let targets = "10.77.0.7 fd77::7 10.78.0.1 10.77.0.1";
        let ran = run(portreeve(&format!(
            "{targets} -p 22,23 -oJ {json} -oA {base}"
        )));
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let read = |name: &str| std::fs::read_to_string(file(name)).expect("a report");
        let known = std::fs::read_to_string(NMAPS_LIST).unwrap_or_default();
        let entry = known.lines().find_map(|line| line.strip_prefix("525400 "));
        let vendor = entry.unwrap_or("Unknown");
        let told: Vec<_> = json_lines(&read("scan.jsonl"))
            .into_iter()
            .filter(|record| !record["mac_address"].is_null())
            .map(|record| (record["ip"].clone(), record["mac_address"].clone()))
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for ip in ["10.77.0.7", "fd77::7"] {
            assert!(told.contains(&(ip.into(), mac.into())), "{told:?}");
        }
        let joined = run(portreeve(&format!("merge {json} -oX -")));
        for (report, line) in [
            (&ran.stdout, format!("MAC address: {mac}")),
            (&read("scan.nmap"), format!("MAC Address: {mac} ({vendor})")),
            (
                &read("scan.xml"),
                format!("addr=\"{mac}\" addrtype=\"mac\""),
            ),
            (&joined.stdout, format!("addr=\"{mac}\" addrtype=\"mac\"")),
        ] {
            assert_eq!(report.matches(&line).count(), 2, "{line} in {report}");
        }
        let with_vendor = format!("vendor=\"{vendor}\"/>");
        let count = if entry.is_some() { 2 } else { 0 };
        assert_eq!(joined.stdout.matches(&with_vendor).count(), count);
    });
}

/// On a link of our own nobody has to answer on a port to be seen, and an entry of the table that
/// is old proves nothing. Behind a router the ports tell.
#[test]
fn who_is_there_is_told() {
    in_namespace("who_is_there_is_told", || {
        let theirs = [
            "10.77.0.7/24",
            "10.77.0.8/24",
            "10.78.0.1/32",
            "10.78.0.2/32",
        ];
        let peer = peer(&["10.77.0.1/24"], &theirs);
        let mac = "52:54:00:ab:cd:ef";
        let made = peer.run(move || simulator::peer::ip(&format!("link set peer0 address {mac}")));
        made.expect("an address of one's own");
        simulator::peer::ip("route add 10.78.0.0/24 via 10.77.0.7").expect("a route");
        let silent = "add rule ip f i ip daddr { 10.77.0.7, 10.77.0.8, 10.78.0.2 } \
                      tcp dport 1-65535 drop";
        or_skip(firewall(&peer, [INPUT.as_slice(), &[silent]].concat()));
        for (address, state) in [("10.77.0.7", "reachable"), ("10.77.0.9", "stale")] {
            simulator::peer::ip(&format!(
                "neigh replace {address} lladdr {mac} dev own0 nud {state}"
            ))
            .expect("an entry");
        }
        let folder = tempfile::tempdir().expect("a scratch folder");
        let base = folder.path().join("up").display().to_string();
        let targets = "10.77.0.0/28 10.78.0.1-3";
        let ran = run(portreeve(&format!(
            "-sn {targets} -oA {base} -oJ {base}.json"
        )));
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        let told: BTreeSet<&str> = ran
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("up "))
            .map(|line| line.split("  MAC ").next().expect("a part"))
            .collect();
        let expect = [
            "10.77.0.1  conn-refused",
            "10.77.0.7  arp-response",
            "10.77.0.8  arp-response",
            "10.78.0.1  conn-refused",
        ];
        assert_eq!(told, BTreeSet::from(expect), "{}", ran.stdout);
        assert!(
            ran.stdout.contains("\n4 of 19 addresses up\n"),
            "{}",
            ran.stdout
        );
        let read = |name: &str| std::fs::read_to_string(format!("{base}.{name}")).expect("it");
        for (name, part) in [
            (
                "xml",
                "<status state=\"up\" reason=\"arp-response\" reason_ttl=\"0\"/>",
            ),
            ("gnmap", "Host: 10.77.0.7 ()\tStatus: Up\n"),
            (
                "nmap",
                "Nmap scan report for 10.77.0.7\nHost is up.\nMAC Address: ",
            ),
            ("json", "\"up_by\":\"arp-response\""),
        ] {
            assert!(read(name).contains(part), "{part} is not in {}", read(name));
        }
        assert!(!read("xml").contains("<ports>"), "{}", read("xml"));
        let none = run(portreeve("--alive 10.78.0.2 --fail-if-none"));
        assert_eq!(none.code, Some(1), "{}", none.stdout);

        // One has left since.
        let leaves = || simulator::peer::ip("addr del 10.77.0.8/24 dev peer0");
        peer.run(leaves).expect("an address less");
        simulator::peer::ip("neigh del 10.77.0.8 dev own0").expect("an entry");
        run(portreeve(&format!("-sn {targets} -q -oJ {base}.later")));
        let changed = run(portreeve(&format!("diff {base}.json {base}.later")));
        assert_eq!(changed.code, Some(1), "{}", changed.stderr);
        let gone = "\n\ngone      10.77.0.8: open nothing\n\n1 host gone\n";
        assert!(changed.stdout.ends_with(gone), "{}", changed.stdout);
        let merged = run(portreeve(&format!("merge {base}.later")));
        let up = "\n3 of 19 addresses up\n";
        assert!(merged.stdout.contains(up), "{}", merged.stdout);
    });
}

/// Sixty hosts that answer at once, and in the same /24 two that take 0.6 s: one refuses what is
/// not open, the other drops it.
#[test]
fn a_host_farther_than_its_neighbours_is_found() {
    in_namespace("a_host_farther_than_its_neighbours_is_found", || {
        let _network = TunNetwork::with_delays(|to, port| {
            let IpAddr::V4(v4) = to else {
                return (Reply::Silence, Duration::ZERO);
            };
            let is_open = [22, 80, 443, 777].contains(&port);
            match v4.octets()[3] {
                1..=60 if is_open => (Reply::Accept, Duration::ZERO),
                1..=60 => (Reply::Refuse, Duration::ZERO),
                100 if is_open => (Reply::Accept, Duration::from_millis(600)),
                100 => (Reply::Refuse, Duration::from_millis(600)),
                200 if is_open => (Reply::Accept, Duration::from_millis(600)),
                _ => (Reply::Silence, Duration::ZERO),
            }
        });
        let near = (1..=60).map(|last| format!("10.9.1.{last}"));
        let hosts: Vec<String> = near
            .chain([100, 200].map(|last| format!("10.9.1.{last}")))
            .collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        for (arguments, ports) in [
            ("10.9.1.0/24 -p 22,80,443", &[22, 80, 443][..]),
            ("10.9.1.0/24 -p 1-1000", &[22, 80, 443, 777]),
            (
                "10.9.1.190-200 10.9.1.1-60 10.9.1.100 -Pn -p 1-1000",
                &[22, 80, 443, 777],
            ),
        ] {
            let (open, end) = scanned(arguments);
            assert_eq!(open, endpoints(&hosts, ports), "{arguments}: {end}");
        }
    });
}

/// What a test cannot do without, or it is skipped.
fn or_skip(made: io::Result<()>) {
    made.unwrap_or_else(|error| skip(&format!("no network to scan: {error}")));
}

/// Services that are busy just then, and all other ports silent: asking them again and again would
/// shut them for everybody, and make their silence look like the network's.
#[test]
fn busy_services_are_not_shut_by_asking_them() {
    in_namespace("busy_services_are_not_shut_by_asking_them", || {
        let peer = peer(&["10.77.0.1/24"], &["10.77.0.7/24"]);
        let many: &[u16] = &[21, 22, 80, 443, 8080];
        let many_waiting = serve_busily(&peer, many, 16);
        let lone_waiting = serve_busily(&peer, &[9000], 5);
        let served = "21, 22, 80, 443, 8080, 9000";
        let dropped = format!("add rule ip f i tcp dport != {{ {served} }} drop");
        or_skip(firewall(
            &peer,
            [INPUT.map(String::from).as_slice(), &[dropped]].concat(),
        ));
        let check = |ports: &str, open: &[u16], waiting: &dyn Fn() -> Vec<usize>| {
            let (found, end) = scanned(&format!("10.77.0.7 -p {ports}"));
            assert_eq!(found, endpoints(&["10.77.0.7"], open), "{end}");
            assert_eq!(end["unscanned"], 0, "{end}");
            let waiting = waiting();
            // Six fill the shorter queue.
            assert!(waiting.iter().all(|&count| count <= 5), "{waiting:?}");
        };
        check("1-5000,8080", many, &many_waiting);
        check("5001-6000,9000", &[9000], &lone_waiting);
    });
}

/// A firewall in front of a host that remembers so many connections and drops whatever is new
/// beyond them, and forgets those that nobody answers after 8 s: five services, and all other ports
/// silent.
fn behind_a_table(places: u32, ports: &str) -> Value {
    let peer = peer(&["10.77.0.1/24"], &["10.77.0.7/24"]);
    let open = &[21, 22, 80, 443, 8080];
    serve(&peer, open);
    or_skip(table_on_the_way(&peer, places, 8));
    let (found, end) = scanned(&format!("10.78.0.9 -p {ports}"));
    assert_eq!(found, endpoints(&["10.78.0.9"], open), "{end}");
    assert_eq!(end["unscanned"], 0, "{end}");
    end
}

#[test]
fn a_full_table_on_the_way_is_waited_for() {
    in_namespace("a_full_table_on_the_way_is_waited_for", || {
        let end = behind_a_table(1_000, "1-2000,8080");
        assert!(end["outages"].as_u64() > Some(0), "it was full: {end}");
    });
}

/// The table is full when the last port has been asked, and nothing is left that would notice, but
/// the question whether the host still answers.
#[test]
fn a_table_that_is_full_at_the_end_is_noticed() {
    in_namespace("a_table_that_is_full_at_the_end_is_noticed", || {
        behind_a_table(200, "1-400,443,8080");
    });
}

/// Three hosts, of which two shut out for 6 s whoever sends them more than 100 SYNs a second over a
/// burst of 100. They have five services each; the other ports of the first one are silent, those
/// of the others refuse. Scans these of them, and checks how many ports are silent.
fn hosts_that_ban(hosts: &[&str], silent: u32) {
    let open = &[21, 22, 80, 443, 8080];
    let theirs = ["10.77.0.7/24", "10.77.0.8/24", "10.77.0.9/24"];
    let peer = peer(&["10.77.0.1/24"], &theirs);
    serve(&peer, open);
    or_skip(ban(&peer, "10.77.0.7, 10.77.0.8", "100/second", 6));
    or_skip(firewall(
        &peer,
        vec!["add rule ip f i ip daddr 10.77.0.7 tcp dport != { 21, 22, 80, 443, 8080 } drop"],
    ));
    let (found, end) = scanned(&format!("{} -p 1-200,443,8080", hosts.join(" ")));
    assert_eq!(found, endpoints(hosts, open), "{end}");
    assert_eq!(
        (&end["unscanned"], &end["filtered"]),
        (&0.into(), &silent.into()),
        "{end}"
    );
}

/// A host that sends 200 resets a second and withholds the others: who asks only what is open does
/// not wait for them, and finds all of it.
#[test]
fn withheld_resets_are_not_waited_for() {
    in_namespace("withheld_resets_are_not_waited_for", || {
        let peer = peer(&["10.77.0.1/24"], &["10.77.0.7/24"]);
        let open = &[22, 80, 443, 8080, 15_000];
        serve(&peer, open);
        or_skip(firewall(
            &peer,
            vec![
                "add table ip o",
                "add chain ip o o { type filter hook output priority 0; }",
                "add rule ip o o tcp flags & rst == rst limit rate over 200/second burst 200 packets drop",
            ],
        ));
        let (found, end) = scanned("10.77.0.7 -p 1-20000 --open-only");
        assert_eq!(found, endpoints(&["10.77.0.7"], open), "{end}");
        assert_eq!(end["filtered"], 0, "{end}");
        assert!(end["not_open"].as_u64() > end["closed"].as_u64(), "{end}");
    });
}

#[test]
fn a_host_that_bans_is_asked_more_slowly() {
    in_namespace("a_host_that_bans_is_asked_more_slowly", || {
        hosts_that_ban(&["10.77.0.7"], 197);
    });
}

#[test]
fn hosts_that_ban_among_others_lose_nothing() {
    in_namespace("hosts_that_ban_among_others_lose_nothing", || {
        hosts_that_ban(&["10.77.0.7", "10.77.0.8", "10.77.0.9"], 197);
    });
}

/// This machine's own firewall rejects what we send: that is no answer of anybody's.
#[test]
fn our_own_firewall_is_not_the_targets() {
    in_namespace("our_own_firewall_is_not_the_targets", || {
        let peer = peer(&["10.77.0.1/24"], &["10.77.0.7/24"]);
        serve(&peer, &[22, 80]);
        for rule in [
            "add table ip f",
            "add chain ip f o { type filter hook output priority 0 ; }",
            "add rule ip f o tcp dport 80 reject",
            "add rule ip f o tcp dport 81 reject with icmp admin-prohibited",
        ] {
            let made = simulator::peer::run("nft", rule);
            made.unwrap_or_else(|error| skip(&format!("no firewall: {error}")));
        }
        let ran = run(portreeve("10.77.0.7 -p 22,80,81 --json -q"));
        assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
        let end = end_record(&ran.stdout);
        assert_eq!(
            (&end["open"], &end["filtered"]),
            (&1.into(), &0.into()),
            "{end}"
        );
        assert_eq!(end["reasons"]["local-firewall"], 2, "{end}");
    });
}

/// What the kernel has room for, beside what a scan would take of it: its table of neighbours, and
/// that of its connection tracking, which is in use once a rule needs it.
#[test]
fn what_this_machine_has_room_for_is_told() {
    in_namespace("what_this_machine_has_room_for_is_told", || {
        let peer = peer(&["10.77.0.1/20"], &["10.77.0.7/20"]);
        serve(&peer, &[22]);
        let said = |arguments: &str| {
            let ran = run(portreeve(arguments));
            assert_eq!(ran.code, Some(0), "{arguments}: {}", ran.stderr);
            ran.stdout
        };
        let explained = |more: &str| said(&format!("{more} --explain --dry-run"));
        let large = explained("10.77.0.0/20 -p 22");
        assert!(large.contains("\nNeighbours: 4,09"), "{large}");
        let elsewhere = explained("10.99.0.0/20 10.77.0.0/26 -p 22");
        assert!(!elsewhere.contains("\nNeighbours: "), "{elsewhere}");
        // The ceiling is for what passes a router: here only the own link is spared.
        let of_one_processor = "the most that one processor makes";
        assert!(large.contains(of_one_processor), "{large}");
        assert!(
            elsewhere.contains("(10,000 attempts a second)"),
            "{elsewhere}"
        );
        assert!(!large.contains("Connection tracking"), "{large}");
        for rule in [
            "add table ip f",
            "add chain ip f o { type filter hook output priority 0 ; }",
            "add rule ip f o ct state new accept",
        ] {
            let made = simulator::peer::run("nft", rule);
            made.unwrap_or_else(|error| skip(&format!("no firewall: {error}")));
        }
        let _tracked = std::net::TcpStream::connect("10.77.0.7:22").expect("it listens");
        let text = said("limits");
        let json: Value = serde_json::from_str(&said("limits --json")).expect("JSON");
        let rows = json["limits"].as_array().expect("a list");
        let values = |name: &str| {
            let row = rows.iter().find(|row| row["name"] == name);
            &row.expect("a row")["values"]
        };
        assert_eq!(values("tracked connections")["tracked"], 1, "{json}");
        assert!(
            values("neighbours")["ipv4_max"].as_u64() > Some(0),
            "{json}"
        );
        assert!(text.contains("\n  tracked connections    1 of "), "{text}");
        let all = "10.77.0.0/20 -p- -Pn";
        let warned = |text: &str| {
            text.contains("\nConnection tracking: this machine's firewall tracks 1 of ")
        };
        assert!(warned(&explained(all)), "{}", explained(all));
        assert!(!warned(&explained(&format!("{all} --max-unanswered 1000"))));
        assert!(!warned(&explained("10.77.0.7 -p 22")));
    });
}

/// Routes of this machine that lead nowhere: the kernel says so before anything is sent.
#[test]
fn our_own_routes_to_nowhere_are_not_the_targets() {
    in_namespace("our_own_routes_to_nowhere_are_not_the_targets", || {
        let peer = peer(&["10.77.0.1/24", "fd77::1/64"], &["10.77.0.7/24"]);
        serve(&peer, &[80]);
        for (route, reason) in [
            ("blackhole", "no-local-route"),
            ("unreachable", "no-local-route"),
            ("throw", "no-local-route"),
            ("prohibit", "local-firewall"),
        ] {
            for (family, network, address) in [
                ("-4", "10.78.0.0/24", "10.78.0.9"),
                ("-6", "fd78::/64", "fd78::9"),
            ] {
                simulator::peer::ip(&format!("{family} route add {route} {network}"))
                    .expect("a route");
                // Beside a host that answers.
                let ran = run(portreeve(&format!("10.77.0.7 {address} -p 80 --json -q")));
                let end = end_record(&ran.stdout);
                assert_eq!((ran.code, &end["open"]), (Some(3), &1.into()), "{end}");
                let reasons = serde_json::json!({ "syn-ack": 1, reason: 1 });
                assert_eq!(end["reasons"], reasons, "{route} {network}: {end}");
                simulator::peer::ip(&format!("{family} route del {network}"))
                    .expect("the route is there");
            }
        }
    });
}
