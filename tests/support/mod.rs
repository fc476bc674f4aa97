//! What several tests need: a network namespace of their own, a network in it, the command, its
//! JSON.
#![allow(dead_code)] // each test file uses its part

pub mod command;
pub mod drawn;
pub mod namespace;
pub mod network;
pub mod town;
pub mod virtual_time;
