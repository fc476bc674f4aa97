//! What several tests need beside the simulator: the command with its JSON, and scans in virtual
//! time.
#![allow(dead_code)] // each test file uses its part

pub mod command;
pub mod virtual_time;
