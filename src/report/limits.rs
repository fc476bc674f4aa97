//! The limits of this machine, one by one, and what to type to change them: text and JSON from one
//! list of rows. It gets numbers and reads nothing.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{NeighbourTable, Tracking, grouped};
use crate::scan::{ASSUMED_NOFILE, Limits, MEMORY_SHARE, RESERVE, SOCKET_BYTES, SetBy};

/// The limits of a machine at one moment. `None` where the system does not report one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The limits that set the cap on sockets.
    pub limits: Limits,
    /// RLIMIT_NOFILE as this process found it, soft and hard; `u64::MAX` is no limit.
    pub nofile: Option<(u64, u64)>,
    /// The open files of all processes, and the most there may be.
    pub files: Option<(u64, u64)>,
    /// The first and the last port that the kernel uses for outgoing connections.
    pub source_ports: Option<(u16, u16)>,
    /// TCP's memory marks in bytes: where the kernel begins to look, where it feels pressure, and
    /// where it refuses.
    pub tcp_mem_bytes: Option<[u64; 3]>,
    /// The memory that TCP uses now, in bytes.
    pub tcp_used_bytes: Option<u64>,
    /// The kernel's tables of neighbours, IPv4's and IPv6's.
    pub neighbours: [Option<NeighbourTable>; 2],
    /// What this machine's own firewall tracks.
    pub tracking: Option<Tracking>,
    /// The most descriptors that one user may register in epoll.
    pub epoll_watches: Option<u64>,
}

/// One limit.
#[derive(Debug)]
struct Row {
    name: &'static str,
    /// Numbers by name; `null` where the system does not report one, or where there is no limit.
    values: Vec<(&'static str, Option<u64>)>,
    /// How many of a scan's sockets this limit allows, if the cap depends on it.
    sockets: Option<u64>,
    /// The same in words.
    words: Option<String>,
    change: &'static str,
}

/// Where the second column begins; the first is as wide, without the mark.
const WIDTH: usize = 25;
const COLUMN: usize = WIDTH - 2;
const NOT_TOLD: &str = "not told by this system";

/// From here on a number means no limit (systemd sets fs.file-max to 2^63 - 1). No JSON reader
/// keeps such numbers exactly.
const NO_LIMIT: u64 = 1 << 53;

fn limited(number: u64) -> Option<u64> {
    (number < NO_LIMIT).then_some(number)
}

fn or_unlimited(number: u64) -> String {
    limited(number).map_or("unlimited".into(), grouped)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes >> 20))
}

impl Machine {
    fn rows(&self) -> Vec<Row> {
        let Machine { limits, nofile, .. } = *self;
        let reserve: u64 = RESERVE.iter().map(|(_, count)| count).sum();
        let both = |pair: Option<(u64, u64)>, names: [&'static str; 2]| {
            vec![
                (names[0], pair.map(|(used, _)| used)),
                (names[1], pair.and_then(|(_, most)| limited(most))),
            ]
        };
        let of = |pair: Option<(u64, u64)>| {
            pair.map(|(used, most)| format!("{} of {}", grouped(used), or_unlimited(most)))
        };
        let (soft, hard) = nofile.unzip();
        let raised = match soft.filter(|&soft| Some(soft) < limits.nofile) {
            Some(soft) => format!(", raised from {}", grouped(soft)),
            None => String::new(),
        };
        let allowed = match limits.nofile.zip(hard) {
            Some((limit, hard)) => {
                let (limit, hard) = (or_unlimited(limit), or_unlimited(hard));
                format!("{limit}{raised}, hard limit {hard}")
            }
            None => format!("{ASSUMED_NOFILE} assumed: {NOT_TOLD}"),
        };
        vec![
            Row {
                name: "descriptors",
                values: vec![
                    ("soft_limit", soft.and_then(limited)),
                    ("hard_limit", hard.and_then(limited)),
                    (
                        "used_limit",
                        limited(limits.nofile.unwrap_or(ASSUMED_NOFILE)),
                    ),
                    ("already_open", Some(limits.already_open)),
                    ("reserve", Some(reserve)),
                ],
                sockets: limits.sockets(SetBy::Nofile),
                words: Some(format!(
                    "{allowed}; {} open already; kept free: {}",
                    limits.already_open,
                    RESERVE
                        .map(|(what, count)| format!("{count} for {what}"))
                        .join(", "),
                )),
                change: "ulimit -n N, in the shell, up to the hard limit; prlimit --pid $$ --nofile=N:N, as root, above it; \
                         docker run --ulimit nofile=N:N, for a container; LimitNOFILE=N, for a systemd unit",
            },
            Row {
                name: "--max-fds",
                values: vec![("max_fds", limits.max_fds.map(u64::from))],
                sockets: limits.sockets(SetBy::MaxFds),
                words: Some(
                    limits
                        .max_fds
                        .map_or("not given".into(), |max| grouped(max.into())),
                ),
                change: "--max-fds N",
            },
            Row {
                name: "memory",
                values: vec![
                    ("available_bytes", limits.available_bytes),
                    ("socket_bytes", Some(SOCKET_BYTES)),
                ],
                sockets: limits.sockets(SetBy::Memory),
                words: limits.available_bytes.map(|bytes| {
                    format!(
                        "{} available; a scan takes one part in {MEMORY_SHARE}, {} KiB a socket",
                        mib(bytes),
                        SOCKET_BYTES >> 10
                    )
                }),
                change: "end other programs; docker run --memory SIZE, for a container; MemoryMax=SIZE, for a systemd unit",
            },
            Row {
                name: "TCP memory",
                values: vec![
                    ("low_bytes", self.tcp_mem_bytes.map(|marks| marks[0])),
                    ("pressure_bytes", self.tcp_mem_bytes.map(|marks| marks[1])),
                    ("high_bytes", self.tcp_mem_bytes.map(|marks| marks[2])),
                    ("used_bytes", self.tcp_used_bytes),
                ],
                sockets: limits.sockets(SetBy::TcpMemory),
                words: self.tcp_mem_bytes.zip(self.tcp_used_bytes).map(
                    |([low, pressure, high], used)| {
                        format!(
                            "{} in use; marks at {}, {} (pressure), {} (refused)",
                            mib(used),
                            mib(low),
                            mib(pressure),
                            mib(high)
                        )
                    },
                ),
                change: "sysctl -w net.ipv4.tcp_mem=\"LOW PRESSURE HIGH\", in pages",
            },
            Row {
                name: "files of all processes",
                values: both(self.files, ["open", "max"]),
                sockets: None,
                words: of(self.files),
                change: "sysctl -w fs.file-max=N",
            },
            Row {
                name: "source ports",
                values: vec![
                    ("first", self.source_ports.map(|(first, _)| first.into())),
                    ("last", self.source_ports.map(|(_, last)| last.into())),
                ],
                sockets: None,
                words: self.source_ports.map(|(first, last)| {
                    let count = u64::from(last.saturating_sub(first)) + 1;
                    format!(
                        "{first} to {last}: {} at once to one address and port",
                        grouped(count)
                    )
                }),
                change: "sysctl -w net.ipv4.ip_local_port_range=\"FIRST LAST\"",
            },
            self.neighbours(),
            Row {
                name: "tracked connections",
                values: both(
                    self.tracking.map(|Tracking { count, most }| (count, most)),
                    ["tracked", "max"],
                ),
                sockets: None,
                words: self.tracking.map(tracked),
                change: "sysctl -w net.netfilter.nf_conntrack_max=N; \
                         --max-unanswered N, to take less of it",
            },
            Row {
                name: "epoll watches",
                values: vec![("max", self.epoll_watches)],
                sockets: None,
                words: self
                    .epoll_watches
                    .map(|most| format!("{} for one user, one a socket", grouped(most))),
                change: "sysctl -w fs.epoll.max_user_watches=N",
            },
            Row {
                name: "built-in maximum",
                values: Vec::new(),
                sockets: limits.sockets(SetBy::Enough),
                words: Some("as many as a host has ports; more would gain nothing".into()),
                change: "nothing",
            },
        ]
    }

    fn neighbours(&self) -> Row {
        let [v4, v6] = self.neighbours;
        let words = |family, table: Option<NeighbourTable>| {
            let NeighbourTable { used, most, room } = table?;
            let (used, most) = (grouped(used.into()), grouped(most.into()));
            let per_s = grouped((room / NeighbourTable::UNUSED_S).into());
            Some(format!(
                "{family}: {used} of {most}, enough for {per_s} unused addresses a second on our own links"
            ))
        };
        let told: Vec<String> = [words("IPv4", v4), words("IPv6", v6)]
            .into_iter()
            .flatten()
            .collect();
        let of = |table: Option<NeighbourTable>, number: fn(NeighbourTable) -> u32| {
            table.map(|table| u64::from(number(table)))
        };
        Row {
            name: "neighbours",
            values: vec![
                ("ipv4_used", of(v4, |table| table.used)),
                ("ipv4_max", of(v4, |table| table.most)),
                ("ipv6_used", of(v6, |table| table.used)),
                ("ipv6_max", of(v6, |table| table.most)),
            ],
            sockets: None,
            words: (!told.is_empty()).then(|| told.join("; ")),
            change: "sysctl -w net.ipv4.neigh.default.gc_thresh3=N; \
                     sysctl -w net.ipv6.neigh.default.gc_thresh3=N",
        }
    }

    /// For people: each limit, what it allows, and what to type to change it. The one that decides
    /// is marked.
    ///
    /// # Errors
    /// The writer's errors.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let (cap, set_by) = self.limits.cap();
        let sockets = if cap == 1 {
            "1 socket".into()
        } else {
            format!("{} sockets", grouped(cap.into()))
        };
        let mut text = format!(
            "At most {sockets} at once, and at least one; {} decides that (*).\n\n",
            set_by.as_str()
        );
        for row in self.rows() {
            let mark = if row.name == name_of(set_by) {
                '*'
            } else {
                ' '
            };
            let mut lines: Vec<String> = row
                .words
                .as_deref()
                .unwrap_or(NOT_TOLD)
                .split("; ")
                .map(str::to_owned)
                .collect();
            lines.extend(
                row.sockets
                    .map(|sockets| format!("allows {} sockets", grouped(sockets))),
            );
            lines.push(format!(
                "to change it: {}",
                row.change
                    .replace("; ", &format!("\n{:WIDTH$}              ", ""))
            ));
            let _ = writeln!(
                text,
                "{mark} {:COLUMN$}{}\n",
                row.name,
                lines.join(&format!("\n{:WIDTH$}", ""))
            );
        }
        text += "sysctl and prlimit need root; in a container most of this is the host's.\n";
        out.write_all(text.as_bytes())
    }

    /// For programs: one object in one line, described in docs/OUTPUT.md.
    ///
    /// # Errors
    /// The writer's errors.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let (cap, set_by) = self.limits.cap();
        let row = |row: &Row| {
            let values: serde_json::Map<_, _> = row
                .values
                .iter()
                .map(|&(name, value)| (name.into(), value.into()))
                .collect();
            serde_json::json!({ "name": row.name, "values": values, "sockets": row.sockets, "change": row.change })
        };
        let rows: Vec<_> = self.rows().iter().map(row).collect();
        writeln!(
            out,
            "{}",
            serde_json::json!({ "type": "limits", "cap": cap, "cap_set_by": set_by.as_str(), "limits": rows })
        )
    }
}

fn tracked(tracking: Tracking) -> String {
    let Tracking { count, most } = tracking;
    format!(
        "{} of {}; an attempt without an answer is tracked for {} s; room for {} of them beside others",
        grouped(count),
        or_unlimited(most),
        Tracking::UNANSWERED_S,
        grouped(tracking.room())
    )
}

/// The name of the row that shows this limit.
fn name_of(set_by: SetBy) -> &'static str {
    match set_by {
        SetBy::Nofile => "descriptors",
        SetBy::MaxFds => "--max-fds",
        SetBy::Memory => "memory",
        SetBy::TcpMemory => "TCP memory",
        SetBy::Enough => "built-in maximum",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::golden;

    const LIMITS: Limits = Limits {
        nofile: Some(20_000),
        already_open: 4,
        max_fds: None,
        available_bytes: Some(3 << 30),
        tcp_available_bytes: Some(500 << 20),
    };
    const MACHINE: Machine = Machine {
        limits: LIMITS,
        nofile: Some((1_024, 20_000)),
        files: Some((1_216, 9_000_000)),
        source_ports: Some((32_768, 60_999)),
        tcp_mem_bytes: Some([380 << 20, 507 << 20, 760 << 20]),
        tcp_used_bytes: Some(7 << 20),
        neighbours: [
            Some(NeighbourTable {
                used: 124,
                most: 1_024,
                room: 772,
            }),
            None,
        ],
        tracking: Some(Tracking {
            count: 17,
            most: 262_144,
        }),
        epoll_watches: Some(900_000),
    };

    fn text(machine: &Machine) -> String {
        let mut text = Vec::new();
        machine.write_text(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn json(machine: &Machine) -> serde_json::Value {
        let mut text = Vec::new();
        machine.write_json(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn the_text_names_what_decides_and_what_to_type() {
        golden("limits.txt", &text(&MACHINE));
        let few = Machine {
            limits: Limits {
                max_fds: Some(7),
                ..LIMITS
            },
            ..MACHINE
        };
        assert!(
            text(&few)
                .starts_with("At most 7 sockets at once, and at least one; --max-fds decides that"),
            "{}",
            text(&few)
        );
        assert!(
            text(&few).contains("\n* --max-fds              7\n")
                && !text(&few).contains("* descriptors")
        );
    }

    #[test]
    fn no_limit_is_no_large_number() {
        let machine = Machine {
            files: Some((5, i64::MAX as u64)),
            limits: Limits {
                nofile: Some(u64::MAX),
                available_bytes: None,
                tcp_available_bytes: None,
                ..LIMITS
            },
            ..MACHINE
        };
        assert!(
            text(&machine).contains("5 of unlimited\n")
                && text(&machine).contains("\n* built-in maximum"),
            "{}",
            text(&machine)
        );
        assert_eq!(
            json(&machine)["limits"][4]["values"]["max"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn what_a_system_does_not_tell_is_not_guessed() {
        let limits = Limits {
            nofile: None,
            available_bytes: None,
            tcp_available_bytes: None,
            ..LIMITS
        };
        let machine = Machine {
            limits,
            nofile: None,
            files: None,
            source_ports: None,
            tcp_mem_bytes: None,
            tcp_used_bytes: None,
            neighbours: [None; 2],
            tracking: None,
            epoll_watches: None,
        };
        assert_eq!(
            text(&machine).matches(NOT_TOLD).count(),
            8,
            "{}",
            text(&machine)
        );
        let json = json(&machine);
        let values = |name: &str| {
            json["limits"]
                .as_array()
                .unwrap()
                .iter()
                .find(|row| row["name"] == name)
                .unwrap()["values"]
                .clone()
        };
        assert_eq!(values("descriptors")["hard_limit"], serde_json::Value::Null);
        assert_eq!(values("source ports")["first"], serde_json::Value::Null);
    }

    #[test]
    fn the_json_has_the_same_numbers() {
        let json = json(&MACHINE);
        assert_eq!(
            (json["cap"].as_u64(), json["cap_set_by"].as_str()),
            (Some(19_992), Some("RLIMIT_NOFILE"))
        );
        let rows = json["limits"].as_array().unwrap();
        assert_eq!(rows.len(), 10);
        assert_eq!(
            (&rows[0]["name"], rows[0]["sockets"].as_u64()),
            (&"descriptors".into(), Some(19_992))
        );
        assert!(rows.iter().all(|row| {
            row["change"]
                .as_str()
                .is_some_and(|change| !change.is_empty())
        }));
    }
}
