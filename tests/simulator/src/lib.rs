//! Networks for tests and benches: simulated ones, some described by hand and others drawn at
//! random, and a TUN device in a network namespace that puts them in front of real sockets. It does
//! not know portreeve, so that it can judge it.

pub mod drawn;
pub mod lan;
pub mod memory;
pub mod namespace;
pub mod neighbours;
pub mod network;
pub mod peer;
pub mod scenario;
pub mod score;
pub mod tun;
