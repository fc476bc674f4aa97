//! Whether this process can have more memory. Where it cannot, an allocation that fails ends the
//! process at once, in the middle of a report: so it is asked before. It knows nothing of what the
//! memory is for.

/// Whether this many more bytes are to be had just now. None of them is touched. The allocator is
/// not asked: what it gets back it keeps, up to the largest size that it was ever asked for.
pub(super) fn is_room_for(bytes: usize) -> bool {
    // SAFETY: a new mapping at a place of the kernel's choice touches no other, and nothing keeps
    // a pointer into it when it is removed.
    unsafe {
        let room = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        room != libc::MAP_FAILED && libc::munmap(room, bytes) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_little_and_not_for_everything() {
        assert!(is_room_for(1 << 20) && !is_room_for(isize::MAX as usize));
    }
}
