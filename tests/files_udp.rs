//! `unstick serve --root` over UDP, where addresses can be forged.

mod common;
mod files_common;

use std::fs;

use common::{Running, unstick};
use files_common::{Place, fails, passes};

const ENGINES: [&str; 2] = ["threads", "nal"];

#[test]
fn where_datagrams_can_be_forged_files_go_over_tcp_alone() {
    for engine in ENGINES {
        let place = Place::new(&format!("forged.{engine}"));
        fs::write(place.root("file"), b"content").expect("room");
        let root = place.root("");
        let root = root.to_str().expect("UTF-8");
        let mut serve = Running::start(unstick([
            "serve",
            "--engine",
            engine,
            "--root",
            root,
            "--writable",
            "--tcp",
            "127.0.0.1:0",
            "--udp",
            "0.0.0.0:0",
        ]));
        let stdout = serve.stdout();
        let [tcp, udp] = ["tcp", "udp"].map(|transport| {
            let line = stdout.next();
            let address = line.strip_prefix(&format!("listening {transport} "));
            address.expect("an address").replace("0.0.0.0", "127.0.0.1")
        });
        let info = |words: &[&str]| passes(place.command([&["info", "--json"], words].concat()));
        assert!(info(&[&tcp]).contains("\"get\""));
        assert!(!info(&["--udp", &udp]).contains("\"get\""));
        passes(place.command(["get", &tcp, "file"]));
        for words in [["ls", "--udp", &udp, "."], ["stat", "--udp", &udp, "file"]] {
            let said = fails(place.command(words));
            assert!(
                said.contains("ask over TCP") && said.contains("denied"),
                "{said}"
            );
        }
        assert_eq!(
            passes(place.command(["echo", "--udp", &udp, "hello"])),
            "hello"
        );
    }
}
