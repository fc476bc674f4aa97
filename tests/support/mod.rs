//! What several tests need beside the simulator: the command with its JSON, a terminal with the
//! command on it, scans in virtual time, and tables that are kept in files.
#![allow(dead_code)] // each test file uses its part

pub mod blessed;
pub mod command;
#[cfg(target_os = "linux")]
pub mod terminal;
pub mod virtual_time;
