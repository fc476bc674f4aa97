//! Texts generated from the definitions of the flags: completions for shells, manual pages, the
//! version.

use std::io::Write;

use clap::CommandFactory;

use super::args::Args;
use super::exit::{Code, Failure};
use super::print;

/// Prints the completions for a shell.
pub fn completions(shell: clap_complete::Shell) -> Result<Code, Failure> {
    print(|out| {
        clap_complete::generate(shell, &mut Args::command(), env!("CARGO_PKG_NAME"), out);
        Ok(())
    })
}

/// Prints the manual page of a command, or of the whole program.
pub fn page(command: Option<&str>) -> Result<Code, Failure> {
    let mut all = Args::command();
    // This names a command's page after both: portreeve-experiment.
    all.build();
    let page = command
        .and_then(|name| all.find_subcommand(name))
        .unwrap_or(&all)
        .clone();
    print(|out| clap_mangen::Man::new(page).render(out))
}

/// Prints the name and the version, as `--version` does.
pub fn version() -> Result<Code, Failure> {
    print(|out| write!(out, "{}", Args::command().render_version()))
}
