//! Services that people run, out of Debian's packages and with their defaults, on another machine
//! (a network namespace): what a scan says of them, how often it comes, and what their logs say of
//! it. Each has its configuration, its log and a `/run` of its own; the machine's services are
//! never touched.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use simulator::namespace::{in_namespace, skip};
use simulator::peer::{self, Peer};
use support::command::{end_record, json_lines, portreeve, run};

/// A program that serves in the foreground. `FOLDER` in its configuration and its command stands
/// for a scratch folder, where it logs to files whose names end in `log`.
struct Daemon {
    port: u16,
    /// How its banner begins; empty if it says nothing by itself.
    banner: &'static str,
    /// It reads this.
    configuration: &'static str,
    /// A shell runs it.
    command: &'static str,
}

const DAEMONS: [Daemon; 5] = [
    Daemon {
        port: 21,
        banner: "220 (vsFTPd ",
        configuration: "listen=YES\nbackground=NO\nsecure_chroot_dir=/run/empty\n\
            xferlog_enable=YES\nvsftpd_log_file=FOLDER/log\n",
        command: "mkdir /run/empty && vsftpd FOLDER/configuration",
    },
    Daemon {
        port: 22,
        banner: "SSH-2.0-OpenSSH_",
        configuration: "HostKey FOLDER/key\n",
        command: "mkdir /run/sshd && ssh-keygen -q -t ed25519 -N '' -f FOLDER/key && \
            $(command -v sshd) -D -E FOLDER/log -f FOLDER/configuration",
    },
    Daemon {
        port: 25,
        banner: "220 ",
        configuration: "log_file_path = FOLDER/%slog\nspool_directory = FOLDER/spool\n\
            acl_smtp_rcpt = deny\nprimary_hostname = mail.example.net\n",
        command: "exim4 -bdf -C FOLDER/configuration",
    },
    Daemon {
        port: 80,
        banner: "",
        configuration: "server.document-root = \"FOLDER\"\nserver.errorlog = \"FOLDER/log\"\n",
        command: "lighttpd -D -f FOLDER/configuration",
    },
    Daemon {
        port: 6379,
        banner: "",
        configuration: "bind 0.0.0.0\nprotected-mode no\nloglevel verbose\nlogfile FOLDER/log\n\
            dir FOLDER\n",
        command: "redis-server FOLDER/configuration",
    },
];

/// One that runs, until this is dropped.
struct Served {
    folder: PathBuf,
    process: Child,
}

impl Served {
    /// Starts it on the peer and waits until it listens.
    fn start(daemon: &'static Daemon, peer: &Peer, scratch: &Path) -> Self {
        let folder = scratch.join(daemon.port.to_string());
        fs::create_dir(&folder).expect("a folder");
        open_to_all(&folder);
        let own = |text: &str| text.replace("FOLDER", &folder.display().to_string());
        fs::write(folder.join("configuration"), own(daemon.configuration)).expect("a file");
        // The shell stays, and all that it started ends with it; it keeps its hands off the
        // machine's /run.
        let script = format!(
            "mount -t tmpfs none /run && ({}) 2>> FOLDER/errors.log & wait",
            daemon.command
        );
        let script = own(&script);
        let mut process = peer.run(move || {
            Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"])
                .arg(script)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("unshare(1)")
        });
        let port = daemon.port;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !peer.run(move || listens(port)) {
            let ended = process.try_wait().expect("it can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{}: {ended:?}",
                daemon.command
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Served { folder, process }
    }

    fn log(&self) -> String {
        let files = fs::read_dir(&self.folder).expect("its folder");
        let paths = files.map(|file| file.expect("a file").path());
        let logs = paths.filter(|path| path.to_string_lossy().ends_with("log"));
        logs.map(|path| fs::read_to_string(path).expect("text"))
            .collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Some of them log as users of their own.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("our folder");
}

/// Whether somebody listens on this port where the calling thread is. Asking the port itself would
/// be in its log.
fn listens(port: u16) -> bool {
    let own = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("the kernel's list");
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[1].ends_with(&own) && words[3] == LISTEN
    })
}

/// How the kernel writes this state.
const LISTEN: &str = "0A";

/// A chain that counts the connections to each service, as the peer's kernel sees them.
const COUNTED: [&str; 4] = [
    "add table ip f",
    "add set ip f seen { type inet_service ; flags dynamic ; counter ; }",
    "add chain ip f i { type filter hook input priority 0 ; }",
    "add rule ip f i tcp flags & (syn|ack) == syn tcp dport { 21, 22, 25, 80, 6379 } \
     add @seen { tcp dport }",
];
/// What is no service is silent from then on.
const SILENT: &str = "add rule ip f i tcp dport != { 21, 22, 25, 80, 6379 } drop";

fn nft(peer: &Peer, rule: &'static str) {
    peer.run(move || peer::run("nft", rule))
        .expect("a firewall");
}

/// How often each service was connected to since this was last asked.
fn connections(peer: &Peer) -> BTreeMap<u16, u64> {
    let listed = peer.run(|| {
        Command::new("nft")
            .args(["-j", "list", "set", "ip", "f", "seen"])
            .output()
    });
    nft(peer, "flush set ip f seen");
    let listed: Value = serde_json::from_slice(&listed.expect("nft").stdout).expect("JSON");
    let objects = listed["nftables"].as_array().expect("a list");
    let elements = objects
        .iter()
        .flat_map(|object| object["set"]["elem"].as_array());
    let count = |element: &Value| {
        let element = &element["elem"];
        let port = element["val"].as_u64().expect("a port");
        let packets = element["counter"]["packets"].as_u64().expect("a count");
        (port.try_into().expect("a port"), packets)
    };
    elements.flatten().map(count).collect()
}

/// Scans them, checks what it says of them and how often it came.
fn check(peer: &Peer, option: &str, others: &str, at_most: u64) {
    let ran = run(portreeve(&format!(
        "10.77.0.7 -p 1-1000,6379 --json -q {option}"
    )));
    assert_eq!(ran.code, Some(0), "{option}: {}{}", ran.stdout, ran.stderr);
    let end = end_record(&ran.stdout);
    assert_eq!(
        (&end["open"], &end[others]),
        (&5.into(), &996.into()),
        "{option}: {end}"
    );
    let records = json_lines(&ran.stdout);
    let came = connections(peer);
    for daemon in &DAEMONS {
        let of = |record: &&Value| record["state"] == "open" && record["port"] == daemon.port;
        let record = records.iter().find(of).expect("it is open");
        let banner = record["banner"].as_str().unwrap_or_default();
        let expected = if option == "--banner" {
            daemon.banner
        } else {
            ""
        };
        assert!(
            banner.starts_with(expected) && banner.is_empty() == expected.is_empty(),
            "{option}: {record}"
        );
        let times = came[&daemon.port];
        assert!(
            (1..=at_most).contains(&times),
            "{option}, {others}: {came:?}"
        );
    }
}

#[test]
fn real_services_are_found_and_not_disturbed() {
    in_namespace("real_services_are_found_and_not_disturbed", || {
        for program in ["vsftpd", "sshd", "exim4", "lighttpd", "redis-server", "nft"] {
            let search = format!("PATH=$PATH:/usr/sbin; command -v {program} && test $(id -u) = 0");
            let found = Command::new("sh")
                .arg("-c")
                .arg(search)
                .stdout(Stdio::null())
                .status();
            if !found.expect("sh").success() {
                skip(&format!("{program} is not installed"));
            }
        }
        let peer = Peer::joined(&["10.77.0.1/24"], &["10.77.0.7/24"])
            .unwrap_or_else(|error| skip(&format!("no second machine: {error}")));
        COUNTED.into_iter().for_each(|rule| nft(&peer, rule));
        let scratch = tempfile::tempdir().expect("a scratch folder");
        open_to_all(scratch.path());
        let start = |daemon| Served::start(daemon, &peer, scratch.path());
        let services: Vec<Served> = DAEMONS.iter().map(start).collect();
        for (others, at_most) in [("closed", 1), ("filtered", 8)] {
            for option in ["", "--banner", "--polite-close"] {
                check(&peer, option, others, at_most);
            }
            nft(&peer, SILENT);
        }
        let sshd = services[1].log();
        for said in [
            "kex_exchange_identification: read: Connection reset by peer",
            "kex_exchange_identification: Connection closed by remote host",
        ] {
            assert!(sshd.contains(said), "{sshd}");
        }
        // What it says of those it will not serve.
        for unsaid in ["MaxStartups", "penalt", "drop connection"] {
            assert!(!sshd.contains(unsaid), "{sshd}");
        }
    });
}
