//! Options that are not typed: from the environment, a file and presets. All of them become words
//! of the command line, so that every value is checked, explained and kept in the same way. Typed
//! options win over the environment, and that wins over the file; within each, an option wins over
//! the preset (`-T`) that implies it. Where they are read is in `sources`.

mod sources;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Id, Parser};

use super::args::Args;
use super::exit::Failure;
use super::foreign;
use sources::{file_settings, variables};

/// The presets `-T0` to `-T5`. Those below 3 are gentle, those above are impatient.
pub const PRESETS: [&[(&str, &str)]; 6] = [
    &[("max-rate", "1"), ("max-fds", "1")],
    &[("max-rate", "10"), ("max-fds", "10")],
    &[("max-rate", "100"), ("max-fds", "100")],
    &[],
    &[("max-timeout", "1250ms"), ("max-retries", "6")],
    &[
        ("min-timeout", "50ms"),
        ("max-timeout", "300ms"),
        ("max-retries", "2"),
    ],
];

/// Options that can only be typed.
const TYPED_ONLY: [&str; 6] = ["config", "dry-run", "explain", "help", "version", "reason"];

/// The only command, beside a scan, that settings apply to.
const SUBCOMMAND: &str = "experiment";

/// An option and its values, from a file or a variable.
struct Setting {
    key: String,
    values: Vec<String>,
    /// Where it was set, for people.
    place: String,
}

/// The parsed command line, and the words that mean the same without any settings.
pub struct Typed {
    pub args: Args,
    pub words: Vec<OsString>,
    /// The options that count and were not typed.
    pub added: Vec<Added>,
}

/// Options, as words, that came from one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Added {
    pub place: String,
    pub words: Vec<OsString>,
}

/// Why a command line is refused.
pub enum Refusal {
    /// A usage error, or the text of `--help`.
    Clap(clap::Error),
    /// A setting cannot be used.
    Setting(Failure),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Refusal::Clap(error)
    }
}

/// Parses the words, of which the first is the program's name, and adds the settings.
pub fn parse(
    words: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Typed, Refusal> {
    let words = foreign::translated(words).map_err(Refusal::Setting)?;
    let mut root = Args::command();
    let matches = root.try_get_matches_from_mut(&words)?;
    let (command, typed, at) = match (matches.subcommand(), root.find_subcommand(SUBCOMMAND)) {
        (None, _) => (&root, &matches, 1),
        (Some((SUBCOMMAND, typed)), Some(command)) => (command, typed, 2),
        _ => {
            return Ok(Typed {
                args: Args::from_arg_matches(&matches)?,
                words,
                added: Vec::new(),
            });
        }
    };
    let mut layers = Layers {
        root: &root,
        command,
        given: given(command, typed),
        added: Vec::new(),
    };
    layers
        .preset(typed.get_one::<u8>("timing").copied())
        .map_err(Refusal::Setting)?;
    layers
        .add(variables(command, environment))
        .map_err(Refusal::Setting)?;
    let file = typed
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| environment("PORTREEVE_CONFIG").map(PathBuf::from));
    layers
        .add(file_settings(file, environment).map_err(Refusal::Setting)?)
        .map_err(Refusal::Setting)?;
    let added = layers.added;
    if added.is_empty() {
        return Ok(Typed {
            args: Args::from_arg_matches(&matches)?,
            words,
            added,
        });
    }
    let mut all = words;
    all.splice(at..at, added.iter().flat_map(|added| added.words.clone()));
    let together = root.clone().try_get_matches_from(&all).map_err(|error| {
        let what = first_line(&error);
        Refusal::Setting(Failure::Usage(format!(
            "{what}; one of them comes from the settings (the file, the environment or a preset)"
        )))
    })?;
    Ok(Typed {
        args: Args::from_arg_matches(&together)?,
        words: all,
        added,
    })
}

/// Parses the words kept in a checkpoint, which include all settings.
pub fn parse_kept(words: Vec<OsString>) -> Result<Typed, clap::Error> {
    let args = Args::try_parse_from(&words)?;
    Ok(Typed {
        args,
        words,
        added: Vec::new(),
    })
}

/// The error's first line, without the usage.
fn first_line(error: &clap::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .into()
}

/// The options that were typed.
fn given(command: &Command, matches: &ArgMatches) -> HashSet<Id> {
    let is_typed = |id: &Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    command
        .get_arguments()
        .map(Arg::get_id)
        .filter(|id| is_typed(id))
        .cloned()
        .collect()
}

/// The options set so far.
struct Layers<'a> {
    root: &'a Command,
    command: &'a Command,
    given: HashSet<Id>,
    added: Vec<Added>,
}

impl Layers<'_> {
    /// Adds the settings of one place, except those that are set already or conflict with what is
    /// set; then adds what their preset implies.
    fn add(&mut self, settings: Vec<Setting>) -> Result<(), Failure> {
        let mut given = Vec::new();
        let mut preset = None;
        for setting in settings {
            let wrong = |what: String| Failure::Usage(format!("{}: {what}", setting.place));
            if find(self.root, &setting.key).is_none() {
                return Err(wrong(unknown(self.root, &setting.key)));
            }
            // An experiment knows only some of a scan's options.
            let Some(arg) = find(self.command, &setting.key).filter(|arg| !self.is_settled(arg))
            else {
                continue;
            };
            let words = spelled(arg, &setting).map_err(wrong)?;
            // Parsed alone, so that an error can name its place.
            let alone = self
                .command
                .clone()
                .no_binary_name(true)
                .try_get_matches_from(&words);
            if let Err(error) = &alone
                && !matches!(
                    error.kind(),
                    clap::error::ErrorKind::MissingRequiredArgument
                )
            {
                return Err(wrong(first_line(error)));
            }
            if setting.key == "timing" {
                preset = alone
                    .ok()
                    .and_then(|matches| matches.get_one::<u8>("timing").copied());
            }
            given.push(arg.get_id().clone());
            self.take(setting.place, words);
        }
        self.given.extend(given);
        self.preset(preset)
    }

    /// Adds words of this place, if there are any: an option that is off has none.
    fn take(&mut self, place: String, words: Vec<OsString>) {
        match self.added.last_mut() {
            _ if words.is_empty() => {}
            Some(last) if last.place == place => last.words.extend(words),
            _ => self.added.push(Added { place, words }),
        }
    }

    /// Adds what a preset implies.
    fn preset(&mut self, number: Option<u8>) -> Result<(), Failure> {
        let Some(number) = number else { return Ok(()) };
        let setting = |&(key, value): &(&str, &str)| Setting {
            key: key.into(),
            values: vec![value.into()],
            place: format!("the preset -T{number}"),
        };
        self.add(PRESETS[usize::from(number)].iter().map(setting).collect())
    }

    /// Whether an option is set, or one that it conflicts with.
    fn is_settled(&self, arg: &Arg) -> bool {
        let conflicts = |arg: &Arg| {
            self.command
                .get_arg_conflicts_with(arg)
                .into_iter()
                .map(Arg::get_id)
                .cloned()
                .collect::<Vec<_>>()
        };
        let excluded = || {
            self.command
                .get_arguments()
                .filter(|other| self.given.contains(other.get_id()))
                .flat_map(conflicts)
        };
        self.given.contains(arg.get_id())
            || conflicts(arg).iter().any(|id| self.given.contains(id))
            || excluded().any(|id| id == *arg.get_id())
    }
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| !TYPED_ONLY.contains(&key) && arg.get_long() == Some(key))
}

/// The error for an unknown key, with the option that may be meant.
fn unknown(command: &Command, key: &str) -> String {
    let keys = || command.get_arguments().filter_map(Arg::get_long);
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let near = keys()
        .find(|other| plain(other) == plain(key))
        .or_else(|| keys().find(|other| plain(other).contains(&plain(key))));
    match near {
        _ if TYPED_ONLY.contains(&key) => format!("{key:?} can only be typed; leave it out"),
        Some(near) => format!("{key:?} is no option; {near:?} is one"),
        None => format!(
            "{key:?} is no option; the keys are those of `portreeve --help`, without the two hyphens"
        ),
    }
}

/// The words that spell a setting.
fn spelled(arg: &Arg, setting: &Setting) -> Result<Vec<OsString>, String> {
    let key = &setting.key;
    if arg.get_action().takes_values() {
        return Ok(setting
            .values
            .iter()
            .map(|value| format!("--{key}={value}").into())
            .collect());
    }
    let [value] = setting.values.as_slice() else {
        return Err(format!("{key:?} is yes or no; write {key} = true"));
    };
    match (value.as_str(), value.parse::<u8>()) {
        ("true", _) => Ok(vec![format!("--{key}").into()]),
        ("false", _) => Ok(Vec::new()),
        // For example verbose = 2.
        (_, Ok(times)) if matches!(arg.get_action(), clap::ArgAction::Count) => {
            Ok(vec![format!("--{key}").into(); times.into()])
        }
        _ => Err(format!("{key:?} cannot be {value:?}; write true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that result from these words, this file and these variables.
    fn words(typed: &str, file: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("portreeve")).expect("a folder");
        std::fs::write(folder.path().join("portreeve/config.toml"), file).expect("a file");
        let environment = |name: &str| match name {
            "XDG_CONFIG_HOME" => Some(folder.path().into()),
            name => variables
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, value)| value.into()),
        };
        match parse(typed.split(' ').map(OsString::from).collect(), &environment) {
            Ok(typed) => Ok(typed
                .words
                .iter()
                .skip(1)
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")),
            Err(Refusal::Setting(failure)) => Err(failure
                .to_string()
                .replace(&folder.path().display().to_string(), "")),
            Err(Refusal::Clap(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn what_is_typed_comes_before_the_environment_and_that_before_the_file() {
        let file = "max-rate = 1\nmax-fds = 2\nmax-retries = 3\nbanner = true\nexclude = [\"10.0.0.1\", \"10.0.0.2\"]\n";
        let variables = [
            ("PORTREEVE_MAX_RATE", "10"),
            ("PORTREEVE_MAX_FDS", "20"),
            ("PORTREEVE_PORT", "tcp://10.0.0.1:80"),
        ];
        assert_eq!(
            words("x --max-rate 100 ::1", file, &variables).as_deref(),
            Ok(
                "--max-fds=20 --banner --exclude=10.0.0.1 --exclude=10.0.0.2 --max-retries=3 --max-rate 100 ::1"
            )
        );
        // The file does not turn on what a variable turned off.
        assert_eq!(
            words("x ::1", "banner = true", &[("PORTREEVE_BANNER", "false")]).as_deref(),
            Ok("::1")
        );
        assert_eq!(
            words("x -- ::1", "verbose = 2", &[]).as_deref(),
            Ok("--verbose --verbose -- ::1")
        );
        assert_eq!(
            words("x --config none ::1", "rubbish", &[]).as_deref(),
            Ok("--config none ::1")
        );
    }

    #[test]
    fn a_file_is_read_whatever_system_wrote_it() {
        for file in [
            "\u{feff}max-fds = 2\nbanner = true\n",
            "# ours\r\nmax-fds = 2\r\nbanner = true\r\n",
            "# ours\rmax-fds = 2\rbanner = true\r",
        ] {
            assert_eq!(
                words("x ::1", file, &[]).as_deref(),
                Ok("--banner --max-fds=2 ::1")
            );
        }
        let wide = words("x ::1", "m\0a\0", &[]).expect_err("UTF-16");
        assert!(wide.contains("this is UTF-16"), "{wide}");
    }

    #[test]
    fn what_does_not_go_with_what_is_typed_is_left_out() {
        assert_eq!(
            words("x -F ::1", "ports = 80\nmax-timeout = \"1s\"", &[]).as_deref(),
            Ok("--max-timeout=1s -F ::1")
        );
        assert_eq!(
            words("x --timeout 1s ::1", "max-timeout = \"2s\"", &[]).as_deref(),
            Ok("--timeout 1s ::1")
        );
        assert_eq!(
            words("x --max-timeout 1s ::1", "timeout = \"2s\"", &[]).as_deref(),
            Ok("--max-timeout 1s ::1")
        );
    }

    #[test]
    fn a_preset_comes_behind_the_options_of_its_place() {
        assert_eq!(
            words("x -T4 --max-retries 1 ::1", "max-timeout = \"9s\"", &[]).as_deref(),
            Ok("--max-timeout=1250ms -T4 --max-retries 1 ::1")
        );
        assert_eq!(
            words("x ::1", "timing = 2\nmax-rate = 7", &[]).as_deref(),
            Ok("--max-rate=7 --timing=2 --max-fds=100 ::1")
        );
        assert_eq!(
            words("x -T3 ::1", "timing = 0", &[]).as_deref(),
            Ok("-T3 ::1")
        );
        for (number, options) in PRESETS.iter().enumerate() {
            let result = words(&format!("x -T{number} ::1"), "", &[]).expect("each can be used");
            assert!(
                options
                    .iter()
                    .all(|(key, value)| result.contains(&format!("--{key}={value}"))),
                "{result}"
            );
        }
    }

    #[test]
    fn what_is_added_is_known_with_its_place() {
        let environment = |name: &str| match name {
            "PORTREEVE_MAX_RATE" => Some("7".into()),
            "PORTREEVE_BANNER" => Some("false".into()),
            "PORTREEVE_TIMING" => Some("2".into()),
            _ => None,
        };
        let typed = "x -T4 ::1".split(' ').map(OsString::from).collect();
        let Ok(typed) = parse(typed, &environment) else {
            panic!("it can be used");
        };
        let added = |place: &str, words: &str| Added {
            place: place.into(),
            words: words.split(' ').map(OsString::from).collect(),
        };
        assert_eq!(
            typed.added,
            [
                added("the preset -T4", "--max-timeout=1250ms --max-retries=6"),
                added("the variable PORTREEVE_MAX_RATE", "--max-rate=7"),
            ]
        );
    }

    #[test]
    fn an_experiment_takes_what_it_knows() {
        assert_eq!(
            words(
                "x experiment --repeat 1",
                "list-open = \"x\"\nmax-rate = 7",
                &[]
            )
            .as_deref(),
            Ok("experiment --max-rate=7 --repeat 1")
        );
        assert_eq!(words("x limits", "rubbish", &[]).as_deref(), Ok("limits"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (file, variables, place, what) in [
            (
                "max_rate = 1",
                [].as_slice(),
                "/portreeve/config.toml",
                "\"max-rate\" is one",
            ),
            (
                "colour = 1",
                &[],
                "/portreeve/config.toml",
                "\"colour\" is no option",
            ),
            (
                "sweep = 1",
                &[],
                "/portreeve/config.toml",
                "\"sweep\" is no option",
            ),
            (
                "config = \"x\"",
                &[],
                "/portreeve/config.toml",
                "can only be typed",
            ),
            (
                "max-rate = 0",
                &[],
                "/portreeve/config.toml",
                "\"0\" is no rate",
            ),
            (
                "banner = 3",
                &[],
                "/portreeve/config.toml",
                "write true or false",
            ),
            (
                "max-rate = { a = 1 }",
                &[],
                "/portreeve/config.toml",
                "cannot be that",
            ),
            ("max-rate 1", &[], "/portreeve/config.toml", "line 1"),
            (
                "",
                &[("PORTREEVE_MAX_RATE", "x")],
                "the variable PORTREEVE_MAX_RATE",
                "\"x\" is no rate",
            ),
            (
                "",
                &[("PORTREEVE_CONFIG", "/nowhere/x.toml")],
                "/nowhere/x.toml",
                "--config none",
            ),
        ] {
            let error = words("x ::1", file, variables).expect_err("it is wrong");
            assert!(
                error.starts_with(place) && error.contains(what),
                "{file}: {error}"
            );
        }
    }
}
