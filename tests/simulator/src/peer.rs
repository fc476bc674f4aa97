//! A second machine: a network namespace of its own, joined to the test's by a pair of veth
//! devices. Both ends are real kernels. For use inside a namespace
//! ([`namespace`](crate::namespace)); needs the program `ip`.

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The device on the test's side, and on the other.
pub const OWN_DEVICE: &str = "own0";
/// The device on the peer's side.
pub const PEER_DEVICE: &str = "peer0";

type Work = Box<dyn FnOnce() + Send>;

/// The other machine. It is gone when the test's process ends.
pub struct Peer {
    work: Sender<Work>,
}

impl Peer {
    /// Makes it, with addresses (with their prefix, as `ip address add` takes them) on both sides.
    ///
    /// # Errors
    /// Where namespaces or veth devices cannot be had.
    pub fn joined(own: &[&str], theirs: &[&str]) -> io::Result<Self> {
        let (work, queue) = channel();
        let (say, told) = channel();
        std::thread::spawn(move || live(queue, &say));
        let thread = told.recv().expect("the thread says")?;
        let peer = Peer { work };
        ip(&format!(
            "link add {OWN_DEVICE} type veth peer name {PEER_DEVICE} netns {thread}"
        ))?;
        settle(OWN_DEVICE, own)?;
        let theirs: Vec<String> = theirs.iter().map(ToString::to_string).collect();
        peer.run(move || settle(PEER_DEVICE, &theirs))?;
        Ok(peer)
    }

    /// Runs something there: sockets that it makes and threads and processes that it starts are
    /// that machine's.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, told) = channel();
        let work = move || _ = say.send(work());
        self.work.send(Box::new(work)).expect("it lives");
        told.recv().expect("it answers")
    }
}

/// A thread in a namespace of its own, which does what it is told.
fn live(queue: Receiver<Work>, say: &Sender<io::Result<i32>>) {
    // SAFETY: plain system calls; the new namespace is this thread's alone.
    let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    // SAFETY: it cannot fail.
    let thread = unsafe { libc::gettid() };
    let entered = crate::namespace::check(entered).map(|()| thread);
    say.send(entered).expect("somebody waits");
    queue.into_iter().for_each(|work| work());
}

fn settle<A: AsRef<str>>(device: &str, addresses: &[A]) -> io::Result<()> {
    ip("link set lo up")?;
    ip(&format!("link set {device} up"))?;
    for address in addresses.iter().map(AsRef::as_ref) {
        // Looking for duplicates takes a second, in which an IPv6 address cannot be used.
        let nodad = if address.contains(':') { " nodad" } else { "" };
        ip(&format!("address add {address} dev {device}{nodad}"))?;
    }
    Ok(())
}

/// Runs `ip` with these arguments where the calling thread is.
///
/// # Errors
/// With what it wrote, if it failed.
pub fn ip(arguments: &str) -> io::Result<()> {
    run("ip", arguments)
}

/// Runs a program with these arguments, separated by spaces, where the calling thread is.
///
/// # Errors
/// With what it wrote, if it failed.
pub fn run(program: &str, arguments: &str) -> io::Result<()> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {arguments}: {said}")))
}
