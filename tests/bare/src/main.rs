//! Links the framing, and nothing else, for a microcontroller: `cargo xtask no-panic`.
//!
//! It is linked, never run: what it does is of no use, but it uses all of the framing, on octets of which the
//! compiler cannot know anything. A header written by hand stands in for one that derives serde's traits.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::ptr;

#[cfg(feature = "length")]
use unstick_core::length::{self, Counts, Endian, Format, Width};
use unstick_core::{Decoder, EncodeError, Event, Header, HeaderError, HeaderErrorKind, encode};

/// A peripheral's register: what is read from it nobody can know, what is written to it somebody sees.
const PORT: *mut u8 = 0x4000_0000 as *mut u8;

fn read() -> u8 {
    // SAFETY: on the boards that this stands for, a device answers at this address, for octets.
    unsafe { ptr::read_volatile(PORT) }
}

fn write(octet: u8) {
    // SAFETY: as in `read`.
    unsafe { ptr::write_volatile(PORT, octet) }
}

#[cfg(feature = "length")]
fn read_number() -> u64 {
    u64::from_le_bytes([(); 8].map(|()| read()))
}

fn write_all(octets: &[u8]) {
    octets.iter().copied().for_each(write);
}

/// `{"total_size":123}` and nothing else.
struct Plain {
    total_size: u64,
}

const BEFORE: &[u8] = b"{\"total_size\":";
const BEHIND: &[u8] = b"}";

impl Header for Plain {
    fn body_len(&self) -> u64 {
        self.total_size
    }

    fn decode(text: &mut [u8], _scratch: &mut [u8]) -> Result<Self, HeaderError> {
        let digits = text
            .strip_prefix(BEFORE)
            .and_then(|rest| rest.strip_suffix(BEHIND))
            .ok_or(HeaderError {
                offset: 0,
                kind: HeaderErrorKind::Key,
            })?;
        let total_size = digits
            .iter()
            .try_fold(0_u64, |number, digit| {
                let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
                number.checked_mul(10)?.checked_add(u64::from(digit))
            })
            .ok_or(HeaderError {
                offset: 0,
                kind: HeaderErrorKind::Number,
            })?;
        Ok(Self { total_size })
    }

    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let digits = decimal(self.total_size);
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        let digits = digits
            .iter()
            .skip(zeros.min(digits.len().saturating_sub(1)));
        let text = BEFORE.iter().chain(digits).chain(BEHIND);
        let mut len = 0_usize;
        let mut out = out.iter_mut();
        for octet in text {
            *out.next().ok_or(EncodeError::BufferTooSmall)? = *octet;
            len = len.saturating_add(1);
        }
        Ok(len)
    }
}

/// 10^19 down to 1.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 19;
    while at > 0 {
        powers[at - 1] = powers[at] * 10;
        at -= 1;
    }
    powers
};

/// The digits of `number`, leading zeros included: by subtraction, since 64-bit division is a kilobyte on a processor that has
/// none.
fn decimal(number: u64) -> [u8; 20] {
    let mut rest = number;
    POWERS.map(|power| {
        let mut digit = b'0';
        while let Some(less) = rest.checked_sub(power) {
            rest = less;
            digit = digit.wrapping_add(1);
        }
        digit
    })
}

/// Answers each frame with its own body, as it comes.
fn frames() {
    let mut decoder = Decoder::<Plain, 64>::new();
    loop {
        let input = [(); 16].map(|()| read());
        let mut input = &input[..];
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Event::Header(header))) => {
                    plant(header.total_size);
                    let mut out = [0; 64];
                    match encode(&header, &mut out) {
                        Ok(len) => out.iter().take(len).copied().for_each(write),
                        Err(_) => return,
                    }
                }
                Ok(Some(Event::Body(octets))) => write_all(octets),
                Ok(Some(Event::End)) => write(u8::from(decoder.finish().is_ok())),
                Ok(None) => break,
                Err(_) => {
                    write(u8::from(decoder.finish().is_err()));
                    return;
                }
            }
        }
    }
}

/// The same with lengths alone, in a format that is not known before either.
#[cfg(feature = "length")]
fn lengths() {
    let width = match read() {
        1 => Width::U8,
        2 => Width::U16,
        3 => Width::U24,
        4 => Width::U32,
        _ => Width::U64,
    };
    let endian = if read() == 0 {
        Endian::Little
    } else {
        Endian::Big
    };
    let counts = if read() == 0 {
        Counts::Body
    } else {
        Counts::Frame
    };
    let format = Format::new(width, endian, counts);
    let format = format.with_max_len(read_number()).unwrap_or(format);
    let mut decoder = length::Decoder::new(format);
    loop {
        let input = [(); 16].map(|()| read());
        let mut input = &input[..];
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Event::Header(len))) => {
                    let mut out = [0; 8];
                    match format.encode(len, &mut out) {
                        Ok(len) => out.iter().take(len).copied().for_each(write),
                        Err(_) => return,
                    }
                }
                Ok(Some(Event::Body(octets))) => write_all(octets),
                Ok(Some(Event::End)) => write(u8::from(decoder.finish().is_ok())),
                Ok(None) => break,
                Err(_) => {
                    write(u8::from(decoder.finish().is_err()));
                    return;
                }
            }
        }
    }
}

/// Where the planted panic is: in what came through the decoder, so that it also shows that the compiler has
/// not found the decoder's result out beforehand.
#[cfg(feature = "planted_panic")]
fn plant(total_size: u64) {
    let octets = [read(), read(), read()];
    write(octets[total_size as usize]);
}

#[cfg(not(feature = "planted_panic"))]
fn plant(_total_size: u64) {}

// SAFETY: nothing else is called `_start`: no C runtime is linked.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        frames();
        #[cfg(feature = "length")]
        lengths();
    }
}

#[cfg(not(feature = "panics_link"))]
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: it is never called: the program does not link if anything can get here.
    unsafe extern "C" {
        safe fn unstick_framing_can_panic() -> !;
    }
    unstick_framing_can_panic()
}

#[cfg(feature = "panics_link")]
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        write(0);
    }
}
