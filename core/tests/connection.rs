//! The connection: a model of whole conversations, and the laws of each of its methods.

mod common;

use common::scenario::{Choices, Scenario};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(common::config(4000))]

    /// Replies in order, with the right ids, one final frame each, whatever the peer and the service do.
    #[test]
    fn every_conversation_is_that_of_the_model(octets in vec(any::<u8>(), 0..300)) {
        let mut choices = Choices(&octets);
        Scenario::new(&mut choices).check(&mut choices);
    }
}
