//! `unstick info`

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};
use unstick_core::Request;

use crate::args::Info;
use crate::failure::Failure;
use crate::peer::Peer;
use crate::printable::Printable;

/// How long the answer may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most octets of it that are read.
const MAX_LEN: usize = 64 * 1024;

/// Prints what the server says of itself.
pub fn run(args: &Info) -> Result<ExitCode, Failure> {
    let address = &args.server.address;
    let mut text = Vec::new();
    let mut peer = Peer::connect(&args.server)?;
    peer.request(Request::new("info", 0), b"", Some(DEADLINE), |_, octets| {
        text.extend_from_slice(octets);
        match text.len() {
            ..=MAX_LEN => Ok(()),
            _ => Err(Failure::Told(format!(
                "{address} says more than {MAX_LEN} octets"
            ))),
        }
    })?;
    let map: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|error| Failure::Told(format!("{address} sends no JSON object: {error}")))?;
    let text = if args.json {
        // What was read as JSON is UTF-8.
        format!("{}\n", Printable(&String::from_utf8_lossy(&text)))
    } else {
        let (mut named, rest): (Vec<_>, Vec<_>) = map
            .iter()
            .partition(|(key, _)| matches!(key.as_str(), "name" | "version"));
        named.extend(rest);
        named.iter().map(|(key, value)| line(key, value)).collect()
    };
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| Failure::output(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// One key for a person to read.
fn line(key: &str, value: &Value) -> String {
    let text = match (key, value) {
        ("max_body", Value::Number(len)) if len.as_u64() == Some(u64::MAX) => "no limit".to_owned(),
        ("max_datagram", Value::Number(len)) if len.as_u64() == Some(0) => "no UDP".to_owned(),
        ("max_header" | "max_body" | "max_datagram", Value::Number(len)) => format!("{len} octets"),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(values)) if values.iter().all(Value::is_string) => {
            let words: Vec<_> = values.iter().filter_map(Value::as_str).collect();
            words.join(" ")
        }
        (_, value) => value.to_string(),
    };
    format!("{:<12} {}\n", Printable(key).to_string(), Printable(&text))
}
