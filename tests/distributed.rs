//! docs/DISTRIBUTED.md, for real: GNU parallel and a Slurm of one node run the shards of a loopback
//! scan, one task is killed and run again by its engine, and what is joined equals the scan of one
//! piece. What is not installed is a skipped test, and said.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use simulator::namespace::{in_namespace, skip};
use support::command::{end_record, json_lines, portreeve, ran, run};

/// A scan of some seconds in all, so that a task can be killed in its midst.
const SCAN: &str = "127.0.0.1-4 -p 1-2000 --show open,closed --max-rate 250";

fn listen() {
    for port in [22, 80, 443, 1_999] {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("a free port");
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }
}

/// A shell's or a program's environment: our command is found, and what the scan is.
fn prepared(program: &str, folder: &Path) -> Command {
    let ours = Path::new(env!("CARGO_BIN_EXE_portreeve"))
        .parent()
        .expect("a folder")
        .to_owned();
    let theirs = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([ours].into_iter().chain(std::env::split_paths(&theirs)))
        .expect("a path");
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("PATH", path)
        .env("SCAN", SCAN)
        .stdin(Stdio::null());
    command
}

fn need(program: &str) {
    if Command::new("sh")
        .args(["-c", &format!("command -v {program} >/dev/null")])
        .status()
        .is_ok_and(|status| !status.success())
    {
        skip(&format!("{program} is not installed"));
    }
}

fn docs(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Looks until it is so.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} takes more than a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills the process that scans this shard, once it has found something that is kept.
fn kill_task(folder: &Path, shard: u32) {
    let checkpoint = format!("shard-{shard}.checkpoint");
    until("a checkpoint with findings", || {
        let text = fs::read_to_string(folder.join(&checkpoint)).ok()?;
        text.contains("\"attempts\":")
            .then_some(())
            .filter(|()| !text.contains("\"attempts\":0,"))
    });
    let scans_it = |process: &PathBuf| {
        // Other tests have tasks of that name, too.
        let is_here = fs::read_link(process.join("cwd")).is_ok_and(|path| path == folder);
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = words.split(|&byte| byte == 0);
        // Not the shell whose words have it, too.
        is_here
            && words
                .next()
                .is_some_and(|program| program.ends_with(b"portreeve"))
            && words.any(|word| word == checkpoint.as_bytes())
    };
    let processes = fs::read_dir("/proc")
        .expect("/proc")
        .map(|entry| entry.expect("an entry").path());
    let task = processes.into_iter().find(scans_it).expect("the task runs");
    let id = task
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok())
        .expect("a process id");
    // SAFETY: kill(2) has no preconditions; the process is one that this test has had started.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
}

/// Joins the shards and compares them with the scan of one piece.
fn check(folder: &Path) {
    let merged = prepared("sh", folder)
        .args(["-c", "portreeve merge shard-*.jsonl --json"])
        .output()
        .expect("it runs");
    assert_eq!(
        (
            merged.status.code(),
            String::from_utf8_lossy(&merged.stderr).as_ref()
        ),
        (Some(0), "")
    );
    let merged = String::from_utf8(merged.stdout).expect("UTF-8");
    let whole = run(portreeve(&format!(
        "{} --seed 0 --json",
        SCAN.replace(" --max-rate 250", "")
    )));
    let endpoints = |text: &str| {
        let of = |line: &serde_json::Value| {
            format!(
                "{} {} {} {}",
                line["type"], line["ip"], line["port"], line["state"]
            )
        };
        let mut list: Vec<String> = json_lines(text)
            .iter()
            .filter(|line| line["ip"].is_string())
            .map(of)
            .collect();
        list.sort();
        list
    };
    assert_eq!(endpoints(&merged).len(), 8_004);
    let ours = endpoints(&merged);
    let theirs = endpoints(&whole.stdout);
    let differing: Vec<_> = ours
        .iter()
        .zip(&theirs)
        .filter(|(one, other)| one != other)
        .take(5)
        .collect();
    assert!(
        differing.is_empty() && ours.len() == theirs.len(),
        "other verdicts than the scan of one piece: {differing:?}"
    );
    let merged = end_record(&merged);
    let whole = end_record(&whole.stdout);
    for field in ["exit", "planned", "reasons", "hosts_answering"] {
        assert_eq!(merged[field], whole[field], "{field}");
    }
    // The one that was killed had something done when it went on.
    assert_eq!(merged["open"], 16);
}

#[test]
fn gnu_parallel_runs_the_shards() {
    in_namespace("gnu_parallel_runs_the_shards", || {
        need("parallel");
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let text = docs("DISTRIBUTED.md");
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with("seq 16 | parallel"))
            .expect("the line");
        assert!(line.contains("192.0.2.0/20 -p-"), "{line}");
        let line = line
            .replace(
                "parallel --",
                "parallel --will-cite --jobs 8 --joblog log --",
            )
            .replace("192.0.2.0/20 -p-", SCAN);
        let mut parallel = prepared("sh", folder.path())
            .args(["-c", &line])
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        kill_task(folder.path(), 7);
        let status = until("the end", || {
            parallel.try_wait().expect("it can be waited for")
        });
        let log = fs::read_to_string(folder.path().join("log")).expect("parallel's list");
        assert!(status.success(), "{log}");
        check(folder.path());
    });
}

/// Ends with the test, whatever its outcome.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(mut command: Command, log: PathBuf) -> Daemon {
    let out = fs::File::create(log).expect("a file");
    let command = command
        .stdout(out.try_clone().expect("a descriptor"))
        .stderr(out);
    Daemon(command.spawn().expect("it runs"))
}

/// A Slurm of one node, all of whose files are in `folder`.
fn slurm(folder: &Path) -> Vec<Daemon> {
    let at = |name: &str| folder.join(name).display().to_string();
    let key: Vec<u8> = (0..=255).cycle().take(1_024).collect();
    fs::write(at("key"), key).expect("written");
    ["state", "spool"]
        .iter()
        .for_each(|name| fs::create_dir(folder.join(name)).expect("a folder"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .expect("a name")
        .trim()
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    let settings = [
        "ClusterName=check".into(),
        format!("SlurmctldHost={host}(127.0.0.1)\nNodeName={host} NodeAddr=127.0.0.1 CPUs=16 State=UNKNOWN"),
        "PartitionName=all Nodes=ALL Default=YES State=UP\nSlurmUser=root\nSlurmdUser=root".into(),
        format!("AuthType=auth/munge\nCredType=cred/munge\nAuthInfo=socket={}", at("munge.socket")),
        format!("StateSaveLocation={}\nSlurmdSpoolDir={}", at("state"), at("spool")),
        format!("SlurmctldPidFile={}\nSlurmdPidFile={}", at("slurmctld.pid"), at("slurmd.pid")),
        "SlurmctldPort=16817\nSlurmdPort=16818\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU".into(),
        "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSchedulerType=sched/builtin\nMpiDefault=none".into(),
        "SwitchType=switch/none\nJobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none".into(),
        // More processors than there are: the tasks wait for their rate. And what
        // docs/DISTRIBUTED.md says.
        "ReturnToService=2\nSlurmdParameters=config_overrides\nRequeueExit=137\n".into(),
    ];
    fs::write(at("slurm.conf"), settings.join("\n")).expect("written");
    let mut munged = prepared("munged", folder);
    munged.args(["--foreground", "--force", "--num-threads=1"]);
    munged.args(
        [
            "key-file=key",
            "socket=munge.socket",
            "pid-file=munge.pid",
            "seed-file=seed",
        ]
        .map(|option| {
            let (name, file) = option.split_once('=').expect("a pair");
            format!("--{name}={}", at(file))
        }),
    );
    let munged = daemon(munged, folder.join("munged.log"));
    until("munged", || {
        folder.join("munge.socket").exists().then_some(())
    });
    let started = |program: &str, options: &[&str]| {
        let mut command = prepared(program, folder);
        command.args(options).env("SLURM_CONF", at("slurm.conf"));
        daemon(command, folder.join(format!("{program}.log")))
    };
    vec![
        started("slurmd", &["-D"]),
        started("slurmctld", &["-D", "-i"]),
        munged,
    ]
}

fn asked(program: &str, folder: &Path, arguments: &[&str]) -> String {
    let mut command = prepared(program, folder);
    let output = command
        .args(arguments)
        .env("SLURM_CONF", folder.join("slurm.conf"))
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn slurm_runs_the_shards() {
    in_namespace("slurm_runs_the_shards", || {
        ["munged", "slurmctld", "slurmd", "sbatch", "ip"]
            .iter()
            .for_each(|program| need(program));
        // Slurm looks its own addresses up as if 127.0.0.1 were none.
        let status = Command::new("ip")
            .args("address add 10.9.255.1/32 dev lo".split(' '))
            .status()
            .expect("it runs");
        assert!(status.success());
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let folder = folder.path();
        let _daemons = slurm(folder);
        until("a node that is ready", || {
            asked("sinfo", folder, &["-h", "-o", "%t"])
                .contains("idle")
                .then_some(())
        });
        fs::write(folder.join("scan.sbatch"), docs("distributed/scan.sbatch")).expect("written");
        let job = asked("sbatch", folder, &["--parsable", "scan.sbatch"]);
        kill_task(folder, 7);
        let task = format!("{}_7", job.trim());
        let state = || asked("squeue", folder, &["-h", "-j", &task, "-o", "%T %r"]);
        until("the task that is run again", || {
            // Slurm waits for two minutes before that, if nobody is in a hurry.
            asked(
                "scontrol",
                folder,
                &["update", &format!("jobid={task}"), "StartTime=now"],
            );
            let again = asked("scontrol", folder, &["show", "job", &task]).contains("Restarts=1");
            (again && !state().starts_with("PENDING")).then_some(())
        });
        until("the end", || {
            asked("squeue", folder, &["-h"])
                .trim()
                .is_empty()
                .then_some(())
        });
        check(folder);
    });
}

#[test]
fn the_manifests_command_runs_each_index() {
    in_namespace("the_manifests_command_runs_each_index", || {
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let manifest = docs("distributed/job.yaml");
        let script: Vec<&str> = manifest
            .lines()
            .skip_while(|line| line.trim() != "- |")
            .skip(1)
            .take_while(|line| line.starts_with("              "))
            .collect();
        assert!(
            script.len() == 2 && manifest.contains("completions: 16\n"),
            "{script:?}"
        );
        let pods: Vec<Child> = (0..16)
            .map(|index: u32| {
                let mut pod = prepared("sh", folder.path());
                pod.args(["-c", &script.join("\n")])
                    .env("JOB_COMPLETION_INDEX", index.to_string())
                    .stdout(Stdio::null());
                pod.spawn().expect("it runs")
            })
            .collect();
        for mut pod in pods {
            assert!(pod.wait().expect("it can be waited for").success());
        }
        check(folder.path());
    });
}

/// Also its fields: a name that Kubernetes does not know is a mistake.
#[test]
fn the_manifest_fits_kubernetes_schemas() {
    in_namespace("the_manifest_fits_kubernetes_schemas", || {
        let python = |arguments: &[&str]| {
            let mut command = Command::new("python3");
            command.arg("-m").arg("kubernetes_validate").args(arguments);
            let output = command.stdin(Stdio::null()).output();
            ran(output.unwrap_or_else(|error| skip(&format!("python3 cannot be run: {error}"))))
        };
        if python(&["--version"]).code != Some(0) {
            skip("Python's kubernetes-validate is not installed");
        }
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/distributed/job.yaml");
        let told = python(&["--strict", &manifest.display().to_string()]);
        assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    });
}
