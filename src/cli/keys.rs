//! Reads single keys from the terminal without waiting. While it listens, the terminal passes keys
//! on one by one; whenever it does not (the end, Ctrl-Z, the background), the terminal is as
//! before. One process at a time listens at a terminal. What was typed for others stays theirs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve::engine::ignores;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{
    LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, ttyname,
};
use signal_hook::consts::SIGTSTP;
use signal_hook::{flag, low_level};

/// The keys of a terminal.
pub struct Keys {
    mode: Option<KeyMode>,
    /// Whether keys are still wanted.
    is_wanted: bool,
    suspend: Suspend,
}

impl Keys {
    /// Begins to listen, if all three standard streams are a terminal: otherwise a pager may need
    /// the keys.
    pub fn listen(wanted: bool) -> Option<Self> {
        let all_terminals =
            io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal();
        if !wanted || !all_terminals {
            return None;
        }
        let mut keys = Keys {
            mode: None,
            is_wanted: true,
            suspend: Suspend::new(),
        };
        keys.begin();
        Some(keys)
    }

    fn begin(&mut self) {
        self.mode = KeyMode::begin();
        if self.mode.is_some() && is_key_waiting() {
            // It was typed before anybody could know of us, for whoever reads next.
            self.mode = None;
            self.is_wanted = false;
        }
        self.suspend.is_awaited(self.mode.is_some());
    }

    /// The keys pressed since the last call, at most 64.
    pub fn pressed(&mut self) -> Vec<u8> {
        if self.suspend.is_asked() {
            self.mode = None;
            self.suspend.stop();
        }
        // The kernel stops a background process that reads its terminal.
        if !self.is_wanted || !in_foreground() {
            return Vec::new();
        }
        let Some(mode) = &self.mode else {
            self.begin();
            return Vec::new();
        };
        mode.keep();
        if !is_key_waiting() {
            return Vec::new();
        }
        let mut keys = [0; 64];
        let count = rustix::io::read(stdin(), &mut keys).unwrap_or(0);
        keys[..count].to_vec()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.suspend.is_awaited(false);
    }
}

/// The terminal in its key-by-key mode, for as long as this lives.
struct KeyMode {
    before: Termios,
    /// Locked, if it could be opened.
    _terminal: Option<File>,
}

impl KeyMode {
    /// None in the background, and while another process listens at this terminal.
    fn begin() -> Option<Self> {
        if !in_foreground() {
            return None;
        }
        let terminal = own_terminal();
        let lock = |terminal| flock(terminal, FlockOperation::NonBlockingLockExclusive);
        if terminal.as_ref().map(lock) == Some(Err(Errno::WOULDBLOCK)) {
            return None;
        }
        let mut before = tcgetattr(stdin()).ok()?;
        if !before.local_modes.intersects(KEY_BY_KEY) {
            // Nobody listens, so a process that was killed has left it in this mode.
            before.local_modes.insert(KEY_BY_KEY);
        }
        let mode = KeyMode {
            before,
            _terminal: terminal,
        };
        mode.set();
        Some(mode)
    }

    /// Makes the terminal pass keys on one by one, without echo. Ctrl-C and Ctrl-Z keep their
    /// meaning.
    fn set(&self) {
        let mut mode = self.before.clone();
        mode.local_modes.remove(KEY_BY_KEY);
        // A terminal that refuses the mode passes keys on at the end of a line.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &mode);
    }

    /// After SIGSTOP and fg the shell has set its own mode.
    fn keep(&self) {
        if tcgetattr(stdin()).is_ok_and(|mode| mode.local_modes.contains(LocalModes::ICANON)) {
            self.set();
        }
    }
}

impl Drop for KeyMode {
    fn drop(&mut self) {
        if in_foreground() {
            // Nothing can be done if the terminal refuses its old mode.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        }
    }
}

/// What a terminal does in its usual mode, and not in this one.
const KEY_BY_KEY: LocalModes = LocalModes::ICANON.union(LocalModes::ECHO);

/// The terminal, opened by this process alone: a lock belongs to who opened the file, and the
/// standard streams are the shell's.
fn own_terminal() -> Option<File> {
    let name = ttyname(stdin(), Vec::new()).ok()?;
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
    File::options()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(OsStr::from_bytes(name.as_bytes()))
        .ok()
}

/// Ctrl-Z, which waits for the terminal to be as before.
struct Suspend {
    is_asked: Arc<AtomicBool>,
    is_at_once: Arc<AtomicBool>,
}

impl Suspend {
    fn new() -> Self {
        let suspend = Suspend {
            is_asked: Arc::default(),
            is_at_once: Arc::new(AtomicBool::new(true)),
        };
        if !ignores(SIGTSTP) {
            // Where this fails the terminal is left in its mode, as after SIGSTOP.
            let _ = flag::register_conditional_default(SIGTSTP, suspend.is_at_once.clone());
            let _ = flag::register(SIGTSTP, suspend.is_asked.clone());
        }
        suspend
    }

    /// Whether somebody has to do something before.
    fn is_awaited(&self, is_so: bool) {
        self.is_at_once.store(!is_so, Ordering::Relaxed);
    }

    /// Whether it was asked for since the last call, and is due.
    fn is_asked(&self) -> bool {
        self.is_asked.swap(false, Ordering::Relaxed) && !self.is_at_once.load(Ordering::Relaxed)
    }

    /// Stops this process until it is continued.
    fn stop(&self) {
        let _ = low_level::emulate_default_handler(SIGTSTP);
    }
}

/// Whether somebody has pressed a key, or before, in the usual mode, ended a line.
fn is_key_waiting() -> bool {
    let stdin = stdin();
    let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
    matches!(poll(&mut waiting, Some(&Timespec::default())), Ok(1..))
}

fn in_foreground() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp())
}
