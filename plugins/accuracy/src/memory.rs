//! The memory of the component: lists of free blocks by powers of two, which are 5 KB less than the allocator of the
//! standard library. A plugin lives for a batch, so nothing is given back to the engine before.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::memory_grow;
use std::cell::UnsafeCell;
use std::ptr::null_mut;

const PAGE: usize = 65_536;
/// The smallest block, and the alignment of all: 2^4.
const SMALLEST: u32 = 4;

/// The free blocks of each power of two, as linked lists, and the free bytes at the end of the memory.
struct Blocks {
    free: [*mut u8; 32],
    start: usize,
    end: usize,
}

pub(crate) struct Memory(UnsafeCell<Blocks>);

impl Memory {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Blocks { free: [null_mut(); 32], start: 0, end: 0 }))
    }
}

// SAFETY: a component has one thread.
unsafe impl Sync for Memory {}

/// The power of two of the block for a layout.
fn class(layout: Layout) -> usize {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST);
    (usize::BITS - (size - 1).leading_zeros()) as usize
}

// SAFETY: a block is 2^class bytes, at least as large and as aligned as its layout, and in one place at a time: in use,
// in the list of its class, or in the bytes between `start` and `end`, which `memory_grow` gave to no one else.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and no call of this is within another.
        let blocks = unsafe { &mut *self.0.get() };
        let class = class(layout);
        let Some(head) = blocks.free.get_mut(class) else { return null_mut() };
        if !head.is_null() {
            let block = *head;
            // SAFETY: a free block holds the address of the next one.
            *head = unsafe { block.cast::<*mut u8>().read() };
            return block;
        }
        let size = 1usize << class;
        let aligned = |start: usize| start.next_multiple_of(layout.align().max(1 << SMALLEST));
        let mut block = aligned(blocks.start);
        if blocks.end.checked_sub(block).is_none_or(|left| left < size) {
            // Pages begin at multiples of any alignment that is asked for.
            let pages = size.div_ceil(PAGE);
            let first = memory_grow::<0>(pages);
            if first == usize::MAX {
                return null_mut();
            }
            // What is left of the last pages is lost, unless the new ones follow.
            if blocks.end != first * PAGE {
                block = first * PAGE;
            }
            blocks.end = (first + pages) * PAGE;
        }
        blocks.start = block + size;
        block as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        let blocks = unsafe { &mut *self.0.get() };
        if let Some(head) = blocks.free.get_mut(class(layout)) {
            // SAFETY: the block is not in use and has room for an address.
            unsafe { block.cast::<*mut u8>().write(*head) };
            *head = block;
        }
    }
}
