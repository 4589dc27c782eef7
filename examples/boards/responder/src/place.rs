//! Filling memory of a fixed place.
//!
//! Neither function is inlined: on its way to its place what is made is on the call stack, which is needed for it only then.

use heapless::Vec;
use static_cell::{ConstStaticCell, StaticCell};

/// What `make` makes, in its memory.
///
/// # Panics
/// If it is there already.
#[inline(never)]
pub fn made<T>(memory: &'static StaticCell<T>, make: impl FnOnce() -> T) -> &'static mut T {
    memory.init_with(make)
}

/// All the places there are, each made by `place`.
///
/// # Panics
/// If they are there already.
#[inline(never)]
pub fn filled<T, const N: usize>(
    memory: &'static ConstStaticCell<Vec<T, N>>,
    place: impl Fn() -> T,
) -> &'static mut [T] {
    let places = memory.take();
    while !places.is_full() {
        let _ = places.push(place());
    }
    places
}
