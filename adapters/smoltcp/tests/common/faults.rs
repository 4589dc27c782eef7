//! A wire that loses, corrupts, repeats and reorders frames.

use smoltcp::time::Duration;
use unstick_smoltcp::Settings;

use super::Pair;

/// What is wrong with the wire, in percent; the longest frame, 0 for any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub drop: u8,
    pub corrupt: u8,
    pub reorder: u32,
    pub duplicate: u32,
    pub max_size: usize,
}

pub const WIRES: [Faults; 6] = [
    Faults {
        drop: 20,
        corrupt: 0,
        reorder: 0,
        duplicate: 0,
        max_size: 0,
    },
    Faults {
        drop: 0,
        corrupt: 10,
        reorder: 0,
        duplicate: 0,
        max_size: 0,
    },
    Faults {
        drop: 0,
        corrupt: 0,
        reorder: 30,
        duplicate: 0,
        max_size: 0,
    },
    Faults {
        drop: 0,
        corrupt: 0,
        reorder: 10,
        duplicate: 20,
        max_size: 0,
    },
    Faults {
        drop: 10,
        corrupt: 5,
        reorder: 20,
        duplicate: 10,
        max_size: 0,
    },
    // Nothing is too long that is never sent longer: the sockets' buffers are shorter than a frame.
    Faults {
        drop: 5,
        corrupt: 0,
        reorder: 0,
        duplicate: 0,
        max_size: 600,
    },
];

/// Two stacks on such a wire.
pub fn pair<const TCP: usize, const SOCKETS: usize>(
    faults: Faults,
    seed: u32,
) -> Pair<TCP, SOCKETS> {
    let buffer = if faults.max_size > 0 { 512 } else { 4096 };
    // A handshake and a goodbye may take a while on such a wire: each end loses so many frames, of both directions, and
    // smoltcp waits up to two minutes before it sends one again.
    let settings = Settings {
        handshake: Duration::from_secs(1_000),
        close: Duration::from_secs(3_000),
        connect: Duration::from_secs(3_000),
        ..Settings::default()
    };
    let mut pair = Pair::with_clients(settings, buffer, seed);
    for nic in [pair.server.device_mut(), pair.client.device_mut()] {
        nic.set_drop_chance(faults.drop);
        nic.set_corrupt_chance(faults.corrupt);
        nic.set_max_packet_size(faults.max_size);
    }
    pair.reorder.set(faults.reorder);
    pair.duplicate.set(faults.duplicate);
    pair
}
