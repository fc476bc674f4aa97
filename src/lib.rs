//! A TCP connect port scanner on one thread: complete, truthful, small, fast, and open to look
//! into.
//!
//! The modules stand in the order in which data flows through them: [`plan`] says what, [`scan`]
//! decides, [`engine`] does, [`report`] tells; [`lines`] reads text files. A scan prints nothing,
//! exits nothing and keeps no global state, so several fit in one process.
//!
//! ```
//! use portreeve::engine::{Options, Scanner, resolve};
//! use portreeve::plan::{Plan, PortSet, Services, Target};
//! use portreeve::scan::State;
//!
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let open = listener.local_addr()?.port();
//!
//! let plan = Plan::builder()
//!     .target(Target::parse("127.0.0.1")?)
//!     .ports(PortSet::parse(&format!("1-100,{open}"), &Services::built_in())?)
//!     .build(&mut resolve)?;
//!
//! let mut found = Vec::new();
//! let mut scanner = Scanner::new(plan, Options::default())?;
//! let summary = scanner.run(&mut |finding: &portreeve::scan::Finding| {
//!     if finding.state() == State::Open {
//!         found.push(finding.endpoint.port());
//!     }
//! })?;
//! assert!(found.contains(&open));
//! assert_eq!(summary.stats.settled(), summary.stats.planned);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Or one finding at a time:
//!
//! ```
//! # use portreeve::{engine::*, plan::*};
//! # let target = Target::parse("127.0.0.1")?;
//! # let ports = [1].into_iter().collect();
//! # let plan = Plan::builder().target(target).ports(ports).build(&mut resolve)?;
//! for finding in Scanner::new(plan, Options::default())? {
//!     let finding = finding?;
//!     let (state, reason) = (finding.state().as_str(), finding.reason.as_str());
//!     println!("{} is {state} ({reason})", finding.endpoint);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Stopped from another thread, a scan says what it did not get to:
//!
//! ```
//! # use portreeve::{engine::*, plan::*, report::Exit, scan::State};
//! # let target = Target::parse("127.0.0.1")?;
//! # let ports = (1..=1000).collect();
//! # let plan = Plan::builder().target(target).ports(ports).build(&mut resolve)?;
//! let mut scanner = Scanner::new(plan, Options::default())?;
//! let handle = scanner.stop_handle();
//! std::thread::spawn(move || handle.stop()).join().expect("the thread ends");
//! let summary = scanner.run(&mut |_: &_| {})?;
//! assert_eq!(summary.exit, Exit::Interrupted);
//! assert_eq!(summary.stats.in_state(State::Unscanned), 1000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A limit that a shell set low is raised with [`engine::raise_descriptor_limit`]; the library does
//! so only when asked, because the limit belongs to the whole process.
#![deny(missing_docs)]

pub mod lines;
pub mod plan;
pub mod scan;

pub mod engine;
pub mod report;

#[cfg(feature = "cli")]
pub mod experiment;

mod trace;
