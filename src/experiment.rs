//! Runs the same scan repeatedly under different settings, to show what a setting does: the runs
//! differ in nothing else. Runs take turns, so that whatever else the machine does affects all
//! settings alike. It opens no socket and reads no clock; the engine measures.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use crate::engine::{self, CpuTime, Error, LoopbackTestbed, Options, Scanner, StopHandle};
use crate::plan::Plan;
use crate::report::experiment::{Run, Runs, Setting};
use crate::report::{Begin, Progress, Sink};
use crate::scan::{Finding, Rate};

/// The settings to vary, and their values.
#[derive(Debug)]
pub struct Experiment<'a> {
    /// What is scanned.
    pub plan: Plan,
    /// How it is scanned, apart from what is varied.
    pub options: Options,
    /// A knob with its values each. Two of them form a grid.
    pub sweeps: Vec<Vec<Setting>>,
    /// How often each setting runs.
    pub rounds: u32,
    /// Descriptors that something else takes as soon as a run has begun.
    pub occupied_fds: u32,
    /// The target, if it is a testbed on this machine.
    pub testbed: Option<&'a LoopbackTestbed>,
    /// Stops the experiment.
    pub stop: StopHandle,
}

impl Experiment<'_> {
    /// The combinations of settings to try.
    pub fn cells(&self) -> Vec<Vec<Setting>> {
        let none = vec![Vec::new()];
        self.sweeps.iter().fold(none, |cells, sweep| {
            let with = |cell: &Vec<Setting>| {
                sweep
                    .iter()
                    .map(|&setting| [&cell[..], &[setting]].concat())
                    .collect::<Vec<_>>()
            };
            cells.iter().flat_map(with).collect()
        })
    }

    /// Runs the experiment, after one run of the last setting that does not count. `begins` is
    /// called before each run with its number, from 1, and its settings. If the experiment is
    /// stopped, the runs that ended are returned.
    ///
    /// # Errors
    /// Whatever makes a scan fail, see [`Error`].
    pub fn run(&self, begins: &mut dyn FnMut(u32, &[Setting])) -> Result<Runs, Error> {
        let cells = self.cells();
        let mut runs = Runs::default();
        if let Some(last) = cells.last() {
            self.run_once(last, 0)?;
        }
        for round in 1..=self.rounds {
            for cell in &cells {
                begins(runs.0.len() as u32 + 1, cell);
                let run = self.run_once(cell, round)?;
                if self.stop.is_stopped() {
                    return Ok(runs);
                }
                runs.0.push(run);
            }
        }
        Ok(runs)
    }

    fn run_once(&self, settings: &[Setting], round: u32) -> Result<Run, Error> {
        let mut options = self.options.clone();
        settings
            .iter()
            .for_each(|&setting| apply(setting, &mut options));
        let mut scanner = Scanner::new(self.plan.clone(), options)?;
        scanner.stop_with(&self.stop);
        let mut watch = Watch {
            experiment: self,
            occupied: Vec::new(),
            resident_bytes: engine::resident_bytes(),
            verdicts: 0,
        };
        let before = engine::cpu_time();
        let summary = scanner.run(&mut watch)?;
        let after = engine::cpu_time();
        if let Some(testbed) = self.testbed {
            testbed.drain();
        }
        let us = |of: fn(&CpuTime) -> std::time::Duration| {
            of(&after).saturating_sub(of(&before)).as_micros() as u64
        };
        Ok(Run {
            settings: settings.to_vec(),
            round,
            summary,
            user_us: us(|time| time.user),
            system_us: us(|time| time.system),
            resident_bytes: watch.resident_bytes,
            verdicts: watch.verdicts,
        })
    }
}

/// Sets a knob.
fn apply(setting: Setting, options: &mut Options) {
    let settings = &mut options.settings;
    match setting {
        Setting::MaxFds(count) => options.max_fds = Some(count),
        Setting::MaxRate(per_s) => {
            settings.rate = per_s.map(|per_s| Rate {
                per_s,
                routed_only: false,
            });
        }
        Setting::Timeout(us) => settings.timeouts.fixed_us = Some(us),
        Setting::MaxRetries(count) => settings.max_retries = count,
        Setting::FreshSockets(is_fresh) => options.fresh_sockets = is_fresh,
        Setting::Controller(controller) => settings.controller = controller,
    }
}

/// Observes what a run finds and uses.
struct Watch<'a> {
    experiment: &'a Experiment<'a>,
    occupied: Vec<File>,
    resident_bytes: Option<u64>,
    verdicts: u64,
}

impl Sink for Watch<'_> {
    /// The scanner has read the limits; now something else takes what it believes to be free.
    fn begin(&mut self, _begin: &Begin) -> io::Result<()> {
        let files = std::iter::from_fn(|| File::open("/dev/null").ok());
        self.occupied = files.take(self.experiment.occupied_fds as usize).collect();
        Ok(())
    }

    /// A sum does not depend on the order, but it changes if two verdicts are swapped.
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        (finding.endpoint, finding.state()).hash(&mut hasher);
        self.verdicts = self.verdicts.wrapping_add(hasher.finish());
        Ok(())
    }

    fn progress(&mut self, _progress: &Progress) -> io::Result<()> {
        self.resident_bytes = self.resident_bytes.max(engine::resident_bytes());
        if let Some(testbed) = self.experiment.testbed {
            testbed.drain();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PortSet, Target};

    fn experiment(sweeps: Vec<Vec<Setting>>, ports: PortSet) -> Experiment<'static> {
        let plan = Plan::builder()
            .target(Target::parse("127.0.0.1").unwrap())
            .ports(ports)
            .build(&mut engine::resolve)
            .unwrap();
        let options = Options::default();
        let stop = StopHandle::default();
        Experiment {
            plan,
            options,
            sweeps,
            rounds: 2,
            occupied_fds: 0,
            testbed: None,
            stop,
        }
    }

    #[test]
    fn two_sweeps_are_a_grid_and_rounds_take_turns() {
        let experiment = experiment(
            vec![
                [1, 8].map(Setting::MaxFds).into(),
                [false, true].map(Setting::FreshSockets).into(),
            ],
            (1..=50).collect(),
        );
        let mut begun = Vec::new();
        let runs = experiment
            .run(&mut |number, settings| begun.push((number, settings.to_vec())))
            .unwrap();
        let order: Vec<_> = runs
            .0
            .iter()
            .map(|run| (run.round, run.settings.clone()))
            .collect();
        let cells = [(1, false), (1, true), (8, false), (8, true)]
            .map(|(fds, is_fresh)| vec![Setting::MaxFds(fds), Setting::FreshSockets(is_fresh)]);
        assert_eq!(
            order,
            [1, 2]
                .into_iter()
                .flat_map(|round| cells.clone().map(|cell| (round, cell)))
                .collect::<Vec<_>>()
        );
        assert_eq!(
            begun.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
            (1..=8).collect::<Vec<_>>()
        );
        assert!(runs.agree());
        for run in &runs.0 {
            assert_eq!(run.settings[0], Setting::MaxFds(run.summary.cap));
            assert_eq!(run.summary.stats.settled(), 50);
        }
        let opened = |index: usize| runs.0[index].summary.sockets_opened;
        assert!(
            !cfg!(target_os = "linux") || (opened(2) <= 8 && opened(3) >= 50),
            "{} {}",
            opened(2),
            opened(3)
        );
    }

    #[test]
    fn another_verdict_on_the_same_count_is_another_verdict() {
        let listener = |port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let one = listener(0);
        let other = listener(0);
        let ports = [
            one.local_addr().unwrap().port(),
            other.local_addr().unwrap().port(),
        ];
        let run = |ports: [u16; 2]| {
            experiment(vec![vec![Setting::MaxFds(8)]], ports.into_iter().collect())
                .run(&mut |_, _| {})
                .unwrap()
                .0[0]
                .verdicts
        };
        drop(other);
        let first = run(ports);
        assert_eq!(first, run(ports));
        drop(one);
        let other = listener(ports[1]);
        assert_ne!(first, run(ports));
        drop(other);
    }

    #[test]
    fn a_stop_keeps_what_is_done() {
        let sweep = [4, 8].map(Setting::MaxFds).into();
        let experiment = experiment(vec![sweep], (1..=50).collect());
        let stop = experiment.stop.clone();
        let runs = experiment
            .run(&mut |number, _| {
                if number == 3 {
                    stop.stop()
                }
            })
            .unwrap();
        assert_eq!(runs.0.len(), 2);
    }
}
