//! What reads our reports in real life: nmap's DTD, ndiff, python-libnmap, jq, validators of JSON
//! Schema, and the lines of awk that people have in their scripts. A reader that is not installed
//! is a skipped test, and said.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use simulator::tun::{Reply, TunNetwork};
use support::command::{portreeve, run, signal, wait};

/// What a reader prints, and whether it is content.
fn read_by(folder: &Path, program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| skip(&format!("{program} cannot be run: {error}")));
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What a reader prints that must be content.
fn told_by(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = read_by(folder, program, arguments);
    assert_eq!(code, Some(0), "{program} {arguments:?}: {stdout}{stderr}");
    stdout
}

/// A host with open and closed ports, one whose firewall says no, and one that is silent.
fn network() -> TunNetwork {
    TunNetwork::start(|to, port| match (to.to_string().as_str(), port) {
        ("10.9.1.2", 22 | 80 | 443) => Reply::Accept,
        ("10.9.1.2", _) => Reply::Refuse,
        ("10.9.1.3", _) => Reply::Icmp(3, 13),
        _ => Reply::Silence,
    })
}

const SCAN: &str = "10.9.1.2-4 -p 20-23,25,80,443 --max-retries 1 --timeout 200ms -q";

const DTD: &str = "/usr/share/nmap/nmap.dtd";

fn scan(folder: &Path, arguments: &str) {
    let mut command = portreeve(&format!("{SCAN} {arguments}"));
    command.current_dir(folder);
    let ran = run(command);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(0), ""),
        "{}",
        ran.stdout
    );
}

fn check_with_dtd(folder: &Path, file: &str) {
    if !Path::new(DTD).exists() {
        skip(&format!("{DTD} is missing; it comes with nmap"));
    }
    told_by(folder, "xmllint", &["--noout", "--dtdvalid", DTD, file]);
}

#[test]
fn nmaps_dtd_is_content() {
    in_namespace("nmaps_dtd_is_content", || {
        let _network = network();
        let folder = tempfile::tempdir().expect("a scratch folder");
        scan(folder.path(), "-oX a.xml --xml-scanner nmap --show all");
        check_with_dtd(folder.path(), "a.xml");
        scan(folder.path(), "-oX b.xml --xml-scanner nmap");
        check_with_dtd(folder.path(), "b.xml");
        // Names and a command line that would like to break out, as they are in the golden file.
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden/findings.xml");
        let golden = fs::read_to_string(golden)
            .expect("the golden file")
            .replace("scanner=\"portreeve\"", "scanner=\"nmap\"");
        fs::write(folder.path().join("golden.xml"), golden).expect("written");
        check_with_dtd(folder.path(), "golden.xml");
    });
}

#[test]
fn ndiff_finds_what_nmap_finds() {
    in_namespace("ndiff_finds_what_nmap_finds", || {
        let _network = network();
        let folder = tempfile::tempdir().expect("a scratch folder");
        scan(folder.path(), "-oX ours.xml");
        scan(folder.path(), "-oX again.xml");
        scan(folder.path(), "-oX fewer.xml --exclude-ports 443");
        told_by(
            folder.path(),
            "nmap",
            &[
                "-sT",
                "-n",
                "-Pn",
                "-p",
                "20-23,25,80,443",
                "10.9.1.2",
                "-oX",
                "nmaps.xml",
            ],
        );
        let differences = |one: &str, other: &str| {
            let (code, stdout, stderr) = read_by(folder.path(), "ndiff", &[one, other]);
            assert_ne!(code, Some(2), "{stderr}");
            let is_content =
                |line: &&str| line.starts_with(['-', '+']) && !line.contains(" scan initiated ");
            stdout
                .lines()
                .filter(is_content)
                .map(String::from)
                .collect::<Vec<_>>()
        };
        assert_eq!(differences("ours.xml", "again.xml"), [""; 0]);
        assert_eq!(
            differences("ours.xml", "fewer.xml"),
            [
                "-443/tcp open  https",
                "-443/tcp filtered https",
                "-443/tcp filtered https"
            ]
        );
        // Both found the same on the host that answers; nmap was not asked for the others.
        let of_host = differences("nmaps.xml", "ours.xml")
            .into_iter()
            .filter(|line| !line.contains("10.9.1.3") && !line.contains("10.9.1.4"));
        let of_host: Vec<String> = of_host
            .filter(|line| !line.contains("filtered") && !line.starts_with("+Host is unknown"))
            .filter(|line| !line.starts_with("+PORT"))
            .collect();
        assert_eq!(of_host, [""; 0]);
    });
}

#[test]
fn libnmap_reads_it_even_when_it_was_interrupted() {
    const READ: &str = "import sys; from libnmap.parser import NmapParser; r = NmapParser.parse_fromfile(sys.argv[1]); \
        print(r.hosts_up, r.hosts_total, r.summary); \
        [print(h.address, h.status, h.get_open_ports()) for h in r.hosts]";
    in_namespace("libnmap_reads_it_even_when_it_was_interrupted", || {
        let _network = network();
        let folder = tempfile::tempdir().expect("a scratch folder");
        if read_by(folder.path(), "python3", &["-c", "import libnmap"]).0 != Some(0) {
            skip("python-libnmap is not installed");
        }
        scan(folder.path(), "-oX a.xml");
        let told = told_by(folder.path(), "python3", &["-c", READ, "a.xml"]);
        assert!(told.starts_with("1 3 portreeve done at "), "{told}");
        assert!(
            told.contains("10.9.1.2 up [(22, 'tcp'), (80, 'tcp'), (443, 'tcp')]"),
            "{told}"
        );

        let mut child =
            portreeve("10.9.1.2-4 -p- --max-rate 1000 -oX b.xml -oG b.gnmap -oJ b.jsonl")
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("it runs");
        // The first finding that is written: it is under way.
        while !fs::read_to_string(folder.path().join("b.jsonl"))
            .is_ok_and(|text| text.contains("finding"))
        {
            std::thread::yield_now();
        }
        signal(&child, libc::SIGINT);
        assert_eq!(wait(&mut child), Some(130));
        let told = told_by(folder.path(), "python3", &["-c", READ, "b.xml"]);
        assert!(told.starts_with("1 3 portreeve interrupted at "), "{told}");
        told_by(folder.path(), "xmllint", &["--noout", "b.xml"]);
        let grepable = fs::read_to_string(folder.path().join("b.gnmap")).expect("a file");
        assert!(
            grepable.contains("\n# portreeve interrupted at "),
            "{grepable}"
        );
    });
}

/// Takes the schema by its word: what it does not name is no field. Else it would miss new ones.
const VALIDATE: &str = r##"
import json, sys
from jsonschema import Draft202012Validator

def close(part):
    if isinstance(part, dict):
        if "properties" in part:
            part["additionalProperties"] = False
        for inner in part.values():
            close(inner)
    elif isinstance(part, list):
        for inner in part:
            close(inner)

schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
close(schema)
for name in sys.argv[2:]:
    for line in open(name):
        record = json.loads(line)
        part = {"$ref": "#/$defs/" + record["type"], "$defs": schema["$defs"]}
        for error in Draft202012Validator(part).iter_errors(record):
            print(name, record["type"], error.json_path, error.message)
        if not Draft202012Validator(schema).is_valid(record):
            print(name, line)
"##;

#[test]
fn every_json_line_fits_the_schema() {
    in_namespace("every_json_line_fits_the_schema", || {
        let _network = network();
        let folder = tempfile::tempdir().expect("a scratch folder");
        if read_by(folder.path(), "python3", &["-c", "import jsonschema"]).0 != Some(0) {
            skip("Python's jsonschema is not installed");
        }
        scan(folder.path(), "-oJ all.jsonl --show all --profile");
        // Of a scan in two parts, and one of them as joined with a part that is missing.
        let mut part = portreeve(&format!("{SCAN} --shard 1/2 -oJ part.jsonl"));
        let mut merge = portreeve("merge part.jsonl -oJ merged.jsonl -q");
        for command in [&mut part, &mut merge] {
            command
                .current_dir(folder.path())
                .status()
                .expect("it runs");
        }
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let [schema, golden] = ["docs/schema.json", "src/report/golden/findings.jsonl"]
            .map(|file| project.join(file).display().to_string());
        let told = told_by(
            folder.path(),
            "python3",
            &[
                "-c",
                VALIDATE,
                &schema,
                &golden,
                "all.jsonl",
                "part.jsonl",
                "merged.jsonl",
            ],
        );
        assert_eq!(told, "");
    });
}

#[test]
fn jq_and_awk_find_what_is_open() {
    in_namespace("jq_and_awk_find_what_is_open", || {
        let _network = network();
        let folder = tempfile::tempdir().expect("a scratch folder");
        scan(
            folder.path(),
            "-oJ a.jsonl -oG a.gnmap -oN a.nmap -oL a.list --list-open a.open --output-csv a.csv",
        );
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(String::from).collect();
            lines.sort();
            lines
        };
        let open = ["10.9.1.2:22", "10.9.1.2:443", "10.9.1.2:80"];
        assert_eq!(
            sorted(fs::read_to_string(folder.path().join("a.open")).expect("a file")),
            open
        );
        let jq = |filter: &str| sorted(told_by(folder.path(), "jq", &["-r", filter, "a.jsonl"]));
        assert_eq!(
            jq(r#"select(.type == "finding" and .state == "open") | "\(.ip):\(.port)""#),
            open
        );
        assert_eq!(
            jq(r#"select(.type == "host" and .open > 0) | "\(.ip) \(.closed)""#),
            ["10.9.1.2 4"]
        );
        assert_eq!(
            jq(r#"select(.type == "end") | .planned == .open + .closed + .filtered + .unscanned"#),
            ["true"]
        );
        let awk = |script: &str, file: &str| sorted(told_by(folder.path(), "awk", &[script, file]));
        // Who is up; who has a port open; what is open, where and as what.
        assert_eq!(awk("/Status: Up$/{print $2}", "a.gnmap"), ["10.9.1.2"]);
        assert_eq!(awk("/80\\/open/{print $2}", "a.gnmap"), ["10.9.1.2"]);
        let each = r#"/\/open\//{for (i = 4; i <= NF; i++) if (split($i, f, "/") > 4 && f[2] == "open") print $2 ":" f[1] " " f[5]}"#;
        assert_eq!(
            awk(each, "a.gnmap"),
            ["10.9.1.2:22 ssh", "10.9.1.2:443 https", "10.9.1.2:80 http"]
        );
        // nmap's normal format, line by line, as nmaptocsv and others read it.
        let each = r#"/^Nmap scan report for /{host = $NF} /^[0-9]+\/tcp +open/{split($1, f, "/"); print host ":" f[1] " " $3}"#;
        assert_eq!(
            awk(each, "a.nmap"),
            ["10.9.1.2:22 ssh", "10.9.1.2:443 https", "10.9.1.2:80 http"]
        );
        assert_eq!(awk("/^open/{print $4 \":\" $3}", "a.list"), open);
        assert_eq!(
            awk("BEGIN{FS=\",\"} NR > 1{print $1 \":\" $3}", "a.csv"),
            open
        );
    });
}
