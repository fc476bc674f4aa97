//! Reads single keys from the terminal without waiting. While this lives, the terminal passes keys
//! on one by one; afterwards it is as before.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// The terminal in its key-by-key mode.
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Begins to listen, if all three standard streams are a terminal (otherwise a pager may need
    /// the keys) and this process is in its foreground.
    pub fn listen(wanted: bool) -> Option<Self> {
        let all_terminals =
            io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
        if !wanted || !all_terminals || !in_foreground() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let keys = Keys { before };
        keys.set_mode();
        Some(keys)
    }

    /// Makes the terminal pass keys on one by one, without echo. Ctrl-C and Ctrl-Z keep their
    /// meaning.
    fn set_mode(&self) {
        let mut mode = self.before.clone();
        mode.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        // A terminal that refuses the mode passes keys on at the end of a line.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &mode);
    }

    /// The keys pressed since the last call, at most 64.
    pub fn pressed(&mut self) -> Vec<u8> {
        // The kernel stops a background process that reads its terminal.
        if !in_foreground() {
            return Vec::new();
        }
        // After Ctrl-Z and fg the shell has set its own mode.
        if tcgetattr(stdin()).is_ok_and(|mode| mode.local_modes.contains(LocalModes::ICANON)) {
            self.set_mode();
        }
        let stdin = stdin();
        let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
        if !matches!(poll(&mut waiting, Some(&Timespec::default())), Ok(1..)) {
            return Vec::new();
        }
        let mut keys = [0; 64];
        let count = rustix::io::read(stdin, &mut keys).unwrap_or(0);
        keys[..count].to_vec()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if in_foreground() {
            // Nothing can be done if the terminal refuses its old mode.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp())
}
