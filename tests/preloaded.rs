//! The command under a preloaded library that answers connect() itself: as those do that send a
//! program's connections through a proxy, or as systems do whose sockets serve only once. The
//! libraries are built here, with the C compiler.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::command::{end_record, json_lines, portreeve, run};

/// It waits for its own connection, and puts that under the caller's number, without the flags that
/// the caller has set.
const HOOK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

typedef int connecting(int, const struct sockaddr *, socklen_t);

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    connecting *real = (connecting *)dlsym(RTLD_NEXT, "connect");
    int type = 0;
    socklen_t size = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    if (to->sa_family != AF_INET || type != SOCK_STREAM)
        return real(fd, to, length);
    int other = socket(AF_INET, SOCK_STREAM, 0);
    int failed = real(other, to, length), error = errno;
    if (!failed)
        dup2(other, fd);
    close(other);
    errno = error;
    return failed;
}
"#;

/// A socket that was refused and has told so fails from then on, with the error `AGAIN`.
const SINGLE_USE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>

static char is_refused[65536];

int socket(int domain, int type, int protocol) {
    int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    int fd = real(domain, type, protocol);
    if (fd >= 0)
        is_refused[fd] = 0;
    return fd;
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    if (is_refused[fd]) {
        errno = AGAIN;
        return -1;
    }
    int failed = real(fd, to, length);
    is_refused[fd] = failed && errno == ECONNREFUSED;
    return failed;
}
"#;

/// The machine sleeps for an hour, some time after it was first asked how long it has been on.
const SLEEP: &str = r#"
#define _GNU_SOURCE
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int asked;
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_BOOTTIME && ++asked > 20)
        time->tv_sec += 3600;
    return failed;
}
"#;

/// Builds a library; `None`, loudly, without a C compiler.
fn built(folder: &Path, text: &str, define: &str) -> Option<PathBuf> {
    let source = folder.join("hook.c");
    std::fs::write(&source, text).expect("written");
    let library = folder.join("hook.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", define, "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    let is_built = built.is_ok_and(|status| status.success());
    if !is_built {
        let what = "SKIPPED: cc builds no preloaded library here";
        assert!(
            std::env::var_os("PORTREEVE_MUST_NOT_SKIP").is_none(),
            "{what}"
        );
        // Not eprintln!, which the harness swallows where a test passes.
        let _ = writeln!(std::io::stderr(), "\n*** {what} ***\n");
    }
    is_built.then_some(library)
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_that_a_library_makes_is_open_and_the_library_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = built(folder.path(), HOOK, "-DHOOK") else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    // It says something, and stays.
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"hello").expect("said");
        let _ = std::io::Read::read(&mut stream, &mut [0]);
    });
    let mut command = portreeve(&format!("127.0.0.1 -p 1,{port} --json --banner --show all"));
    command.env("LD_PRELOAD", library);
    let ran = run(command);
    server.join().expect("served");
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let end = end_record(&ran.stdout);
    assert_eq!((&end["open"], &end["closed"]), (&1.into(), &1.into()));
    let error = end["local_error"].as_str().expect("told");
    assert!(error.contains("preloaded library"), "{error}");
    let lines = json_lines(&ran.stdout);
    assert!(
        lines.iter().any(|line| line["banner"] == "hello"),
        "{}",
        ran.stdout
    );
}

#[test]
#[cfg(target_os = "linux")]
fn where_sockets_serve_once_each_attempt_has_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    for error in [
        "ECONNABORTED",
        "ECONNREFUSED",
        "EINVAL",
        "EISCONN",
        "EALREADY",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let define = format!("-DAGAIN={error}");
        let Some(library) = built(folder.path(), SINGLE_USE, &define) else {
            return;
        };
        let mut command = portreeve(&format!("127.0.0.1 -p 1-2000,{port} --json --seed 1"));
        command.env("LD_PRELOAD", library);
        let ran = run(command);
        assert_eq!(ran.code, Some(0), "{error}: {}{}", ran.stdout, ran.stderr);
        let end = end_record(&ran.stdout);
        assert_eq!(
            (&end["open"], &end["own_errors"], &end["exit"]),
            (&1.into(), &serde_json::json!({}), &"complete".into()),
            "{error}: {end}"
        );
        assert!(end["sockets_opened"].as_u64() >= Some(2_000), "{end}");
        let told = end["local_error"].as_str().expect("told");
        assert!(told.contains("cannot be used twice"), "{told}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn findings_after_the_machine_has_slept_have_their_own_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = built(folder.path(), SLEEP, "-DSLEEP") else {
        return;
    };
    let mut command = portreeve("127.0.0.1 -p 1-300 --max-rate 500 --json --show all");
    command.env("LD_PRELOAD", library);
    let ran = run(command);
    let end = end_record(&ran.stdout);
    let at = |record: &serde_json::Value| {
        let text = record["timestamp"].as_str().expect("a time").to_owned();
        text.parse::<jiff::Timestamp>().expect("a time").as_second()
    };
    let lines = json_lines(&ran.stdout);
    let since = |record| at(record) - at(&lines[0]);
    assert!(since(&lines[1]) < 3_600, "{}", lines[1]);
    let last = lines.iter().rfind(|line| line["type"] == "finding");
    let last = last.expect("a finding");
    assert!(since(last) >= 3_600 && since(&end) >= 3_600, "{last} {end}");
    assert!(end["elapsed_us"].as_u64() < Some(60_000_000), "{end}");
}
