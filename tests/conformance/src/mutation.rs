//! Good frames with something changed, and what may be said of them.

use serde_json::{Value, json};

use crate::frame::framed;
use crate::random::Random;

/// A frame in which something was changed.
#[derive(Debug, Clone)]
pub struct Mutated {
    /// What is sent.
    pub octets: Vec<u8>,
    /// The body of its echo, if it is certainly still a frame, and an echo.
    pub echo: Option<Vec<u8>>,
}

/// Requests as they should be.
fn good(random: &mut Random) -> (Value, Vec<u8>) {
    let len = random.below(40);
    let id = random.number() as u32;
    let body = random.octets(len);
    let name = *random.choose(&["one.txt", "two.bin", "stats.json", "../x"]);
    match random.below(12) {
        0 => (json!({"op": "info", "id": id}), Vec::new()),
        1 => (
            json!({"op": "exec", "id": id, "timeout_ms": 60_000}),
            b"help".to_vec(),
        ),
        2 => (json!({"op": "exec", "id": id}), b"led status".to_vec()),
        3 => (json!({"op": "fly", "x": [{"y": -1.5e3}, null]}), body),
        4 => (
            json!({"op": "echo", "filename": "测😀.txt", "id": id}),
            body,
        ),
        5 => (
            json!({"op": "get", "id": id, "filename": name, "offset": 3}),
            Vec::new(),
        ),
        6 => (
            json!({"op": "stat", "id": id, "filename": name}),
            Vec::new(),
        ),
        7 => (json!({"op": "list", "id": id}), Vec::new()),
        8 => (
            json!({"op": "put", "id": id, "filename": name, "overwrite": true}),
            body,
        ),
        _ => (json!({"op": "echo", "id": id}), body),
    }
}

/// One of many ways to change a frame.
pub fn mutated(random: &mut Random) -> Mutated {
    let (mut header, mut body) = good(random);
    // Two of three leave it a frame: what is behind it is then looked at as well.
    if random.percent(66) {
        body = random.octets(body.len());
        header["op"] = "echo".into();
        header["x"] = text(random).into();
        header["total_size"] = body.len().into();
        return Mutated {
            octets: framed(header.to_string().as_bytes(), &body),
            echo: Some(body),
        };
    }
    header["total_size"] = body.len().into();
    let mut octets = framed(header.to_string().as_bytes(), &body);
    for _ in 0..=random.below(3) {
        change(&mut octets, random);
    }
    Mutated { octets, echo: None }
}

/// A string of up to 20 characters of all kinds.
fn text(random: &mut Random) -> String {
    let bounds = [0x80, 0x800, 0x1_0000, 0x11_0000];
    let count = random.below(20);
    let characters = (0..count).map(|_| {
        let bound = *random.choose(&bounds);
        char::from_u32(random.below(bound) as u32).unwrap_or('\u{fffd}')
    });
    characters.collect()
}

fn change(octets: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(octets.len().max(1));
    match random.below(7) {
        _ if octets.is_empty() => octets.push(random.number() as u8),
        // A bit of any octet.
        0 => octets[at] ^= 1 << random.below(8),
        // Any octet.
        1 => octets[at] = random.number() as u8,
        // Cut short.
        2 => octets.truncate(at),
        // A part of it again.
        3 => {
            let end = at + random.below(octets.len() - at + 1);
            let again = octets[at..end].to_vec();
            octets.splice(at..at, again);
        }
        // Something in between.
        4 => {
            let len = random.below(8);
            let between = random.octets(len);
            octets.splice(at..at, between);
        }
        // A part of it less.
        5 => {
            let end = at + random.below(octets.len() - at + 1).min(8);
            octets.drain(at..end);
        }
        // Another length.
        _ => length(octets, random),
    }
}

fn length(octets: &mut [u8], random: &mut Random) {
    let lengths = [
        0,
        1,
        -1,
        2,
        i32::MIN,
        i32::MAX,
        255,
        256,
        65_536,
        4096,
        4097,
        512,
        513,
    ];
    if let Some(prefix) = octets.first_chunk_mut()
        && random.percent(50)
    {
        let known = i32::from_le_bytes(*prefix);
        let near = known.wrapping_add(random.below(9) as i32 - 4);
        let far = *random.choose(&lengths);
        *prefix = random.choose(&[near, far]).to_le_bytes();
        return;
    }
    // A digit of the header: most of them are those of `total_size` and `id`.
    let digits: Vec<usize> = (0..octets.len())
        .filter(|at| octets[*at].is_ascii_digit())
        .collect();
    if !digits.is_empty() {
        octets[*random.choose(&digits)] = b'0' + random.below(10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same() {
        let first: Vec<_> = {
            let mut random = Random::new(7);
            (0..100).map(|_| mutated(&mut random).octets).collect()
        };
        let mut random = Random::new(7);
        for octets in first {
            assert_eq!(mutated(&mut random).octets, octets);
        }
    }
}
