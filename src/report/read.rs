//! Reads the JSON records back into values, to continue a scan and to join shards. A stranger may
//! have written them, so every field is checked. It goes field by field: derived code would add a
//! third of a megabyte to the resident memory of every scan.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::Value;

use super::record::SCHEMA;
use super::{
    BANNER_BYTES, Exit, Hardware, HostReport, MacAddress, Notices, StateSet, Summary, printable,
};
use crate::plan::{Names, Order, Outline, PortSet, Services, Shard};
use crate::scan::{
    Finding, Histogram, Limits, Missed, OwnError, Rate, Reason, SetBy, Settings, State, Stats,
    Time, Timeouts,
};

type Result<T> = std::result::Result<T, String>;

/// A record, or an object in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn part(self, name: &str) -> Result<Fields<'a>> {
        self.get(name)
            .map(Fields)
            .ok_or_else(|| format!("{name:?} is missing"))
    }

    pub fn text(self, name: &str) -> Result<&'a str> {
        self.get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("{name:?} is missing, or no text"))
    }

    fn number<T: TryFrom<u64>>(self, name: &str) -> Result<T> {
        self.maybe(name)?
            .ok_or_else(|| format!("{name:?} is missing"))
    }

    fn maybe<T: TryFrom<u64>>(self, name: &str) -> Result<Option<T>> {
        let number = |value: &Value| value.as_u64().and_then(|number| number.try_into().ok());
        self.get(name)
            .map(|value| {
                number(value).ok_or_else(|| format!("{name:?} is no such number: {value}"))
            })
            .transpose()
    }

    fn real(self, name: &str) -> Result<f64> {
        self.get(name)
            .and_then(Value::as_f64)
            .ok_or_else(|| format!("{name:?} is no number"))
    }

    fn flag(self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn list(self, name: &str) -> impl Iterator<Item = &'a Value> {
        self.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }

    /// An object of numbers by name.
    fn counts<T: TryFrom<u64>>(self, name: &str) -> Result<Vec<(&'a str, T)>> {
        let counts = self
            .get(name)
            .and_then(Value::as_object)
            .ok_or_else(|| format!("{name:?} is missing"))?;
        counts
            .keys()
            .map(|key| Ok((key.as_str(), self.part(name)?.number(key)?)))
            .collect()
    }

    pub fn texts(self, name: &str) -> Vec<&'a str> {
        self.list(name).filter_map(Value::as_str).collect()
    }

    fn endpoint(self, port: u16) -> Result<SocketAddr> {
        self.text("ip").and_then(|ip| endpoint(ip, port))
    }

    fn since(self, name: &str, started_at: SystemTime) -> Result<Time> {
        let passed = wall_clock(self.text(name)?)?
            .duration_since(started_at)
            .unwrap_or_default();
        Ok(Time::from_us(passed.as_micros() as u64))
    }
}

/// The one of `all` that has this name.
fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Result<T> {
    all.iter()
        .copied()
        .find(|&one| name(one) == text)
        .ok_or_else(|| format!("{text:?} is not known to this version"))
}

/// An endpoint from its address, with its zone as a number, and its port.
pub(super) fn endpoint(ip: &str, port: u16) -> Result<SocketAddr> {
    let text = if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    };
    text.parse().map_err(|_| format!("{ip:?} is no address"))
}

fn wall_clock(text: &str) -> Result<SystemTime> {
    text.parse::<Timestamp>()
        .map(SystemTime::from)
        .map_err(|_| format!("{text:?} is no time"))
}

/// A digest as it is written.
fn digest_of(digest: &str) -> Result<u64> {
    u64::from_str_radix(digest, 16).map_err(|_| format!("{digest:?} is no digest"))
}

/// The contents of a start record.
#[derive(Debug)]
pub(super) struct Started {
    /// The whole plan of which this may be a shard, without the names.
    pub whole: Outline,
    pub shard: Shard,
    pub show: StateSet,
    pub started_at: SystemTime,
    pub settings: Settings,
    pub limits: Limits,
    pub cap: (u32, SetBy),
}

pub(super) fn start(record: Fields) -> Result<Started> {
    if record.number::<u32>("schema")? != SCHEMA {
        return Err(format!(
            "its schema is {}, and this version knows {SCHEMA}",
            record.number::<u32>("schema")?
        ));
    }
    let shard = match record.part("shard") {
        Ok(shard) => {
            let number = shard.number("number")?;
            let of = shard.number("of")?;
            Shard::new(number, of).ok_or_else(|| format!("there is no shard {number}/{of}"))?
        }
        Err(_) => Shard::WHOLE,
    };
    let plan = record.part("plan")?;
    let endpoints = plan.number("endpoints")?;
    let addresses = plan.number("addresses")?;
    let planned = record.number::<u64>("planned")?;
    if planned != shard.share(endpoints) {
        return Err(format!(
            "a shard {shard} of {endpoints} endpoints does not have {planned}"
        ));
    }
    let show: Result<Vec<State>> = record
        .texts("show")
        .into_iter()
        .map(|state| named(&State::ALL, State::as_str, state))
        .collect();
    let digest = plan.text("digest")?;
    let rate = record
        .maybe::<u32>("max_rate_per_s")?
        .and_then(NonZeroU32::new);
    let limits = record.part("limits")?;
    let order = match (record.text("order")?, record.maybe("seed")?) {
        ("random", Some(seed)) => Order::Random { seed },
        _ => Order::Sequential,
    };
    Ok(Started {
        whole: Outline {
            endpoints,
            addresses,
            ports_per_address: record.number("ports_per_address")?,
            ports: PortSet::parse(record.text("ports")?, &Services::default())
                .map_err(|error| error.to_string())?,
            order,
            shard: Shard::WHOLE,
            endpoints_of_all: endpoints,
            addresses_of_all: addresses,
            digest: digest_of(digest)?,
            targets_digest: plan.text("targets").ok().map(digest_of).transpose()?,
            warnings: record
                .texts("warnings")
                .into_iter()
                .map(printable)
                .collect(),
            names: Names::default(),
        },
        shard,
        show: StateSet::states(show?),
        started_at: wall_clock(record.text("timestamp")?)?,
        settings: Settings {
            timeouts: Timeouts {
                fixed_us: record.maybe("timeout_us")?,
                min_us: record.number("min_timeout_us")?,
                max_us: record.number("max_timeout_us")?,
            },
            miss_rate_ppm: (record.real("miss_rate")? * 1e6).round() as u32,
            max_retries: record.number("max_retries")?,
            rate: rate.map(|per_s| Rate {
                per_s,
                routed_only: record.flag("max_rate_routed_only"),
            }),
            scan_silent: record.flag("scan_silent"),
            alive: record.flag("alive"),
            open_only: record.flag("open_only"),
            tell_unscanned: false,
            banner_wait_us: record.maybe("banner_wait_us")?,
            sends_datagrams: record.flag("sends_datagrams"),
            ..Settings::default()
        },
        limits: Limits {
            nofile: match limits.flag("nofile_is_assumed") {
                true => None,
                false => limits.maybe("nofile")?.or(Some(u64::MAX)),
            },
            already_open: limits.number("already_open")?,
            max_fds: limits.maybe("max_fds")?,
            available_bytes: limits.maybe("available_bytes")?,
            tcp_available_bytes: limits.maybe("tcp_available_bytes")?,
        },
        cap: (
            limits.number("cap")?,
            named(&SetBy::ALL, SetBy::as_str, limits.text("set_by")?)?,
        ),
    })
}

pub(super) fn finding(record: Fields, started_at: SystemTime) -> Result<Finding> {
    let by = record
        .text("reason_ip")
        .ok()
        .map(|ip| ip.parse().map_err(|_| format!("{ip:?} is no address")));
    Ok(Finding {
        endpoint: record.endpoint(record.number("port")?)?,
        reason: named(&Reason::ALL, Reason::as_str, record.text("reason")?)?,
        reason_ip: by.transpose()?,
        rtt_us: record.maybe("rtt_us")?,
        attempts: record.number("attempts")?,
        banner: record.text("banner_hex").ok().map(bytes).transpose()?,
        at: record.since("timestamp", started_at)?,
    })
}

/// The counts of a host. Its rows are in the findings.
pub(super) fn host(record: Fields, started_at: SystemTime) -> Result<HostReport> {
    let mut host = HostReport::unheard(
        record.endpoint(0)?,
        record.since("first_timestamp", started_at)?,
    );
    host.last = record.since("timestamp", started_at)?;
    for (name, count) in record.counts("reasons")? {
        host.count(named(&Reason::ALL, Reason::as_str, name)?, count);
    }
    host.hardware = record
        .text("mac_address")
        .ok()
        .map(|mac| hardware(mac, record))
        .transpose()?;
    Ok(host)
}

fn hardware(mac: &str, record: Fields) -> Result<Hardware> {
    let mac = MacAddress::parse(mac).ok_or_else(|| format!("{mac:?} is no MAC address"))?;
    let vendor = record.text("mac_vendor").ok().map(Into::into);
    Ok(Hardware { mac, vendor })
}

fn notices(record: Fields) -> Result<Notices> {
    let count = |name| record.number::<u32>(name).map(u64::from);
    Ok(Notices {
        connections: count("connections")?,
        datagrams: count("datagrams")?,
        failed: count("failed")?,
        withheld: count("withheld")?,
    })
}

/// A banner's bytes, from two hexadecimal digits each.
fn bytes(hex: &str) -> Result<Box<[u8]>> {
    let byte = |digits: &[u8]| {
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let bytes: Option<Box<[u8]>> = hex
        .as_bytes()
        .chunks(2)
        .map(|digits| byte(digits).filter(|_| digits.len() == 2))
        .collect();
    bytes
        .filter(|bytes| bytes.len() <= BANNER_BYTES)
        .ok_or_else(|| format!("{hex:.80?} are no bytes of a banner"))
}

/// The contents of an end record, except what cannot be added up: how late the loop was, and where
/// its time went.
pub(super) fn end(record: Fields, started_at: SystemTime) -> Result<Summary> {
    let planned = record.number("planned")?;
    let cap = record.number("cap")?;
    let mut stats = Stats::new(planned, cap);
    let reasons = record.counts::<u64>("reasons")?;
    if reasons
        .iter()
        .map(|&(_, count)| u128::from(count))
        .sum::<u128>()
        > planned.into()
    {
        return Err("its counts do not add up".into());
    }
    for (name, count) in reasons {
        stats.settle(named(&Reason::ALL, Reason::as_str, name)?, count);
    }
    for (name, count) in record.counts("own_errors")? {
        stats.own_error(named(&OwnError::ALL, OwnError::as_str, name)?, count);
    }
    stats.begun = stats.settled();
    for (count, name) in [
        (&mut stats.attempts, "attempts"),
        (&mut stats.retries, "retries"),
        (&mut stats.lost, "lost"),
        (&mut stats.voided, "voided"),
        (&mut stats.controls, "controls"),
        (&mut stats.outage_us, "outage_us"),
        (&mut stats.hosts_answering, "hosts_answering"),
        (&mut stats.hosts_silent, "hosts_silent"),
        (&mut stats.hosts_absent, "hosts_absent"),
        (&mut stats.hosts_held_off, "hosts_held_off"),
        (&mut stats.hosts_away, "hosts_away"),
        (&mut stats.hosts_all_open, "hosts_all_open"),
        (&mut stats.self_connects, "self_connects"),
    ] {
        // No scan counts this far, and sums of two still fit.
        *count = record.number(name).and_then(|count| {
            if count < 1 << 53 {
                Ok(count)
            } else {
                Err(format!("{name:?} is too large"))
            }
        })?;
    }
    if stats.retries > stats.attempts {
        return Err("its counts do not add up".into());
    }
    stats.outages = record.number("outages")?;
    stats.peak_in_flight = record.number("peak_in_flight")?;
    stats.lowest_cap = record.number("lowest_cap")?;
    let pair = |pair: &Value| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?));
    stats.rtt = Histogram::from_buckets(
        &record
            .list("rtt_buckets")
            .filter_map(pair)
            .collect::<Vec<_>>(),
    );
    stats.missed = Missed {
        expected: record.real("missed_estimate")?,
        high: record.real("missed_high")?,
    };
    stats.all_open = record
        .texts("all_open")
        .into_iter()
        .map(|ip| endpoint(ip, 0))
        .collect::<Result<_>>()?;
    Ok(Summary {
        stats,
        elapsed: Time::from_us(record.number("elapsed_us")?),
        ended: record.since("timestamp", started_at)?,
        exit: named(&Exit::ALL, Exit::as_str, record.text("exit")?)?,
        stopped: None,
        cap,
        cap_set_by: named(&SetBy::ALL, SetBy::as_str, record.text("cap_set_by")?)?,
        peak_sockets: record.number("peak_sockets")?,
        sockets_opened: record.number("sockets_opened")?,
        tcp_memory_growth_bytes: record.maybe("tcp_memory_growth_bytes")?,
        turns: record.number("turns")?,
        events: record.number("events")?,
        late: Histogram::default(),
        profile: None,
        stale_events: record.number("stale_events")?,
        local_error: record.text("local_error").ok().map(printable),
        local: None,
        open_everywhere: Vec::new(),
        hosts_in_doubt: 0,
        notices: record.part("notices").and_then(notices).unwrap_or_default(),
    })
}
