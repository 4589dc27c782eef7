//! The decoder's laws for any stream and any partition of it.
//!
//! Input: octet 0 chooses header and limit, octet 1 a number of pieces (its low three bits), as many octets say
//! how long the pieces are, the rest is the stream.
#![no_main]

#[path = "../../../core/tests/common/mod.rs"]
mod common;

use common::events::laws_hold;
use libfuzzer_sys::fuzz_target;
use unstick_core::{Reply, Request};

fuzz_target!(|input: &[u8]| {
    let [kind, pieces, rest @ ..] = input else {
        return;
    };
    let Some((lens, stream)) = rest.split_at_checked(usize::from(pieces & 7)) else {
        return;
    };
    let mut lens: Vec<_> = lens.iter().map(|len| 1 + usize::from(*len)).collect();
    lens.push(3);
    match kind & 3 {
        0 => laws_hold::<Request, 256>(256, stream, &lens),
        1 => laws_hold::<Request, 48>(40, stream, &lens),
        2 => laws_hold::<Reply, 256>(256, stream, &lens),
        _ => laws_hold::<Reply, 64>(usize::MAX, stream, &lens),
    }
});
