//! Nothing is allocated per probe: ten times the probes, the same number of allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use portreeve::engine::{Options, Scanner};
use portreeve::plan::{Plan, PortSet, Target};
use portreeve::scan::Finding;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory that it
// hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of_a_scan(ports: PortSet, fresh_sockets: bool) -> u64 {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1").expect("an address"))
        .ports(ports);
    let plan = plan
        .build(&mut |_| unreachable!("no names"))
        .expect("a plan");
    let mut scanner = Scanner::new(
        plan,
        Options {
            fresh_sockets,
            ..Options::default()
        },
    )
    .expect("a scanner");
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    scanner.run(&mut |_: &Finding| {}).expect("a scan");
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn ten_times_the_probes_allocate_no_more() {
    for fresh_sockets in [false, true] {
        let few = allocations_of_a_scan((1..=3_000).collect(), fresh_sockets);
        let many = allocations_of_a_scan((1..=30_000).collect(), fresh_sockets);
        // The kernel's memory account is read ten times a second, at a few allocations each.
        assert!(
            many < few + 300,
            "{few} allocations for 3,000 ports, {many} for 30,000 (fresh sockets: {fresh_sockets})"
        );
    }
}
