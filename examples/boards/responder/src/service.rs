//! What the responder carries out for each peer.

use unstick_core::services::{Commands, Echo, Info, Responder};
use unstick_core::{Or, Route as _};

use crate::commands::COMMANDS;
use crate::memory::{COMMAND_LEN, COMMAND_OUTPUT_LEN, DATAGRAM_LEN, ECHO_LEN, HEADER_LEN};
use crate::shared::Shared;

/// The services behind each connection: echo, `info` and the commands.
pub type Service = Or<Or<Echo<ECHO_LEN>, About>, Exec>;

type About = Responder<Info, 0, 256>;
type Exec = Responder<Commands<&'static Shared>, COMMAND_LEN, COMMAND_OUTPUT_LEN>;

/// The services for one peer.
pub fn service(shared: &'static Shared) -> Service {
    let info = Info {
        name: shared.name(),
        version: env!("CARGO_PKG_VERSION"),
        max_header: HEADER_LEN as u64,
        max_body: u64::MAX,
        max_datagram: DATAGRAM_LEN as u64,
        ops: &["echo", "info", "exec"],
    };
    Echo::new()
        .or(info.into_service())
        .or(Commands::new(shared, COMMANDS).into_service())
}
