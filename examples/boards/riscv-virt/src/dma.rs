//! The memory that the network controller shares with the program.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Two queues with two pages each. The queues are short, and use few of these octets: virtio-drivers gives out pages, and
/// an older controller counts in them (Virtual I/O Device Version 1.2, 2.7.2).
const PAGES: usize = 4;

/// Aligned as pages are.
#[repr(align(4096))]
struct Pool(MaybeUninit<[[u8; PAGE_SIZE]; PAGES]>);

#[unsafe(link_section = ".queues")]
static mut POOL: Pool = Pool(MaybeUninit::uninit());

/// No memory: the address tells.
const FAILED: (PhysAddr, NonNull<u8>) = (0, NonNull::dangling());

/// How many pages have been given away.
static GIVEN: AtomicUsize = AtomicUsize::new(0);

/// Memory for the controller's queues, and addresses as the controller knows them: the program's own.
#[derive(Debug)]
pub(crate) struct Memory;

// SAFETY: a page is given out once, of a static that is accessed nowhere else, aligned and zeroed.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = GIVEN.fetch_add(pages, Ordering::Relaxed);
        if first.saturating_add(pages) > PAGES {
            return FAILED;
        }
        // SAFETY: within the pool, in a part of it that is given out for the first time.
        let memory = unsafe { (&raw mut POOL.0).cast::<[u8; PAGE_SIZE]>().add(first) };
        // SAFETY: as above; its content is not initialized at the start.
        unsafe { memory.write_bytes(0, pages) };
        match NonNull::new(memory) {
            Some(pointer) => (memory as PhysAddr, pointer.cast()),
            None => FAILED,
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // The controller may have it still: it is not given out again.
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, _: usize) -> NonNull<u8> {
        // Asked for on a PCI bus only.
        NonNull::new(at as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(octets: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        octets.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
