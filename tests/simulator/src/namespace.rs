//! A network namespace for one test, by plain system calls: nothing has to be installed.
//!
//! The test runs itself again in a child process, because a process with threads (and a test
//! harness has them) cannot enter a user namespace. Inside, nothing but the loopback device exists,
//! so nothing can reach any real network.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const MARK: &str = "PORTREEVE_TEST_IN_NAMESPACE";

/// Runs `body` in a namespace of its own. `test` must be the test's full name. Where the kernel
/// refuses namespaces, or the body [`skip`]s, the test says loudly that it was skipped; with
/// PORTREEVE_MUST_NOT_SKIP set (as in CI) that is a failure.
pub fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().expect("this test's file"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .stdin(Stdio::null());
    // SAFETY: `enter` makes system calls only and allocates nothing, as is required between fork
    // and exec.
    unsafe { command.pre_exec(enter) };
    let why = match command.output() {
        Ok(output) if output.status.code() == Some(SKIPPED) => {
            String::from_utf8_lossy(&output.stderr).trim().to_owned()
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            // Exact names that are mistyped run no test and succeed.
            assert!(
                text.contains("1 passed") || !output.status.success(),
                "{test} is not the test's name: {text}"
            );
            assert!(
                output.status.success(),
                "{test} in its namespace:\n{text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            return;
        }
        Err(error) => format!("the kernel gives no network namespace: {error}"),
    };
    assert!(
        std::env::var_os("PORTREEVE_MUST_NOT_SKIP").is_none(),
        "{test} was skipped: {why}"
    );
    // Not eprintln!, which the harness swallows where a test passes.
    let _ = writeln!(io::stderr(), "\n*** SKIPPED {test}: {why} ***\n");
}

/// Ends a test inside its namespace that lacks something it cannot make.
pub fn skip(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "{why}");
    std::process::exit(SKIPPED)
}

/// The exit code for it (as automake has it).
const SKIPPED: i32 = 77;

/// Enters a new network namespace, with a user namespace where that is needed for it, and sets the
/// loopback device up.
pub fn enter() -> io::Result<()> {
    // SAFETY: plain system calls with constants and pointers to values that live as long as the
    // call.
    unsafe {
        let uid = libc::getuid();
        let gid = libc::getgid();
        if libc::unshare(libc::CLONE_NEWNET) != 0 {
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
            write_file(c"/proc/self/setgroups", b"deny")?;
            map_to_root(c"/proc/self/uid_map", uid)?;
            map_to_root(c"/proc/self/gid_map", gid)?;
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(socket)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = check(libc::ioctl(socket, libc::SIOCSIFFLAGS, &request));
        libc::close(socket);
        result
    }
}

/// `0 <id> 1`, without allocating.
fn map_to_root(path: &std::ffi::CStr, id: u32) -> io::Result<()> {
    let mut text = [0u8; 24];
    let mut room = &mut text[..];
    write!(room, "0 {id} 1")?;
    let length = 24 - room.len();
    write_file(path, &text[..length])
}

fn write_file(path: &std::ffi::CStr, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the path is a C string and the bytes are as long as is said.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        let result = check(libc::write(file, bytes.as_ptr().cast(), bytes.len()) as i32);
        libc::close(file);
        result
    }
}

pub fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
