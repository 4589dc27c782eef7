//! Conversations with a connection: replies in order, one final frame each, no step that gets nowhere.
//!
//! Input: if octet 0 is even, the octets behind it choose a conversation and how its streams are cut, and it is held
//! against the model that core's tests have too. If octet 0 is odd, octet 1 says how many octets choose what the
//! service does and how the streams are cut; those follow, and the rest is what the peer sends.
#![no_main]

#[path = "../../../core/tests/common/mod.rs"]
mod common;

use common::Script;
use common::scenario::{Choices, Scenario, connection, converse, plan};
use libfuzzer_sys::fuzz_target;
use unstick_core::{Code, Refusal};

fuzz_target!(|input: &[u8]| {
    match input {
        [kind, octets @ ..] if kind % 2 == 0 => {
            let mut choices = Choices(octets);
            Scenario::new(&mut choices).check(&mut choices);
        }
        [_, choosing, rest @ ..] => {
            let Some((octets, stream)) = rest.split_at_checked(usize::from(*choosing)) else {
                return;
            };
            let mut choices = Choices(octets);
            let plans: Vec<_> = (0..choices.below(4))
                .map(|_| plan(&mut choices, 8))
                .collect();
            let script = Script::new(plans);
            let mood = script.mood.clone();
            let (abort_at, cancel_at) = (choices.below(256), choices.below(256));
            converse(
                &mut connection(script),
                &mood,
                stream,
                &mut choices,
                |step, connection| {
                    if step + 1 == cancel_at {
                        connection.cancel(Refusal::new(Code::Unknown, "not this one"));
                    }
                    if step + 1 == abort_at {
                        connection.abort(Refusal::new(Code::Deadline, "no time left"));
                    }
                },
            );
        }
        [_] | [] => {}
    }
});
