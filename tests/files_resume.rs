//! `--resume` where what is left of another transfer is in the way, or has hardly a name.

mod common;
mod files_common;

use std::fs;
use std::io::Write as _;

use common::{eventually, run};
use files_common::{Place, fails, noise, passes};
use serde_json::Value;
use unstick_core::services::Name;

const ENGINES: [&str; 2] = ["threads", "nal"];

#[test]
fn a_file_that_is_there_is_passed_over_whatever_an_interrupted_transfer_has_left() {
    for engine in ENGINES {
        let place = Place::new(&format!("resume-stale-{engine}"));
        let server = place.server(&["--writable", "--engine", engine]);
        for len in [0, 50_000] {
            let name = format!("file {len}");
            let octets = noise(len);
            place.write(&name, &octets);
            fs::write(place.root(&name), &octets).expect("room");
            for partial in [&octets[..len / 2], &noise(len)[..], &noise(3 * len + 1)] {
                fs::write(place.root(&format!("{name}:part")), partial).expect("room");
                fs::write(place.local(&format!("{name}:part")), partial).expect("room");
                for command in ["put", "get"] {
                    let again = [command, "--resume", &server.tcp, &name];
                    let line = passes(place.command(again));
                    let said = format!("{name}: {len} octets");
                    assert!(line.starts_with(&said), "{command}: {line}");
                }
            }
            // Another content is another file all the same, of whatever length.
            let longer = [&octets[..], b"x"].concat();
            let same_len: Vec<u8> = octets.iter().map(|octet| octet ^ 1).collect();
            for other in [longer, same_len] {
                if other.is_empty() {
                    continue;
                }
                fs::write(place.root(&name), other).expect("room");
                for command in ["put", "get"] {
                    let again = [command, "--resume", &server.tcp, &name];
                    let message = fails(place.command(again));
                    assert!(message.contains("--force"), "{command}: {message}");
                }
            }
        }
    }
}

/// A directory takes names of 255 octets, and so does the wire: there is no room for anything behind them.
#[test]
fn names_as_long_as_can_be_are_moved_and_gone_on_with() {
    let place = Place::new("resume-long");
    let server = place.server(&["--writable"]);
    let octets = noise(100_000);
    let mut names: Vec<String> = (249..=255).map(|len| "x".repeat(len)).collect();
    // These differ at their ends alone, behind characters of two octets.
    let wide = "é".repeat(127);
    names.extend([wide.clone() + "a", wide + "b"]);
    for name in &names {
        place.write(name, &octets);
        let mut half = place.begin_put(&server, name, octets.len(), |_| {});
        half.write_all(&octets[..40_000]).expect("a server");
        eventually("the octets arrive", || {
            let line = run(place.command(["stat", "--json", &server.tcp, name]));
            let line: Value = serde_json::from_slice(&line.stdout).ok()?;
            (line["partial"] == 40_000).then_some(())
        });
    }
    // Each has a partial of its own, which cannot be asked for.
    let partials = place.leftovers();
    assert_eq!(partials.len(), names.len(), "{partials:?}");
    for partial in &partials {
        assert!(Name::new(partial).is_err(), "{partial}");
        fs::copy(place.root(partial), place.local(partial)).expect("room");
    }
    for name in &names {
        let put = ["put", "--resume", &server.tcp, name];
        let line = passes(place.command(put));
        assert!(line.contains("40000 of them"), "{line}");
        assert_eq!(fs::read(place.root(name)).expect("the file"), octets);
        fs::remove_file(place.local(name)).expect("the file");
        let line = passes(place.command(["get", "--resume", &server.tcp, name]));
        assert!(line.contains("40000 of them"), "{line}");
        assert_eq!(place.read(name), octets);
    }
    assert_eq!(place.leftovers(), [""; 0]);
}
