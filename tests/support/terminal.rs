//! A pseudo-terminal with a command on it: what the command draws, what is typed, which mode the
//! terminal is in.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use super::command::wait;

/// Its two sides.
pub struct Terminal {
    /// The side of the program that draws it.
    pub screen: File,
    name: PathBuf,
}

impl Terminal {
    pub fn new() -> Self {
        let mut options = File::options();
        let screen = options.read(true).write(true).open("/dev/ptmx");
        let screen = screen.expect("a terminal");
        let fd = screen.as_raw_fd();
        let mut number: libc::c_uint = 0;
        let locked: libc::c_int = 0;
        // SAFETY: the requests read and write an int each, which outlives the calls.
        unsafe {
            assert_eq!(libc::ioctl(fd, libc::TIOCSPTLCK, &locked), 0);
            assert_eq!(libc::ioctl(fd, libc::TIOCGPTN, &mut number), 0);
        }
        let name = format!("/dev/pts/{number}").into();
        Terminal { screen, name }
    }

    /// One of this size.
    pub fn of_size(columns: u16, rows: u16) -> Self {
        let terminal = Terminal::new();
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the request reads the struct, which outlives the call.
        let set = unsafe { libc::ioctl(terminal.screen.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(set, 0);
        terminal
    }

    /// All that a command draws, and its exit code.
    pub fn drawn(mut self, command: Command) -> (String, Option<i32>) {
        let mut child = self.spawn(command);
        let mut text = Vec::new();
        // The end is an error: nobody has the other side any more.
        let _ = self.screen.read_to_end(&mut text);
        let code = wait(&mut child);
        (String::from_utf8(text).expect("UTF-8"), code)
    }

    /// The other side. As long as one is open, its mode stays.
    pub fn open(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        options.open(&self.name).expect("the terminal")
    }

    /// Begins a command as the first of a session on this terminal.
    pub fn spawn(&self, mut command: Command) -> Child {
        command
            .stdin(self.open())
            .stdout(self.open())
            .stderr(self.open());
        // SAFETY: both system calls are async-signal-safe, and nothing else happens before exec.
        unsafe { command.pre_exec(|| own_terminal(0)) };
        command.spawn().expect("it runs")
    }
}

/// Makes this process the first of a session with this terminal.
fn own_terminal(fd: i32) -> std::io::Result<()> {
    // SAFETY: the calls take plain numbers.
    match unsafe { libc::setsid() != -1 && libc::ioctl(fd, libc::TIOCSCTTY, 0) == 0 } {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}
