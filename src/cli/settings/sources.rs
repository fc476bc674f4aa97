//! Where settings are read from: environment variables and a file. What they mean for the command
//! line is not known here.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use portreeve::lines;
use toml::Value;

use super::{Setting, TYPED_ONLY};
use crate::cli::exit::Failure;
use crate::cli::tell;

/// A file of this length is no settings file.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

/// The settings from environment variables: `PORTREEVE_MAX_RATE` for `--max-rate`. Others with this
/// prefix are ignored: Kubernetes sets some for every service.
pub(super) fn variables(
    command: &Command,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<Setting> {
    let keys = command
        .get_arguments()
        .filter_map(Arg::get_long)
        .filter(|key| !TYPED_ONLY.contains(key));
    let setting = |key: &str| {
        let place = format!("PORTREEVE_{}", key.replace('-', "_").to_uppercase());
        let value = environment(&place).filter(|value| !value.is_empty())?;
        Some(Setting {
            key: key.into(),
            values: vec![value.to_string_lossy().into_owned()],
            place: format!("the variable {place}"),
        })
    };
    keys.filter_map(setting).collect()
}

/// The settings from a file: the one that is named, or the one at its usual place if it exists. If
/// nobody named it and it cannot be opened, as in another user's home, it is left out.
pub(super) fn file_settings(
    named: Option<PathBuf>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<Setting>, Failure> {
    let is_named = named.is_some();
    let Some(path) = named
        .or_else(|| usual_file(environment))
        .filter(|path| path.as_os_str() != "none")
    else {
        return Ok(Vec::new());
    };
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let unread = |error: io::Error| {
        wrong(format!(
            "the settings cannot be read: {error}; --config none does without them"
        ))
    };
    let file = match open_settings(&path, is_named) {
        Err(error) if !is_named => {
            let is_missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
            if !is_missing {
                let path = path.display();
                tell(&format!(
                    "warning: the settings in {path} are left out: {error}"
                ));
            }
            return Ok(Vec::new());
        }
        opened => opened.map_err(unread)?,
    };
    let text = settings_text(file).map_err(unread)?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(error.to_string().trim_end().into()))?;
    let setting = |(key, value): (String, Value)| {
        let place = path.display().to_string();
        let values = match value {
            Value::Array(values) => values
                .into_iter()
                .map(plain)
                .collect::<Option<Vec<String>>>(),
            value => plain(value).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| {
            wrong(format!(
                "{key:?} cannot be that; write text in quotes, a number, true, or a list of these"
            ))
        })?;
        Ok(Setting { key, values, place })
    };
    table.into_iter().map(setting).collect()
}

/// The usual place (XDG Base Directory Specification).
fn usual_file(environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        environment(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let settings = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(settings.join("portreeve/config.toml"))
}

/// A file that is named may be a pipe. One that is not must be a file: a pipe might never end.
fn open_settings(path: &Path, is_named: bool) -> io::Result<File> {
    if is_named || path.metadata()?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

fn settings_text(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // A longer file is no settings file, and may be endless.
    match file.take(LONGEST_FILE_BYTES).read_to_end(&mut bytes)? as u64 {
        LONGEST_FILE_BYTES => Err(io::Error::other("there is more than 1 MiB of them")),
        _ => lines::text(&bytes).map_err(io::Error::other),
    }
}

fn plain(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is_so) => Some(is_so.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
