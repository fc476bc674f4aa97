//! nmap's XML, from nmap or from us, as a side of a comparison. Hosts count once they are whole: a
//! file may be cut off anywhere. It knows elements; what they mean for a comparison, `side` does.

use std::io::BufRead;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

use super::bounded::Bounded;
use super::side::{Host, Listed, Presence, Side, Verdict};
use crate::plan::{PortSet, Services};
use crate::report::printable;
use crate::report::read::endpoint;
use crate::report::records::ReadError;
use crate::scan::{Reason, State};

type Result<T> = std::result::Result<T, String>;

pub(super) fn read(name: &str, from: impl BufRead) -> std::result::Result<Side, ReadError> {
    let mut reader = Reader::from_reader(Bounded::new(from));
    let name = printable(name);
    let mut reading = Reading::new(&name);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().begin();
        let taken = match reader.read_event_into(&mut buffer) {
            Ok(Event::Eof) => break,
            Ok(Event::Start(element)) => reading.enter(&element),
            Ok(Event::Empty(element)) => reading
                .enter(&element)
                .and_then(|()| reading.leave(element.name().into_inner())),
            Ok(Event::End(element)) => reading.leave(element.name().into_inner()),
            Ok(_) => Ok(()),
            Err(Error::Syntax(_) | Error::IllFormed(_)) if reader.get_mut().is_at_end() => break,
            Err(error) => Err(error.to_string()),
        };
        taken.map_err(|what| ReadError::Xml {
            name: name.clone(),
            at: reader.buffer_position(),
            what: printable(&what),
        })?;
    }
    if !reading.has_begun {
        return Err(ReadError::Untold { name });
    }
    reading.side.hosts.values_mut().for_each(Host::sort);
    Ok(reading.side)
}

/// What was read so far.
struct Reading {
    side: Side,
    has_begun: bool,
    /// Whether ports of other protocols are counted among those that are not listed.
    has_other_protocols: bool,
    /// The host whose elements these are, with its address once that was told.
    host: Option<(Option<SocketAddr>, Host)>,
    /// The state of ports that are counted, and how many have no reason yet.
    counted: Option<(State, u32)>,
    port: Option<Listed>,
}

impl Reading {
    fn new(name: &str) -> Self {
        let mut side = Side::new(name.into());
        side.lack = Some(format!(
            "{name} has no end: its scan was broken off, and what it does not tell is not known"
        ));
        Reading {
            side,
            has_begun: false,
            has_other_protocols: false,
            host: None,
            counted: None,
            port: None,
        }
    }

    fn enter(&mut self, element: &BytesStart) -> Result<()> {
        let name = element.name().into_inner();
        if !self.has_begun && name != "nmaprun" {
            return Err(format!("the first element is {name:.80?}, not nmaprun"));
        }
        match (name, &mut self.host) {
            ("nmaprun", _) => self.begin(element)?,
            ("scaninfo", _) => self.plan(element)?,
            ("host", _) => self.host = Some((None, Host::default())),
            ("finished", None) => self.end(element)?,
            (_, Some((address, host))) => match name {
                "status" => host.status = status(element)?,
                "address" if attribute(element, "addrtype")?.as_deref() != Some("mac") => {
                    *address = Some(endpoint(&required(element, "addr")?, 0)?);
                }
                "hostname" if host.name.is_none() => {
                    host.name = attribute(element, "name")?.map(String::into_boxed_str);
                }
                "ports" => drop(host.rest.get_or_insert_default()),
                "extraports" => {
                    let count = number(element, "count")?;
                    self.counted = Some((state_of(&required(element, "state")?), count));
                }
                "extrareasons" => self.count_reason(element)?,
                "port" => self.port = port(element)?,
                "state" => self.verdict(element)?,
                "script" => self.banner(element)?,
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self, name: &str) -> Result<()> {
        match (name, &mut self.host) {
            ("extraports", Some((_, host))) => {
                if let Some((state, count)) = self.counted.take().filter(|&(_, count)| count > 0) {
                    let verdict = Verdict {
                        state,
                        reason: None,
                    };
                    host.rest.get_or_insert_default().push((verdict, count));
                }
            }
            ("port", Some((_, host))) => host.listed.extend(self.port.take()),
            ("host", _) => self.host_is_whole(),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, element: &BytesStart) -> Result<()> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Err("a second scan begins here".into());
        }
        self.side.started_at = attribute(element, "start")?
            .and_then(|seconds| seconds.parse::<u32>().ok())
            .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()));
        let arguments = attribute(element, "args")?;
        self.side.targets = arguments.as_deref().and_then(targets_of);
        Ok(())
    }

    fn plan(&mut self, element: &BytesStart) -> Result<()> {
        if required(element, "protocol")? != "tcp" {
            self.has_other_protocols = true;
            return Ok(());
        }
        let services = required(element, "services")?;
        self.side.ports = match services.as_str() {
            "" => PortSet::none(),
            ports => PortSet::parse(ports, &Services::default()).map_err(|it| it.to_string())?,
        };
        Ok(())
    }

    fn count_reason(&mut self, element: &BytesStart) -> Result<()> {
        let (Some((state, left)), Some((_, host))) = (&mut self.counted, &mut self.host) else {
            return Ok(());
        };
        let count = number::<u32>(element, "count")?.min(*left);
        *left -= count;
        let is_other = attribute(element, "proto")?.is_some_and(|protocol| protocol != "tcp");
        if count > 0 && !is_other {
            let verdict = verdict(*state, &required(element, "reason")?);
            host.rest.get_or_insert_default().push((verdict, count));
        }
        Ok(())
    }

    fn verdict(&mut self, element: &BytesStart) -> Result<()> {
        if let Some(port) = &mut self.port {
            let state = state_of(&required(element, "state")?);
            port.verdict = verdict(state, &attribute(element, "reason")?.unwrap_or_default());
        }
        Ok(())
    }

    fn banner(&mut self, element: &BytesStart) -> Result<()> {
        if let Some(port) = &mut self.port
            && attribute(element, "id")?.as_deref() == Some("banner")
        {
            let said = attribute(element, "output")?;
            port.banner = said.map(|said| printable(&said).into_boxed_str());
        }
        Ok(())
    }

    /// Adds the host. A large one may come in parts.
    fn host_is_whole(&mut self) {
        let Some((Some(address), host)) = self.host.take() else {
            return;
        };
        let has_other_protocols = self.has_other_protocols;
        let whole = self.side.host(address);
        whole.name = whole.name.take().or(host.name);
        whole.status = host.status.or(whole.status);
        whole.listed.extend(host.listed);
        if let Some(rest) = host.rest.filter(|_| !has_other_protocols) {
            whole.rest.get_or_insert_default().extend(rest);
        }
    }

    fn end(&mut self, element: &BytesStart) -> Result<()> {
        let is_error = attribute(element, "exit")?.is_some_and(|exit| exit != "success");
        self.side.is_complete = !is_error;
        let why = attribute(element, "errormsg")?.unwrap_or_default();
        let name = &self.side.name;
        self.side.lack =
            is_error.then(|| format!("{name} is of a scan that failed: {}", printable(&why)));
        Ok(())
    }
}

fn attribute(element: &BytesStart, name: &str) -> Result<Option<String>> {
    let found = element
        .try_get_attribute(name)
        .map_err(|error| error.to_string())?;
    let value = found.map(|found| found.normalized_value(XmlVersion::Implicit1_0));
    let value = value.transpose().map_err(|error| error.to_string())?;
    Ok(value.map(|value| value.into_owned()))
}

fn required(element: &BytesStart, name: &str) -> Result<String> {
    let owner = element.name().into_inner();
    attribute(element, name)?.ok_or_else(|| format!("{owner:.80} has no {name}"))
}

fn number<T: std::str::FromStr>(element: &BytesStart, name: &str) -> Result<T> {
    let text = required(element, name)?;
    text.parse()
        .map_err(|_| format!("{name} is no such number: {text:.80?}"))
}

fn port(element: &BytesStart) -> Result<Option<Listed>> {
    let is_tcp = required(element, "protocol")? == "tcp";
    let port = Listed {
        port: number(element, "portid")?,
        verdict: verdict(State::Unscanned, ""),
        banner: None,
    };
    Ok(Some(port).filter(|_| is_tcp))
}

/// What the report says of a host. `user-set` is only what its user says (-Pn).
fn status(element: &BytesStart) -> Result<Option<Presence>> {
    let is_told = attribute(element, "reason")?.as_deref() != Some("user-set");
    Ok(match required(element, "state")?.as_str() {
        "up" if is_told => Some(Presence::Up),
        "down" => Some(Presence::Silent),
        _ => None,
    })
}

/// Words such as `open|filtered` say that it is not known.
fn state_of(word: &str) -> State {
    let known = State::ALL.into_iter().find(|state| state.as_str() == word);
    known.unwrap_or(State::Unscanned)
}

/// A state with its reason, where that is one of ours.
fn verdict(state: State, word: &str) -> Verdict {
    let is_it = |reason: &Reason| reason.as_str() == word && reason.state() == state;
    let reason = Reason::ALL.into_iter().find(is_it);
    Verdict { state, reason }
}

/// What stands for a scan's targets: its command line without its ports and its reports. `None` if
/// the targets are in files.
fn targets_of(arguments: &str) -> Option<String> {
    const FILES: [&str; 6] = [
        "-iL",
        "-iR",
        "--input-file",
        "--exclude-file",
        "--excludefile",
        "--resume",
    ];
    let mut words = arguments.split_whitespace().skip(1);
    let mut kept = vec!["arguments"];
    while let Some(word) = words.next() {
        if FILES.iter().any(|file| word.starts_with(file)) {
            return None;
        }
        if matches!(word, "-oX" | "-oN" | "-oG" | "-oA" | "-oS" | "-p") {
            words.next();
        } else if !word.starts_with("-p") && word != "-F" {
            kept.push(word);
        }
    }
    Some(kept.join(" "))
}
