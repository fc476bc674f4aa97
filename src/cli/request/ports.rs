//! Which ports: from flags to sets. Typed ports are parsed at once; files of ports are read when
//! the plan is built.

use std::path::{Path, PathBuf};

use portreeve::plan::{PlanBuilder, PortSet, Services};

use super::lists;
use crate::cli::args::ScanArgs;
use crate::cli::exit::Failure;

/// What shows that somebody is there where no neighbour table tells. Any answer does, so most hosts
/// show on the first port; these are for those behind a firewall, which lets through what it is
/// there for: the web (80, 443, 8080), administration (22, 3389), mail, names and Windows' files.
/// Each port more is two attempts more at each address without a host.
const ALIVE: [u16; 8] = [22, 25, 53, 80, 443, 445, 3389, 8080];

/// The ports to be scanned, and those to be left out.
pub struct PortsRequest {
    chosen: Option<Written>,
    top: Option<usize>,
    excluded: Option<Written>,
    services: Services,
}

/// Ports as they were written.
enum Written {
    Here(PortSet),
    /// `@FILE`
    File(PathBuf),
}

impl PortsRequest {
    pub fn new(args: &ScanArgs, services: &Services) -> Result<Self, Failure> {
        let written = |flag: &str, text: &Option<String>| {
            let parsed = |text: &String| match text.strip_prefix('@') {
                Some(file) => Ok(Written::File(file.into())),
                None => PortSet::parse(text, services)
                    .map(Written::Here)
                    .map_err(|error| Failure::Usage(format!("{flag} {text}: {error}"))),
            };
            text.as_ref().map(parsed).transpose()
        };
        let alive = || {
            args.alive
                .then(|| Written::Here(ALIVE.into_iter().collect()))
        };
        Ok(PortsRequest {
            chosen: written("-p", &args.ports)?.or_else(alive),
            top: if args.fast { Some(100) } else { args.top_ports },
            excluded: written("--exclude-ports", &args.exclude_ports)?,
            services: services.clone(),
        })
    }

    /// The files that are read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let written = self.chosen.iter().chain(&self.excluded);
        written.filter_map(|written| match written {
            Written::File(path) => Some(path.as_path()),
            Written::Here(_) => None,
        })
    }

    /// Reads the files and adds the ports.
    pub fn add_to(&self, builder: PlanBuilder) -> Result<PlanBuilder, Failure> {
        let read = |written: &Option<Written>| {
            let read = |written: &Written| match written {
                Written::Here(ports) => Ok(ports.clone()),
                Written::File(path) => lists::read_ports(path, &self.services),
            };
            written.as_ref().map(read).transpose()
        };
        let excluded = read(&self.excluded)?.unwrap_or_else(PortSet::none);
        let chosen = match self.top {
            Some(count) => Some(
                PortSet::top(count, &excluded)
                    .map_err(|error| Failure::Usage(error.to_string()))?,
            ),
            None => read(&self.chosen)?,
        };
        let builder = match chosen {
            Some(ports) => builder.ports(ports),
            None => builder,
        };
        Ok(builder.exclude_ports(excluded))
    }
}
