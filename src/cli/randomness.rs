//! Random keys for the standard library's maps, drawn before anything else. It knows nothing of
//! what they are for.

use std::hash::RandomState;
use std::panic;

use super::exit::Failure;
use super::fail;

/// Draws this thread's keys, which last as long as it does. The standard library panics where the
/// kernel gives none (getrandom(2): EAGAIN, ENOMEM); here that ends the process with a sentence.
pub fn draw_keys() {
    panic::set_hook(Box::new(|_| {
        std::process::exit(fail(&Failure::NoRandomness) as i32);
    }));
    let _ = RandomState::new();
    drop(panic::take_hook());
}
