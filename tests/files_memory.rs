//! However long a file is, neither end holds more of it than a little.

mod common;
mod files_common;

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use common::{Running, SOON, peak_memory};
use files_common::{MEMORY, Place};

const LEN: u64 = 256 << 20;

#[test]
fn a_long_file_takes_little_memory_at_both_ends() {
    // Of the engine without threads, what its places for connections take is there from the start.
    for (engine, connections) in [("threads", "256"), ("nal", "32")] {
        let place = Place::new(&format!("memory-{engine}"));
        let limit = ["--max-connections", connections];
        let server = place.server(&["--writable", "--engine", engine, limit[0], limit[1]]);
        let sent = File::create(place.local("sent")).expect("room");
        sent.set_len(LEN).expect("room");
        for arguments in [
            ["put", "-q", &server.tcp, "sent"].as_slice(),
            &["get", "-q", "-o", "got", &server.tcp, "sent"],
        ] {
            let mut client = Running::start(place.command(arguments));
            let deadline = Instant::now() + 4 * SOON;
            let mut peak = 0;
            let status = loop {
                peak = peak_memory(client.pid()).unwrap_or(0).max(peak);
                if let Some(status) = client.0.try_wait().expect("its state") {
                    break status;
                }
                assert!(Instant::now() < deadline, "{arguments:?} takes too long");
                thread::sleep(Duration::from_millis(1));
            };
            assert!(status.success(), "{engine}: {arguments:?}");
            let of_server = peak_memory(server.pid()).expect("it runs");
            println!(
                "{engine}: {}: client {peak}, server {of_server}",
                arguments[0]
            );
            for peak in [peak, of_server] {
                assert!(
                    (1..MEMORY).contains(&peak),
                    "{engine}: {arguments:?}: {peak}"
                );
            }
        }
        let got = fs::metadata(place.local("got")).expect("the file");
        assert_eq!(got.len(), LEN);
    }
}
