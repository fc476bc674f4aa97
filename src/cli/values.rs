//! What can be written as a flag's value, and what it becomes. Each message says what to write
//! instead; nothing here knows which other flags there are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use clap::ValueEnum;
use portreeve::report::experiment::{Knob, Setting};
use portreeve::scan::{Controller, State};

/// One knob and its values.
pub type Sweep = Vec<Setting>;

/// A state to list, or all.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shown {
    /// Accepts connections.
    Open,
    /// Refuses them.
    Closed,
    /// Silent, or something in between says no.
    Filtered,
    /// Closed or filtered, and not asked which (--open-only).
    #[value(name = "closed|filtered")]
    NotOpen,
    /// Not scanned.
    Unscanned,
    /// All of these.
    All,
}

impl Shown {
    pub fn states(self) -> &'static [State] {
        match self {
            Shown::Open => &[State::Open],
            Shown::Closed => &[State::Closed],
            Shown::Filtered => &[State::Filtered],
            Shown::NotOpen => &[State::NotOpen],
            Shown::Unscanned => &[State::Unscanned],
            Shown::All => &State::ALL,
        }
    }
}

/// `--max-rate`'s value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxRate {
    /// Attempts per second.
    PerSecond(NonZeroU32),
    /// No limit.
    Unlimited,
}

/// A duration in microseconds: `250ms`, `1.5s`, `2m`; a bare number is seconds.
pub fn duration_us(text: &str) -> Result<u64, String> {
    let form = "write it like 250ms, 1.5s or 2m; a bare number is seconds";
    let bare = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    let with_unit = if bare {
        format!("{text}s")
    } else {
        text.to_owned()
    };
    let duration: jiff::SignedDuration = with_unit
        .parse()
        .map_err(|_| format!("{text:?} is no duration; {form}"))?;
    u64::try_from(duration.as_micros()).map_err(|_| format!("{text:?} lies in the past; {form}"))
}

pub fn timeout_us(text: &str) -> Result<u64, String> {
    const HOUR_US: u64 = 3_600_000_000;
    match duration_us(text)? {
        us @ 1_000..=HOUR_US => Ok(us),
        0 => Err("an attempt without time finds nothing; write at least 1ms".into()),
        _ => Err(format!("{text:?} is out of range; write 1ms to 1h")),
    }
}

/// A share in millionths: `0.1%`, `0.001`.
pub fn share_ppm(text: &str) -> Result<u32, String> {
    let (number, unit) = text
        .strip_suffix('%')
        .map_or((text, 1e6), |percent| (percent.trim_end(), 1e4));
    match number.parse::<f64>().map(|number| number * unit) {
        Ok(ppm) if (1.0..=500_000.0).contains(&ppm) => Ok(ppm.round() as u32),
        Ok(_) => Err(format!("{text:?} is out of range; write 0.0001% to 50%")),
        Err(_) => Err(format!("{text:?} is no share; write it like 0.1% or 0.001")),
    }
}

pub fn top_ports(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=1000).contains(n))
        .ok_or_else(|| "write 1 to 1000, or use -p- for all ports".into())
}

pub fn source(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "write an address of this machine, such as 192.0.2.7 or 2001:db8::7".into())
}

pub fn metrics(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let own = port.map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    own.or_else(|_| text.parse()).map_err(|_| {
        format!("{text:?} is no address and port; write 9100, 192.0.2.7:9100 or [::1]:9100")
    })
}

/// A preset, by its number or nmap's name for it.
pub fn timing(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 6] = [
        "paranoid",
        "sneaky",
        "polite",
        "normal",
        "aggressive",
        "insane",
    ];
    let number = NAMES
        .iter()
        .position(|name| *name == text)
        .map_or_else(|| text.parse().ok(), |number| Some(number as u8));
    number
        .filter(|number| usize::from(*number) < NAMES.len())
        .ok_or_else(|| format!("{text:?} is no preset; write 0 to 5"))
}

pub fn notice(text: &str) -> Result<String, String> {
    let most = portreeve::engine::NOTICE_BYTES - LINE_END.len();
    match text {
        "" => Err("say who scans and why, such as \"scan by example.org, questions to admin@example.org\"".into()),
        _ if text.len() > most => Err(format!("it has {} bytes; {most} fit into one packet everywhere", text.len())),
        _ if text.contains(char::is_control) => Err("it is to be one line; write it without control characters".into()),
        _ => Ok(text.to_owned() + LINE_END),
    }
}

/// How text protocols end a line (RFC 5321, RFC 9112).
const LINE_END: &str = "\r\n";

pub fn max_fds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("a scan needs at least 1 socket; write 1 or more, or leave it out for what the machine allows".into()),
        Ok(max) => Ok(max),
        Err(_) => Err(format!("{text:?} is no number of sockets; write 1 or more")),
    }
}

pub fn max_rate(text: &str) -> Result<MaxRate, String> {
    match text.parse() {
        Ok(per_s) => Ok(MaxRate::PerSecond(per_s)),
        Err(_) if text == "none" => Ok(MaxRate::Unlimited),
        Err(_) => Err(format!(
            "{text:?} is no rate; write attempts per second, 1 or more, or \"none\" for no limit"
        )),
    }
}

/// `max-fds=16,64,1k`.
pub fn sweep(text: &str) -> Result<Sweep, String> {
    let form = "write it like max-fds=16,64,1k; max-rate, timeout, max-retries, fresh-sockets and controller can be varied, too";
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} has no values; {form}"))?;
    let knob = Knob::ALL
        .into_iter()
        .find(|knob| knob.as_str() == name)
        .ok_or_else(|| format!("{name:?} cannot be varied; {form}"))?;
    let mut sweep = Sweep::new();
    for text in values.split(',') {
        let setting = knob_setting(knob, text)?;
        if sweep.contains(&setting) {
            return Err(format!(
                "{text} is there twice; write each value once and --repeat N for more runs"
            ));
        }
        sweep.push(setting);
    }
    Ok(sweep)
}

/// A knob's value: what its option accepts, and thousands with a k.
fn knob_setting(knob: Knob, text: &str) -> Result<Setting, String> {
    let count = || {
        let (digits, unit) = text
            .strip_suffix(['k', 'K'])
            .map_or((text, 1), |digits| (digits, 1_000));
        let count = digits
            .parse::<u32>()
            .ok()
            .and_then(|count| count.checked_mul(unit));
        count.ok_or_else(|| {
            format!(
                "{text:?} is no number for {}; write it like 64 or 4k",
                knob.as_str()
            )
        })
    };
    let at_least_one = || {
        NonZeroU32::new(count()?)
            .ok_or_else(|| format!("{} of 0 would never begin; write 1 or more", knob.as_str()))
    };
    match knob {
        Knob::MaxFds => at_least_one().map(|count| Setting::MaxFds(count.get())),
        Knob::MaxRate if text == "none" => Ok(Setting::MaxRate(None)),
        Knob::MaxRate => at_least_one().map(|per_s| Setting::MaxRate(Some(per_s))),
        Knob::Timeout => timeout_us(text).map(Setting::Timeout),
        Knob::MaxRetries => count()?
            .try_into()
            .ok()
            .filter(|&count: &u8| count <= 100)
            .map(Setting::MaxRetries)
            .ok_or_else(|| format!("{text:?} is out of range; write 0 to 100")),
        Knob::FreshSockets => match text {
            "yes" | "no" => Ok(Setting::FreshSockets(text == "yes")),
            _ => Err(format!(
                "{text:?} is neither yes nor no; write fresh-sockets=no,yes"
            )),
        },
        Knob::Controller => Controller::ALL
            .into_iter()
            .find(|controller| controller.as_str() == text)
            .map(Setting::Controller)
            .ok_or_else(|| {
                format!("{text:?} is no rate controller; write controller=adaptive,aimd,fixed")
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_two_forms() {
        for (text, ppm) in [
            ("0.1%", 1_000),
            ("0.001", 1_000),
            ("5 %", 50_000),
            ("0.0001%", 1),
            ("0.5", 500_000),
        ] {
            assert_eq!(share_ppm(text), Ok(ppm), "{text}");
        }
        for text in ["", "%", "0", "0%", "51%", "1", "-0.1%", "few", "NaN", "inf"] {
            assert!(share_ppm(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, us) in [
            ("250ms", 250_000),
            ("1.5s", 1_500_000),
            ("2m", 120_000_000),
            ("3", 3_000_000),
            ("0.5", 500_000),
        ] {
            assert_eq!(duration_us(text), Ok(us), "{text}");
        }
        for text in [
            "",
            "-1",
            "abc",
            "5 parsecs",
            "-250ms",
            "1e99",
            "99999999999999999999",
        ] {
            assert!(duration_us(text).is_err(), "{text}");
        }
        assert!(timeout_us("0").is_err() && timeout_us("2h").is_err() && timeout_us("1h").is_ok());
    }
}
