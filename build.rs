//! With the feature `usdt`, lays the program out so that a byte's address is its place in the file:
//! perf (6.1, at least) takes the one for the other when it sets a trap at a probe, and a program
//! with a trap in the middle of some instruction crashes.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_USDT").is_some()
        && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux")
    {
        // LLD, Rust's linker on x86-64, has this option; GNU ld lays programs out like that anyway
        // and only warns.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,separate-loadable-segments");
    }
}
