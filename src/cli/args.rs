//! The flags as clap sees them. What may be written as a value is in `values`; what values mean
//! together is `request`'s.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::shard;
use super::values::{
    MaxRate, Shown, Sweep, max_fds, max_rate, metrics, notice, share_ppm, source, sweep,
    timeout_us, timing, top_ports,
};

/// Finds the open TCP ports of hosts with ordinary connections, on one thread and without root.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub scan: ScanArgs,

    #[command(flatten)]
    pub output: OutputArgs,

    /// Keep the scan's progress in FILE, so that it can continue whatever happens to this process:
    /// with `portreeve resume FILE`, or with the same command line again
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "dry_run",
        help_heading = "Long scans"
    )]
    pub checkpoint: Option<PathBuf>,
    /// Scan only part I of N of the plan, such as 3/16; auto/16 takes this job's part in a Slurm
    /// array or an indexed Kubernetes job (docs/DISTRIBUTED.md)
    #[arg(long, value_name = "I/N", value_parser = shard::parse, help_heading = "Long scans")]
    pub shard: Option<shard::Wanted>,
    /// Write a JSON line with the scan's progress each second, to FILE or, if it is a number, to
    /// that descriptor (docs/OUTPUT.md)
    #[arg(long, value_name = "FILE|FD", help_heading = "Looking into it")]
    pub stats: Option<PathBuf>,
    /// Serve the counters to Prometheus at http://ADDRESS:PORT/metrics while the scan runs; a bare
    /// PORT is served to this machine only
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = metrics, help_heading = "Looking into it")]
    pub metrics: Option<SocketAddr>,
    /// Measure how long each phase of the loop takes, and report it at the end
    #[arg(long, help_heading = "Looking into it")]
    pub profile: bool,
    /// Say how much would be probed, without sending a probe; names are still looked up
    #[arg(long, conflicts_with_all = ["json", "output_json", "output_text", "output_xml", "output_grepable", "output_all", "output_csv", "output_list", "list_open", "quiet"], help_heading = "Output")]
    pub dry_run: bool,
    /// Before the scan, say in sentences what it will do, how many probes that takes and how long
    /// at best; with --dry-run, instead of the scan
    #[arg(long, help_heading = "Output")]
    pub explain: bool,
}

/// What becomes of the findings.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// List findings in these states one by one, separated by commas; the others are counted
    /// [default: open, and each other state that a host has no more than 25 ports in]
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub show: Vec<Shown>,
    /// Show only what is open, and the totals
    #[arg(long, conflicts_with = "show")]
    pub open: bool,
    /// Write JSON lines to standard output instead of text (docs/OUTPUT.md describes them)
    #[arg(long)]
    pub json: bool,
    /// Write JSON lines to FILE. "-" is standard output; %Y-%m-%d and nmap's other time fields are
    /// filled in [short: -oJ]
    #[arg(long, value_name = "FILE")]
    pub output_json: Option<PathBuf>,
    /// Write nmap's normal format to FILE, whatever is on the screen [nmap: -oN]
    #[arg(long, value_name = "FILE")]
    pub output_text: Option<PathBuf>,
    /// Write nmap's XML to FILE [nmap: -oX]
    #[arg(long, value_name = "FILE")]
    pub output_xml: Option<PathBuf>,
    /// Write nmap's grepable lines to FILE [nmap: -oG]
    #[arg(long, value_name = "FILE")]
    pub output_grepable: Option<PathBuf>,
    /// Write text, XML and grepable lines to BASE.nmap, BASE.xml and BASE.gnmap [nmap: -oA]
    #[arg(long, value_name = "BASE", conflicts_with_all = ["output_text", "output_xml", "output_grepable"])]
    pub output_all: Option<PathBuf>,
    /// The scanner's name in the XML; "nmap" for readers that accept no other (nmap.dtd does not)
    #[arg(long, value_name = "NAME", default_value = env!("CARGO_PKG_NAME"))]
    pub xml_scanner: String,
    /// Write comma-separated values to FILE
    #[arg(long, value_name = "FILE")]
    pub output_csv: Option<PathBuf>,
    /// Write what is open to FILE, as masscan's list [masscan: -oL]
    #[arg(long, value_name = "FILE")]
    pub output_list: Option<PathBuf>,
    /// Write what is open to FILE, as ADDRESS:PORT lines
    #[arg(long, value_name = "FILE")]
    pub list_open: Option<PathBuf>,
    /// Say what will be scanned, what limits it, and which options the environment, a file or a
    /// preset added; show a table for each host, however small the screen; with --dry-run, list
    /// every endpoint
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print only a line for each listed finding
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Exit with 1 if everything was scanned and nothing is open (with --alive: nobody is there),
    /// as grep does if it finds nothing
    #[arg(long)]
    pub fail_if_none: bool,
}

/// What is scanned, and how: all but what becomes of the findings.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// Addresses (192.0.2.7, 2001:db8::1, fe80::1%eth0), blocks (192.0.2.0/24), ranges
    /// (10.0.0.1-10.0.0.20, 10.0-1.1,3.*), host names, or URLs (the host, and its port unless -p
    /// is given). HOST:PORTS ([2001:db8::1]:80,443) scans these ports there, and those of -p; "-"
    /// reads targets from standard input (docs/TARGETS.md)
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Read targets from FILE, or from standard input if it is "-". White space separates them, "#"
    /// starts a comment. Reports scan their open ports again: --list-open, nmap's grepable lines,
    /// masscan's list, and comma-separated values that name their columns (ip,port) [nmap: -iL]
    #[arg(long, value_name = "FILE", help_heading = "Targets")]
    pub input_file: Vec<PathBuf>,
    /// Go on without the lines and targets that are not understood, with a warning; exclusions must
    /// always be understood
    #[arg(long, help_heading = "Targets")]
    pub skip_invalid: bool,
    /// Leave out these targets, separated by commas
    #[arg(long, value_name = "TARGETS", help_heading = "Targets")]
    pub exclude: Vec<String>,
    /// Leave out the targets listed in FILE
    #[arg(long, value_name = "FILE", help_heading = "Targets")]
    pub exclude_file: Vec<PathBuf>,
    /// Scan all addresses of a host name, not only the first
    #[arg(long, help_heading = "Targets")]
    pub resolve_all: bool,
    /// IPv4 only
    #[arg(short = '4', conflicts_with = "ipv6", help_heading = "Targets")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', help_heading = "Targets")]
    pub ipv6: bool,

    /// Scan these ports: 22,80,1000-2000, -100 (1 to 100), 60000- (to 65535), - (all), names such
    /// as http*, [1-1024] (those with a name); @FILE reads them from FILE [default: the top 1,000]
    #[arg(short, long, value_name = "PORTS", allow_hyphen_values = true, conflicts_with_all = ["top_ports", "fast"], help_heading = "Ports")]
    pub ports: Option<String>,
    /// Leave out these ports
    #[arg(
        long,
        value_name = "PORTS",
        allow_hyphen_values = true,
        help_heading = "Ports"
    )]
    pub exclude_ports: Option<String>,
    /// Scan the N ports most often found open, 1 to 1000
    #[arg(long, value_name = "N", value_parser = top_ports, allow_hyphen_values = true, conflicts_with = "fast", help_heading = "Ports")]
    pub top_ports: Option<usize>,
    /// Scan the top 100 ports
    #[arg(short = 'F', long, help_heading = "Ports")]
    pub fast: bool,

    /// Probe in the random order that N stands for, to repeat the order of another scan [default: a
    /// new one each time]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "sequential",
        help_heading = "Order and pace"
    )]
    pub seed: Option<u64>,
    /// Probe in order of addresses and ports
    #[arg(long, help_heading = "Order and pace")]
    pub sequential: bool,
    /// Give every attempt this long, whatever round-trip times are measured: 250ms, 1.5s, 2m; a
    /// bare number is seconds. For experiments that must be repeatable
    #[arg(long, value_name = "TIME", value_parser = timeout_us, allow_hyphen_values = true, conflicts_with_all = ["min_timeout", "max_timeout"], help_heading = "Order and pace")]
    pub timeout: Option<u64>,
    /// Give no attempt less than this, however near the hosts; raise it if some answers come much
    /// later than the others
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = timeout_us, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub min_timeout: u64,
    /// Give no attempt more than this; raise it for slower paths, lower it if you are in a hurry
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = timeout_us, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub max_timeout: u64,
    /// Ask silent ports again until the chance of having missed an open one is below this: 0.1% or
    /// 0.001; lower it if no port may be missed
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share_ppm, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub miss_rate: u32,
    /// Ask a silent port again at most this often, 0 to 100; 0 if one attempt must do
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(..=100), allow_hyphen_values = true, help_heading = "Order and pace")]
    pub max_retries: u8,
    /// Connect to each open port at most N times, the first time included: how the scan sees
    /// whether answers still come. 1 leaves services alone after that, at the price of a slower or
    /// less complete scan where most ports are silent; 0 also asks no closed port again
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        allow_hyphen_values = true,
        help_heading = "Order and pace"
    )]
    pub canaries: u8,
    /// Wait this long for a network that has stopped answering, before the rest of the scan is
    /// given up: 20s, 5m. Full tables of routers take up to two minutes to empty
    #[arg(long, value_name = "TIME", default_value = "130s", value_parser = timeout_us, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub patience: u64,
    /// Leave at most N attempts without an answer, counting those of the last two minutes and those
    /// in flight: as many as a router or firewall on the way may remember for you
    #[arg(long, value_name = "N", value_parser = max_fds, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub max_unanswered: Option<u32>,
    /// Only ask who is there: a host is done with at its first answer, a refusal included. On links
    /// of this machine the kernel's neighbour table tells; elsewhere ports 22, 25, 53, 80, 443,
    /// 445, 3389 and 8080 are asked, or those of -p [nmap: -sn]
    #[arg(long, conflicts_with = "scan_silent", help_heading = "Order and pace")]
    pub alive: bool,
    /// Only ask what is open. Many systems send some 200 resets a second, which slows a scan down;
    /// with this option resets that stay away slow nothing down, and ports without an answer are
    /// called closed|filtered [nmap: --defeat-rst-ratelimit]
    #[arg(long, conflicts_with = "alive", help_heading = "Order and pace")]
    pub open_only: bool,
    /// Also scan all ports of hosts that answer nothing. Otherwise they are left out if there are
    /// more than 16 hosts. For hosts that may have one open port among thousands of silent ones
    /// [nmap: -Pn]
    #[arg(long, help_heading = "Order and pace")]
    pub scan_silent: bool,
    /// Hold at most N sockets at once, 1 or more; lower it to leave descriptors and memory to other
    /// programs. For a router with a small table of connections use --max-rate instead [default:
    /// what descriptors and memory allow]
    #[arg(long, value_name = "N", value_parser = max_fds, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub max_fds: Option<u32>,
    /// Begin at most N attempts per second, towards any address; "none" for no limit. Lower it if
    /// you share the network or were asked to, or if a router or firewall on the way has a small
    /// table of connections: it remembers each unanswered one for up to 120 s, so try 40 behind a
    /// home router [default: 10000 for what passes a router, none on this machine and its own
    /// links]
    #[arg(long, value_name = "N", value_parser = max_rate, allow_hyphen_values = true, help_heading = "Order and pace")]
    pub max_rate: Option<MaxRate>,

    /// Send from this address; can be given once for each address family
    #[arg(short = 'S', long, value_name = "ADDRESS", value_parser = source, help_heading = "Connections")]
    pub source: Vec<IpAddr>,
    /// Send through this network device
    #[arg(short = 'e', long, value_name = "DEVICE", help_heading = "Connections")]
    pub device: Option<String>,
    /// Close open connections with FIN instead of RST; each leaves a TIME_WAIT behind
    #[arg(long, help_heading = "Connections")]
    pub polite_close: bool,
    /// Open a new socket for each attempt; slower, and always so on systems other than Linux
    #[arg(long, help_heading = "Connections")]
    pub fresh_sockets: bool,

    /// Read what an open port says first, up to 1,024 bytes, and show it
    #[arg(long, help_heading = "Open ports")]
    pub banner: bool,
    /// With --banner, listen at most this long; raise it for servers that first look up the
    /// caller's name
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = timeout_us, allow_hyphen_values = true, help_heading = "Open ports")]
    pub banner_wait: u64,
    /// Tell the scanned hosts who scans them and why: a line of up to 510 bytes, sent on each
    /// connection that opens
    #[arg(long, value_name = "TEXT", value_parser = notice, help_heading = "Open ports")]
    pub notice: Option<String>,
    /// Send the notice also to ports 515 and 9100 to 9107, where printers print what comes;
    /// otherwise these are told nothing
    #[arg(long, requires = "notice", help_heading = "Open ports")]
    pub notice_printers: bool,
    /// Also send the notice to each probed port as a UDP datagram; these count towards the rate
    #[arg(long, requires = "notice", help_heading = "Open ports")]
    pub notice_udp: bool,

    /// Compare what is found on this machine's own addresses with the kernel's list of listeners,
    /// as `ss -tln` shows it (Linux)
    #[arg(long, help_heading = "Open ports")]
    pub verify_local: bool,

    /// Use a preset, 0 to 5: 0, 1 and 2 are gentle (1, 10, 100 attempts a second and as many
    /// sockets), 3 is the default, 4 and 5 are impatient (1.25 s an attempt and 6 retries at most,
    /// 0.3 s and 2). An option given by itself overrides it
    #[arg(short = 'T', long, value_name = "N", value_parser = timing, help_heading = "Settings")]
    pub timing: Option<u8>,
    /// Read settings from FILE, with a line `option = value` for each; "none" for no file [default:
    /// ~/.config/portreeve/config.toml]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,

    /// nmap's -n and --reason: what portreeve does anyway
    #[arg(short = 'n', long = "reason", hide = true, action = ArgAction::Count)]
    pub as_always: u8,
}

const AFTER_HELP: &str = "\
SIGUSR1, or the key d on a terminal, prints the progress. SIGUSR2, or the key -, slows the scan down
by a tenth; the key + raises its maximum rate by a tenth. Ctrl-C, SIGTERM, SIGQUIT or SIGHUP ends it
with a report of what is known; a second one ends it at once.

nmap's -iL -p- -F -n -Pn -sT --open --reason -e -v -oN -oX -oG -oA mean what they mean in nmap; -oJ
writes JSON lines, -oL writes masscan's list. Other options of nmap, masscan, naabu and RustScan are
taken if they mean the same, or answered with what to type instead.

Exit codes:
  0    everything planned was scanned, whether or not anything is open; or the output's reader
       went away
  1    everything planned was scanned, and nothing is open; only with --fail-if-none
  2    the command line was not understood, or leaves nothing to scan
  3    something could not be scanned, for reasons on this machine
  4    the scan could not start, or a report could not be written
  130  interrupted
A target that cannot be looked up is left out of the plan, with a warning.";

/// What else the command does than scanning.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what this machine allows, what limits the number of sockets, and how to change it
    Limits {
        /// Print one JSON object (docs/OUTPUT.md describes it)
        #[arg(long)]
        json: bool,
        /// Show what a scan with this --max-fds would be allowed
        #[arg(long, value_name = "N", value_parser = max_fds, allow_hyphen_values = true)]
        max_fds: Option<u32>,
    },
    /// Continue an interrupted scan, from the file that --checkpoint named
    Resume {
        /// The checkpoint
        file: PathBuf,
    },
    /// Join the JSON lines of shards, or of one scan, and write them in any format; say what is
    /// missing
    Merge(Box<MergeArgs>),
    /// Compare two reports, or one with a list of what may be open, and say what has changed
    Diff(DiffArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell; for bash, put `source <(portreeve completions bash)` into ~/.bashrc
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a command; `portreeve man | man -l -` shows it
    Man {
        /// The command, such as experiment
        #[arg(value_parser = ["limits", "resume", "merge", "diff", "completions", "man", "experiment", "version"])]
        command: Option<String>,
    },
    /// Repeat a scan under different settings, to see what they do; without a target, against this
    /// machine
    Experiment(Box<ExperimentArgs>),
    /// Print the version
    Version,
}

/// What `merge` joins, and where it goes.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Files that the shards have written with -oJ or --json
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What `diff` compares.
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF_HELP)]
pub struct DiffArgs {
    /// The older report and the newer one: JSON lines (-oJ, --json) or nmap's XML (-oX); - is
    /// standard input
    #[arg(value_name = "REPORT", required = true, num_args = 1..=2)]
    pub reports: Vec<PathBuf>,
    /// Compare one report with the list of what may be open in FILE: lines such as
    /// 192.0.2.7:22,80, or whatever else -iL reads that has ports
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,
    /// Print a JSON line for each change instead of text (docs/OUTPUT.md)
    #[arg(long)]
    pub json: bool,
}

const DIFF_HELP: &str = "\
Nothing is printed if nothing has changed and everything is known. What one report does not know is
no change: it was not scanned, or is not in the plan.

Exit codes:
  0  no difference
  1  something differs
  2  the command line or the list of --expect was not understood
  4  a report cannot be read";

/// What `experiment` varies, and where the results go.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPERIMENT_HELP)]
pub struct ExperimentArgs {
    #[command(flatten)]
    pub scan: ScanArgs,

    /// Vary max-fds, max-rate, timeout, max-retries, fresh-sockets or controller (adaptive, aimd,
    /// fixed) over these values; k is a thousand. Give it twice for a grid [default:
    /// max-fds=32,64,128,256,512]
    #[arg(long, value_name = "WHAT=A,B,...", value_parser = sweep, help_heading = "Experiment")]
    pub sweep: Vec<Sweep>,
    /// Run each setting this often; the settings take turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Experiment")]
    pub repeat: u32,
    /// Lower this process's descriptor limit (ulimit -n) to N first
    #[arg(long, value_name = "N", help_heading = "Experiment")]
    pub assume_nofile: Option<u64>,
    /// Take N descriptors away once each run has started, as another part of the program would
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        help_heading = "Experiment"
    )]
    pub occupy_fds: u32,
    /// Write a line for each run to FILE, as comma-separated values
    #[arg(long, value_name = "FILE", help_heading = "Experiment")]
    pub csv: Option<PathBuf>,
    /// Write a line for each run to FILE, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Experiment")]
    pub json: Option<PathBuf>,
    /// Write a chart (SVG) of throughput, processor time, kernel memory and errors to FILE
    #[arg(long, value_name = "FILE", help_heading = "Experiment")]
    pub svg: Option<PathBuf>,
}

const EXPERIMENT_HELP: &str = "\
The table shows the medians of the runs, and whether all of them reached the same verdicts.

Exit codes: 0 all runs agree, 2 the command line was not understood, 3 the verdicts differ or
something could not be scanned, 4 a run or a file failed, 130 interrupted.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_its_page() {
        let command = Args::command();
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        for name in &names {
            assert!(
                Args::try_parse_from(["portreeve", "man", name]).is_ok(),
                "{name}"
            );
        }
        assert_eq!(names.len(), 8);
    }

    #[test]
    fn the_name_of_a_command_is_a_host_behind_an_option() {
        let args = |words: &str| Args::try_parse_from(words.split(' ')).expect("it parses");
        assert!(matches!(
            args("portreeve limits").command,
            Some(Command::Limits {
                json: false,
                max_fds: None
            })
        ));
        let scan = args("portreeve -p 1 limits");
        assert!(scan.command.is_none() && scan.scan.targets == ["limits"]);
    }
}
