//! Many names looked up side by side: a resolver may take half a minute for each that it does not
//! know. The threads end before a scan begins, unless the user does not want to wait for them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{StopHandle, fdlimit, resolve};
use crate::scan::ASSUMED_NOFILE;

/// More names at once are more than small resolvers bear.
const MOST_AT_ONCE: u64 = 32;
/// A lookup holds a socket and perhaps a file. Where it gets none, the resolver says that the name
/// is not known.
const FDS_A_LOOKUP: u64 = 4;
/// getaddrinfo(3) keeps its answers on the heap.
const STACK_BYTES: usize = 256 * 1024;

/// A stop is looked after this often.
const STOP_CHECKED: Duration = Duration::from_millis(100);

/// What the system knows of each name.
pub type Lookups = HashMap<String, io::Result<Vec<SocketAddr>>>;

type Queue = Arc<Mutex<std::vec::IntoIter<String>>>;
type Answer = (String, io::Result<Vec<SocketAddr>>);

/// Looks up all names, many at once, [as the system does it](fn@resolve). `told` learns how many
/// are done. Names that have no answer when it is stopped are left out; the threads that wait for
/// one are left to themselves.
pub fn resolve_all(names: Vec<String>, stop: &StopHandle, told: &mut dyn FnMut(usize)) -> Lookups {
    let count = names.len();
    let queue = Arc::new(Mutex::new(names.into_iter()));
    let answers = begin(&queue, most_at_once().min(count));
    let mut lookups = Lookups::with_capacity(count);
    while !stop.is_stopped() {
        match answers.recv_timeout(STOP_CHECKED) {
            Ok((name, found)) => {
                lookups.insert(name, found);
                told(lookups.len());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // What no thread could be had for.
    while let Some(name) = next(&queue).filter(|_| !stop.is_stopped()) {
        let found = resolve(&name);
        lookups.insert(name, found);
        told(lookups.len());
    }
    lookups
}

/// How many names may be looked up at once with the descriptors that are left.
fn most_at_once() -> usize {
    let limits = fdlimit::limits(None);
    let nofile = limits.nofile.unwrap_or(ASSUMED_NOFILE);
    let left = nofile.saturating_sub(limits.already_open);
    (left / FDS_A_LOOKUP).clamp(1, MOST_AT_ONCE) as usize
}

/// Begins as many threads as the system allows. The answers end with the last of them.
fn begin(queue: &Queue, threads: usize) -> Receiver<Answer> {
    let (answer, answers) = channel();
    for _ in 0..threads {
        let (queue, answer) = (queue.clone(), answer.clone());
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        if builder.spawn(move || work(&queue, &answer)).is_err() {
            break;
        }
    }
    answers
}

fn work(queue: &Queue, answer: &Sender<Answer>) {
    while let Some(name) = next(queue) {
        let found = resolve(&name);
        // Whoever asked may be gone.
        let _ = answer.send((name, found));
    }
}

fn next(queue: &Queue) -> Option<String> {
    let mut names = queue.lock().unwrap_or_else(PoisonError::into_inner);
    names.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_looked_up_once() {
        let names: Vec<String> = (0..100).map(|n| format!("fe80::{n}%lo")).collect();
        let mut done = Vec::new();
        let stop = StopHandle::default();
        let lookups = resolve_all(names.clone(), &stop, &mut |count| done.push(count));
        assert!(done.into_iter().eq(1..=100));
        let is_right = |name: &String| lookups[name].as_ref().is_ok_and(|all| all.len() == 1);
        assert!(names.iter().all(is_right));
        assert!(resolve_all(Vec::new(), &stop, &mut |_| {}).is_empty());
        stop.stop();
        assert!(resolve_all(names, &stop, &mut |_| {}).is_empty());
    }
}
