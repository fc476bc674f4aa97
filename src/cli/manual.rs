//! Texts generated from the definitions of the flags: manual pages, the version.

use std::io::{self, Write};

use clap::CommandFactory;
use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::Args;
use super::exit::{Code, Failure};
use super::print;

/// Prints the manual page of a command, or of the whole program.
pub fn page(command: Option<&str>) -> Result<Code, Failure> {
    let mut all = Args::command();
    // This names a command's page after both: portreeve-experiment.
    all.build();
    let page = command
        .and_then(|name| all.find_subcommand(name))
        .unwrap_or(&all)
        .clone();
    let notes = page.get_after_help().map(ToString::to_string);
    print(|out| {
        Man::new(page.after_help(Resettable::Reset)).render(out)?;
        notes.map_or(Ok(()), |notes| write_notes(&notes, out))
    })
}

/// Writes what stands behind the options: as sections, paragraphs and lists, where clap_mangen has
/// lines that run into each other. A line with a colon at its end begins a section; a line that is
/// indented is an item, its name before two spaces.
fn write_notes(notes: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["NOTES"]);
    let mut is_item = false;
    for line in notes.lines() {
        let was_item = std::mem::replace(&mut is_item, line.starts_with("  "));
        let item = line.trim_start().split_once("  ").filter(|_| is_item);
        if let Some((name, what)) = item {
            roff.control("TP", []);
            roff.text([bold(name)]);
            roff.text([roman(what.trim_start())]);
        } else if let Some(title) = line.strip_suffix(':') {
            roff.control("SH", [title.to_uppercase().as_str()]);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            if was_item {
                roff.control("PP", []);
            }
            roff.text([roman(line)]);
        }
    }
    roff.to_writer(out)
}

/// Prints the name and the version, as `--version` does.
pub fn version() -> Result<Code, Failure> {
    print(|out| write!(out, "{}", Args::command().render_version()))
}
