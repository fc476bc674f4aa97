//! Options of other scanners: nmap's, masscan's, naabu's and RustScan's. What means the same is
//! taken; the others are answered with what to type, or with why they cannot be had. It knows words
//! only.

use std::ffi::OsString;

use clap::CommandFactory;

use super::args::Args;
use super::exit::Failure;

/// What an option of another scanner means here.
#[derive(Clone, Copy)]
enum Answer {
    /// The same as this one of ours.
    Same(&'static str),
    /// Its value is a target.
    Target,
    /// What is done anyway.
    Always,
    /// Nothing. This is what to do instead, or why.
    No(&'static str),
}

use Answer::{Always, No, Same, Target};

const CONNECT_ONLY: &str = "there are only TCP connect scans; leave it out";
const NOT_IDENTIFIED: &str =
    "services and systems are not identified; give nmap the open ports that were found";
const NO_LIST_SCAN: &str = "--dry-run -v lists the addresses, with their ports";
const NO_PING: &str = "no ping comes before the scan: hosts that answer nothing are left out by \
                       themselves, and -Pn scans them all the same";
const SIDE_BY_SIDE: &str = "hosts are scanned side by side, as fast as each of them answers; \
                            --max-fds N holds at most N sockets at once";
const KERNELS_PACKETS: &str = "connections are the kernel's, and their packets cannot be changed";
const BY_THE_SYSTEM: &str = "names are looked up as the system does it (/etc/resolv.conf); \
                             addresses need no lookup";
const A_RATE: &str = "there is no delay between attempts; --max-rate N allows N a second, over all \
                      hosts";
const MILLISECONDS: &str = "a bare number would be seconds; write --timeout 1500ms, or leave it \
                            out: timeouts follow measured round trips";
const FORMATS: &str = "this format is not written; use -oN FILE for text, -oX FILE for XML, -oJ \
                       FILE for JSON lines or --list-open FILE for address:port lines";
const RANGE: &str = "write ports as -p 1-1000, and addresses as 10.0.0.1-10.0.0.20";
const RETRIES: &str = "--max-retries N allows N attempts after the first; measured loss decides \
                       how many are made";

/// The options by their names.
const TABLE: &[(&[&str], Answer)] = &[
    (
        &["-iL", "--includefile", "-l", "-list"],
        Same("--input-file"),
    ),
    (&["-oJ"], Same("--output-json")),
    (&["-oN"], Same("--output-text")),
    (&["-oL"], Same("--output-list")),
    (&["-oX"], Same("--output-xml")),
    (&["-oG"], Same("--output-grepable")),
    (&["-oA"], Same("--output-all")),
    (&["-Pn", "-PN", "-P0"], Same("--scan-silent")),
    (&["-r"], Same("--sequential")),
    (
        &["--excludefile", "-ef", "-exclude-file"],
        Same("--exclude-file"),
    ),
    (
        &["-x", "--exclude-addresses", "-eh", "-exclude-hosts"],
        Same("--exclude"),
    ),
    (&["-ep", "-exclude-ports"], Same("--exclude-ports")),
    (&["-port"], Same("--ports")),
    (&["-tp", "-top-ports"], Same("--top-ports")),
    (&["--rate", "-rate"], Same("--max-rate")),
    (&["--min-rtt-timeout"], Same("--min-timeout")),
    (&["--max-rtt-timeout"], Same("--max-timeout")),
    (&["-b", "--batch-size"], Same("--max-fds")),
    (
        &["--adapter-ip", "--source-ip", "-source-ip"],
        Same("--source"),
    ),
    (
        &["--adapter", "--interface", "-interface", "-i"],
        Same("--device"),
    ),
    (&["--defeat-rst-ratelimit"], Same("--open-only")),
    (&["--banners"], Same("--banner")),
    (&["-json"], Same("--json")),
    (&["-silent"], Same("--quiet")),
    (&["--offline"], Same("--dry-run")),
    (&["-a", "--addresses", "-host"], Target),
    (
        &[
            "--unprivileged",
            "--privileged",
            "--system-dns",
            "--randomize-hosts",
            "--noninteractive",
            "--no-banner",
            "--no-stylesheet",
        ],
        Always,
    ),
    (
        &[
            "-A",
            "-O",
            "--osscan-guess",
            "--osscan-limit",
            "--traceroute",
        ],
        No(NOT_IDENTIFIED),
    ),
    (
        &[
            "--script",
            "--script-args",
            "--scripts",
            "--version-intensity",
            "--version-light",
            "--version-all",
            "-nmap-cli",
        ],
        No(NOT_IDENTIFIED),
    ),
    (
        &["-verify"],
        No(
            "open ports are connections that were made; --verify-local compares this machine's \
            own with what listens there",
        ),
    ),
    (&["--udp", "--scanflags"], No(CONNECT_ONLY)),
    (
        &[
            "-PS", "-PA", "-PU", "-PY", "-PE", "-PP", "-PM", "-PO", "-PR", "--ping",
        ],
        No(NO_PING),
    ),
    (
        &["--min-rate"],
        No(
            "there is no lowest rate: attempts are made as fast as answers come back; --max-rate N \
            is a ceiling",
        ),
    ),
    (
        &["--host-timeout"],
        No(
            "a host has no time limit; silent ones are left out by themselves, and `timeout 10m \
            portreeve ...` ends the whole scan with its report",
        ),
    ),
    (&["--scan-delay", "--max-scan-delay"], No(A_RATE)),
    (
        &["--initial-rtt-timeout"],
        No(
            "round trips are measured; --min-timeout and --max-timeout bound what follows from them",
        ),
    ),
    (
        &[
            "--min-parallelism",
            "--max-parallelism",
            "--min-hostgroup",
            "--max-hostgroup",
        ],
        No(SIDE_BY_SIDE),
    ),
    (&["--retries", "-retries", "--tries"], No(RETRIES)),
    (&["-t", "-timeout"], No(MILLISECONDS)),
    (
        &["-iR"],
        No("random addresses are not scanned; name targets that you may scan"),
    ),
    (
        &["-g", "--source-port"],
        No("the kernel chooses source ports; RustScan's -g is --list-open FILE"),
    ),
    (&["--dns-servers", "--resolver", "-R"], No(BY_THE_SYSTEM)),
    (
        &["-d", "-dd", "--packet-trace"],
        No(
            "-v says more, --stats FILE what the scan does each second, and docs/PROFILING.md how \
            to watch each attempt",
        ),
    ),
    (
        &[
            "-f",
            "--mtu",
            "-D",
            "--spoof-mac",
            "--data",
            "--data-string",
            "--data-length",
            "--ttl",
            "--ip-options",
            "--badsum",
            "--send-eth",
            "--send-ip",
            "--router-mac",
            "--adapter-mac",
        ],
        No(KERNELS_PACKETS),
    ),
    (
        &["--proxies", "-proxy"],
        No("there are no proxies; a preloaded library such as proxychains works"),
    ),
    (
        &["--resume"],
        No("`portreeve resume FILE` goes on with what --checkpoint FILE keeps"),
    ),
    (
        &["--append-output"],
        No("a report replaces its file; %F in its name becomes the date"),
    ),
    (
        &["--stats-every"],
        No("the key d prints the progress, and --stats FILE writes it each second"),
    ),
    (&["--iflist"], No("`ip address` and `ip route` list them")),
    (
        &["--port-ratio", "--top"],
        No("--top-ports N takes the N ports most often open"),
    ),
    (&["--range"], No(RANGE)),
    (
        &["--ulimit"],
        No(
            "the descriptor limit is raised by itself; --max-fds N holds fewer sockets, and \
            `portreeve limits` tells more",
        ),
    ),
    (
        &["--scan-order"],
        No("--sequential probes in order; the default is random"),
    ),
    (&["--no-config"], No("--config none reads no settings")),
    (
        &["--greppable"],
        No("--list-open FILE writes address:port lines, -q prints only findings"),
    ),
    (
        &[
            "-oS",
            "-oB",
            "-oD",
            "-oU",
            "-oH",
            "-oM",
            "-o",
            "-output",
            "--output-format",
        ],
        No(FORMATS),
    ),
];

/// Rewrites what other scanners' users type into our own options: also those of one dash and
/// several letters, which clap cannot express.
pub fn translated(words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    let mut ours = Vec::with_capacity(words.len());
    let mut refused: Vec<String> = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let mut answers = answers(&text);
        if answers.is_empty() {
            refused.extend(with_one_dash(&text));
            ours.push(word);
        }
        if is_range(&answers, words.peek()) {
            answers = vec![("-r".into(), No(RANGE), None)];
        }
        for (name, answer, value) in answers {
            match (answer, value) {
                (Same(option), None) => ours.push(option.into()),
                (Same(option), Some(value)) => ours.push(format!("{option}={value}").into()),
                // Without a value of its own, the next word is the target already.
                (Target, value) => ours.extend(value.map(OsString::from)),
                (Always, _) => {}
                (No(what), _) => {
                    let what = format!("{name}: {what}");
                    if !refused.contains(&what) {
                        refused.push(what);
                    }
                }
            }
        }
        if text == "--" {
            break;
        }
    }
    ours.extend(words);
    match &refused[..] {
        [] => Ok(ours),
        [only] => Err(Failure::Usage(only.clone())),
        several => Err(Failure::Usage(format!(
            "these options are not taken:\n  {}",
            several.join("\n  ")
        ))),
    }
}

/// nmap's short options that are long ones here, such as `-oX`: two letters, one of them a capital.
pub fn short_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let ours = TABLE.iter().filter_map(|(names, answer)| match answer {
        Same(ours) => Some((names[0], *ours)),
        _ => None,
    });
    ours.filter(|(name, _)| name.len() == 3 && name.contains(|letter: char| letter.is_uppercase()))
}

/// The options of other scanners in a word, with what they mean and their values: nmap joins the
/// letters of kinds of scans (`-sSV`).
fn answers(word: &str) -> Vec<(String, Answer, Option<&str>)> {
    if let Some(kinds) = word.strip_prefix("-s").filter(|kinds| is_kinds(kinds)) {
        let each = |kind| Some((format!("-s{kind}"), kind_of_scan(kind)?, None));
        return kinds.chars().filter_map(each).collect();
    }
    let named = TABLE
        .iter()
        .flat_map(|&(names, answer)| names.iter().map(move |&name| (name, answer)));
    let exact = named.clone().find(|(name, _)| *name == word);
    let found = exact
        .map(|(name, answer)| (name, answer, None))
        .or_else(|| {
            let with_value = |(name, answer)| Some((name, answer, Some(value(word, name)?)));
            named.filter_map(with_value).next()
        });
    found
        .map(|(name, answer, value)| (name.to_owned(), answer, value))
        .into_iter()
        .collect()
}

/// Whether it is RustScan's `-r`, with ports. nmap's has no value, and targets are no such words.
fn is_range(answers: &[(String, Answer, Option<&str>)], next: Option<&OsString>) -> bool {
    let [(name, _, value)] = answers else {
        return false;
    };
    let next = next.map(|word| word.to_string_lossy());
    let ports = value.or(next.as_deref()).unwrap_or_default();
    let is_digit = |byte: &u8| byte.is_ascii_digit() || b"-,".contains(byte);
    name == "-r"
        && ports.starts_with(|first: char| first.is_ascii_digit())
        && ports.as_bytes().iter().all(is_digit)
}

/// What to say of a long option behind one dash, which would be several short ones or the value of
/// one (`-version` is `-v -e rsion`), or behind a dash that is none.
fn with_one_dash(word: &str) -> Option<String> {
    if let Some(option) = word.strip_prefix(['\u{2013}', '\u{2014}', '\u{2212}']) {
        return Some(format!(
            "{word}: its dash is a word processor's; type -{option} or --{option}"
        ));
    }
    let typed = word.strip_prefix('-')?;
    let name = typed.split('=').next().filter(|name| name.len() > 2)?;
    let mut command = Args::command();
    command.build();
    let has_it = |command: &clap::Command| {
        let mut options = command.get_arguments().filter_map(clap::Arg::get_long);
        options.any(|long| long == name)
    };
    let names = TABLE.iter().flat_map(|(names, _)| *names);
    let is_known = has_it(&command)
        || command.get_subcommands().any(has_it)
        || names
            .filter_map(|theirs| theirs.strip_prefix("--"))
            .any(|theirs| theirs == name);
    is_known.then(|| format!("{word}: this option has two dashes; did you mean -{word}?"))
}

/// The value that follows directly: `--rate=9`, `-oX=FILE`, `-oXFILE`, `-PS80`.
fn value<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    let rest = word.strip_prefix(name)?;
    let value = rest.strip_prefix('=');
    let is_file = name.len() == 3 && (name.starts_with("-i") || name.starts_with("-o"));
    let is_short = name.len() <= 3 && rest.starts_with(|letter: char| letter.is_ascii_digit());
    value.or_else(|| (is_file || is_short).then_some(rest))
}

fn is_kinds(kinds: &str) -> bool {
    !kinds.is_empty() && kinds.chars().all(|kind| kind_of_scan(kind).is_some())
}

/// nmap's kinds of scans, by their letters.
fn kind_of_scan(kind: char) -> Option<Answer> {
    Some(match kind {
        'T' => Always,
        'S' | 'U' | 'F' | 'X' | 'N' | 'A' | 'M' | 'W' | 'Y' | 'Z' | 'O' | 'I' => No(CONNECT_ONLY),
        'V' | 'C' => No(NOT_IDENTIFIED),
        'n' | 'P' => Same("--alive"),
        'L' => No(NO_LIST_SCAN),
        _ => return None,
    })
}

#[cfg(test)]
mod page;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expect: &str) {
        let words = typed.split(' ').map(OsString::from).collect();
        let told = match translated(words) {
            Ok(words) => words.join(" ".as_ref()).to_string_lossy().into_owned(),
            Err(failure) => format!("error: {failure}"),
        };
        let is_right = match expect.strip_prefix("error: ") {
            Some(part) => told.starts_with("error: ") && told.contains(part),
            None => told == expect,
        };
        assert!(is_right, "{typed}: {told}");
    }

    #[test]
    fn what_means_the_same_is_taken() {
        check(
            "x -Pn -sT -iL hosts -p- -oJ out",
            "x --scan-silent --input-file hosts -p- --output-json out",
        );
        check("x -iL- -oNfile", "x --input-file=- --output-text=file");
        check(
            "x -oA out -oX- -oX=f -oG g",
            "x --output-all out --output-xml=- --output-xml=f --output-grepable g",
        );
        check("x --rate 9 --rate=9", "x --max-rate 9 --max-rate=9");
        check("x -r --excludefile f", "x --sequential --exclude-file f");
        check("x -a ::1 -b4500 -n", "x ::1 --max-fds=4500 -n");
        check("x -- -Pn", "x -- -Pn");
        check("x -sn ::1", "x --alive ::1");
        check("x -p 1 -F -vv -T4 -q -S ::1", "x -p 1 -F -vv -T4 -q -S ::1");
    }

    #[test]
    fn what_does_not_exist_is_answered() {
        check("x -sS ::1", "error: -sS: there are only TCP connect scans");
        check("x -sSV", "error: \n  -sS: there are only");
        check("x -sS -sV -sS", "error: \n  -sV: services");
        check("x -PS80,443", "error: -PS: no ping comes");
        check("x -g53", "error: -g: the kernel chooses");
        check("x --min-rate=100", "error: --max-rate N");
        check("x --ulimit 5000", "error: portreeve limits");
        check("x -oS out.txt", "error: -oN FILE");
        check("x -iR 10", "error: random addresses");
        for range in ["-r 1-1000", "-r1-1000", "-r=80,443", "-r 80"] {
            check(&format!("x {range} ::1"), "error: write ports as -p 1-1000");
        }
        check("x -r 10.0.0.1", "x --sequential 10.0.0.1");
    }

    #[test]
    fn a_long_name_behind_one_dash_is_asked_back() {
        for (word, long) in [
            ("-version", "--version?"),
            ("-max-rate=9", "--max-rate=9?"),
            ("-ports", "--ports?"),
            ("-expect", "--expect?"),
            ("-help", "--help?"),
            ("-range=9", "--range=9?"),
        ] {
            check(&format!("x {word}"), &format!("error: did you mean {long}"));
        }
        check("x \u{2014}open", "error: type -open or --open");
        check("x -verify", "error: --verify-local compares");
        check("x -vq -p80 -ewg0 -e vpn", "x -vq -p80 -ewg0 -e vpn");
    }

    #[test]
    fn no_name_is_ours_and_none_is_there_twice() {
        use clap::CommandFactory;
        let command = crate::cli::args::Args::command();
        let mut names: Vec<&str> = TABLE
            .iter()
            .flat_map(|(names, _)| *names)
            .copied()
            .collect();
        for argument in command.get_arguments() {
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            for name in long.into_iter().chain(short) {
                assert!(!names.contains(&name.as_str()), "{name} is ours");
            }
        }
        for (_, answer) in TABLE {
            if let Same(ours) = answer {
                let is_ours = |argument: &clap::Arg| argument.get_long() == Some(&ours[2..]);
                assert!(command.get_arguments().any(is_ours), "{ours} is not ours");
            }
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
