//! `unstick get`, `put`, `ls` and `stat`: what arrives is what was sent, and nothing else is touched.

mod common;
mod files_common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use common::{Server, python, run, text, unstick};
use files_common::{Place, fails, failure, noise, passes, sha256};
use serde_json::Value;
use unstick_core::Request;
use unstick_std::udp;

const ENGINES: [&str; 2] = ["threads", "nal"];

#[test]
fn what_is_put_is_what_is_got() {
    for engine in ENGINES {
        let place = Place::new(&format!("round-{engine}"));
        let mut server = place.server(&["--writable", "--engine", engine]);
        let names = [
            "a",
            "测试.txt",
            "😀 😀/目录/é",
            " space ",
            "-dash",
            "~",
            "%2e%2e",
            "...",
            "a'b\"c$d`e",
        ];
        for (number, len) in [0, 1, 4096, 16_384, 65_537, 3_000_001]
            .into_iter()
            .enumerate()
        {
            let name = names[number % names.len()];
            let octets = noise(len);
            place.write("sent", &octets);
            let sent = passes(place.command(["put", "--json", &server.tcp, "sent", "--", name]));
            let line: Value = serde_json::from_str(&sent).expect("JSON");
            assert_eq!(line["sha256"], sha256(&octets));
            assert_eq!(fs::read(place.root(name)).expect("the file"), octets);
            // Once more only when told.
            let put = ["put", &server.tcp, "sent", "--", name];
            assert!(fails(place.command(put)).contains("--force"));
            passes(place.command(["put", "--force", &server.tcp, "sent", "--", name]));

            let get = ["get", "-o", "got", &server.tcp, "--", name];
            passes(place.command(get));
            assert_eq!(place.read("got"), octets);
            assert!(fails(place.command(get)).contains("--force"));
            // One for reading only stays so; the half that is there is written on all the same.
            fs::set_permissions(place.local("got"), Permissions::from_mode(0o444)).expect("ours");
            place.write("got:part", &octets[..len / 2]);
            let force = [
                "get",
                "--force",
                "--resume",
                "-o",
                "got",
                &server.tcp,
                "--",
                name,
            ];
            passes(place.command(force));
            assert_eq!(place.read("got"), octets);
            let metadata = fs::metadata(place.local("got")).expect("the file");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o444);
            fs::remove_file(place.local("got")).expect("the file");
        }
        for name in &names[6..] {
            passes(place.command(["put", &server.tcp, "sent", "--", name]));
            assert_eq!(
                fs::read(place.root(name)).expect("the file"),
                place.read("sent")
            );
        }
        assert_eq!(place.leftovers(), [""; 0]);
        server.assert_alive();
    }
}

#[test]
fn says_what_there_is_over_tcp_and_udp() {
    for engine in ENGINES {
        let place = Place::new(&format!("look-{engine}"));
        let server = place.server(&["--engine", engine]);
        fs::create_dir(place.root("dir")).expect("room");
        for number in 0..30 {
            fs::write(place.root(&format!("dir/{number:02}")), noise(number)).expect("room");
        }
        let seven = File::open(place.root("dir/07")).expect("the file");
        let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
        seven.set_modified(then).expect("ours");
        seven
            .set_permissions(Permissions::from_mode(0o640))
            .expect("ours");
        fs::write(place.root("测试 \u{202e}.txt"), b"text").expect("room");
        for udp in [false, true] {
            let ask = |words: &[&str], rest: &[&str]| {
                let mut arguments = words.to_vec();
                arguments.extend(server.address(udp));
                arguments.extend(rest);
                passes(unstick(arguments))
            };
            let listed = ask(&["ls"], &[]);
            assert_eq!(
                listed,
                "             -  dir/\n             4  测试 \\u202e.txt\n"
            );
            let lines = ask(&["ls", "--json"], &["dir"]);
            let sizes: Vec<_> = lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["size"].as_u64())
                .collect();
            assert_eq!(sizes, (0..30).map(Some).collect::<Vec<_>>());
            let stat = ask(&["stat"], &["dir/07"]);
            assert_eq!(
                stat,
                "name      dir/07\nkind      file\nsize      7 octets\nwritable  no\n\
                mode      640\nmodified  2001-09-09T01:46:40.000000005Z\n"
            );
            let info = ask(&["info"], &[]);
            assert!(
                info.contains("ops          echo get info list stat\n"),
                "{info}"
            );
        }
        assert!(fails(unstick(["stat", &server.tcp, "none"])).contains("not_found"));
        assert!(fails(unstick(["ls", &server.tcp, "dir/01"])).contains("not_found"));
    }
}

#[test]
fn a_file_comes_in_datagrams() {
    for (engine, frame_len) in [("threads", 1024), ("nal", 8192)] {
        let place = Place::new(&format!("udp-{engine}"));
        let server = place.server(&["--engine", engine]);
        let octets = noise(40_000);
        fs::write(place.root("a"), &octets).expect("room");
        let mut request = Request::new("get", 0);
        request.filename = "a".try_into().ok();
        let mut client = udp::Client::connect(&*server.udp).expect("a socket");
        let (mut got, mut digest, mut longest) = (Vec::new(), None, 0);
        let take = |header: &unstick_core::Reply, body: &[u8]| {
            assert_eq!(header.error, None, "{engine}: {:?}", header.message);
            got.extend_from_slice(body);
            longest = longest.max(body.len());
            digest = header.sha256;
        };
        client
            .request(request, b"", common::SOON, take)
            .expect("a reply");
        assert_eq!((got == octets, longest), (true, frame_len));
        assert_eq!(digest.expect("a digest").to_string(), sha256(&octets));
    }
}

#[test]
fn without_a_root_there_are_no_files_and_without_writable_no_uploads() {
    let place = Place::new("read-only");
    place.write("sent", b"sent");
    let server = Server::start(&[]);
    assert!(fails(place.command(["put", &server.tcp, "sent"])).contains("unknown_op"));
    let server = place.server(&[]);
    fs::write(place.root("a"), b"a").expect("room");
    for name in ["sent", "a", "new/a"] {
        let put = ["put", "--force", &server.tcp, "sent", name];
        assert!(fails(place.command(put)).contains("reading only"));
    }
    assert_eq!(fs::read(place.root("a")).expect("the file"), b"a");
    assert!(!place.root("new").exists());

    let output = run(unstick(["serve", "--writable"]));
    assert_eq!(output.status.code(), Some(2));
    let output = run(unstick(["serve", "--root", ".", "--wire", "raw"]));
    assert!(text(&output.stderr).contains("frames"));
    let output = run(unstick(["serve", "--root", "/no/such/directory"]));
    assert!(text(&output.stderr).contains("/no/such/directory"));
}

#[test]
fn directories_go_both_ways() {
    let place = Place::new("tree");
    let server = place.server(&["--writable"]);
    let files = ["a", "b/c", "b/d/测试 😀", "b/d/e/f"];
    for (number, name) in files.iter().enumerate() {
        place.write(&format!("tree/{name}"), &noise(number * 1000));
    }
    symlink("a", place.local("tree/link")).expect("room");
    fs::create_dir(place.local("tree/empty")).expect("room");
    let put = passes(place.command(["put", "-r", &server.tcp, "tree"]));
    assert_eq!(put.lines().count(), files.len());
    passes(place.command(["put", "-r", &server.tcp, "tree", "."]));
    assert_eq!(
        fs::read(place.root("a")).expect("the file"),
        place.read("tree/a")
    );
    assert!(!place.root("link").exists() && !place.root("tree/link").exists());

    passes(place.command(["get", "-r", "-o", "back", &server.tcp, "tree"]));
    for name in files {
        assert_eq!(
            place.read(&format!("back/{name}")),
            place.read(&format!("tree/{name}"))
        );
    }
    let all = passes(place.command(["get", "-r", "-q", "-o", "all", &server.tcp, "."]));
    assert_eq!(all, "");
    assert_eq!(place.read("all/tree/b/c"), place.read("tree/b/c"));
    assert_eq!(place.read("all/b/c"), place.read("tree/b/c"));

    // One that is there and different is reported; the others arrive.
    place.write("back/b/c", b"mine");
    fs::remove_file(place.local("back/b/d/e/f")).expect("the file");
    let again = ["get", "-r", "--resume", "-o", "back", &server.tcp, "tree"];
    let message = fails(place.command(again));
    assert!(
        message.contains("back/b/c") && message.contains("1 of 4 files"),
        "{message}"
    );
    assert_eq!(place.read("back/b/c"), b"mine");
    assert_eq!(place.read("back/b/d/e/f"), place.read("tree/b/d/e/f"));
    let again = ["put", "-r", "--resume", &server.tcp, "back", "tree"];
    assert!(fails(place.command(again)).contains("1 of 4 files"));
    passes(place.command(["put", "-r", "--force", &server.tcp, "back", "tree"]));
    assert_eq!(fs::read(place.root("tree/b/c")).expect("the file"), b"mine");
    assert!(fails(place.command(["get", "-r", &server.tcp, "none"])).contains("not_found"));
    assert!(!place.local("none").exists());
}

#[test]
fn one_upload_of_a_name_at_a_time() {
    for engine in ENGINES {
        let place = Place::new(&format!("busy-{engine}"));
        let server = place.server(&["--writable", "--engine", engine]);
        let octets = noise(200_000);
        place.write("sent", &octets);
        let half = place.half_put(&server, "a", &octets, octets.len() / 2);
        let output = run(place.command(["put", &server.tcp, "sent", "a"]));
        assert!(failure(&output).contains("(busy)"), "{}", failure(&output));
        passes(place.command(["put", &server.tcp, "sent", "b"]));
        // Who is to resume waits until it is let go of.
        let let_go = thread::spawn(move || {
            thread::sleep(Duration::from_millis(700));
            drop(half);
        });
        let line = passes(place.command(["put", "--resume", &server.tcp, "sent", "a"]));
        let_go.join().expect("it ends");
        assert!(line.contains("of them there already"), "{line}");
        assert_eq!(fs::read(place.root("a")).expect("the file"), octets);
        assert_eq!(place.leftovers(), [""; 0]);
    }
}

#[test]
fn what_is_not_the_start_of_the_file_is_not_gone_on_from() {
    let place = Place::new("changed");
    let server = place.server(&["--writable"]);
    let octets = noise(100_000);
    place.write("sent", &octets);
    fs::write(place.root("a:part"), &octets[..40_000]).expect("room");
    fs::write(place.root("b:part"), noise(40_000)).expect("room");
    let line = passes(place.command(["put", "--resume", &server.tcp, "sent", "a"]));
    assert!(line.contains("40000 of them"), "{line}");
    let line = passes(place.command(["put", "--resume", &server.tcp, "sent", "b"]));
    assert!(!line.contains("of them"), "{line}");
    for name in ["a", "b"] {
        assert_eq!(fs::read(place.root(name)).expect("the file"), octets);
    }
    place.write("a:part", &octets[..40_000]);
    place.write("b:part", &noise(40_000));
    place.write("c:part", &noise(140_000));
    let line = passes(place.command(["get", "--resume", &server.tcp, "a"]));
    assert!(line.contains("40000 of them"), "{line}");
    passes(place.command(["get", "--resume", &server.tcp, "b"]));
    passes(place.command(["get", "--resume", "-o", "c", &server.tcp, "b"]));
    for name in ["a", "b", "c"] {
        assert_eq!(place.read(name), octets);
    }
}

#[test]
fn a_server_that_closes_idle_connections_is_asked_all_the_same() {
    let place = Place::new("idle");
    let server = place.server(&["--idle-timeout", "0.2"]);
    fs::write(place.root("a"), b"new").expect("room");
    // It takes longer to digest than the server waits, and no room.
    let partial = fs::File::create(place.local("a:part")).expect("room");
    partial.set_len(1 << 30).expect("room");
    passes(place.command(["get", "--resume", &server.tcp, "a"]));
    assert_eq!(place.read("a"), b"new");
}

#[test]
fn the_readme_moves_files() {
    const README: &str = include_str!("../README.md");
    let place = Place::new("readme");
    let server = place.server(&["--writable"]);
    let (_, section) = README.split_once("### Files\n").expect("a section");
    let mut blocks = section.split("```");
    assert!(
        blocks
            .nth(1)
            .expect("the server")
            .contains("serve --root shared --writable")
    );
    let block = blocks.nth(1).expect("what asks it");
    let mut commands = block.split("\n$ ");
    commands.next();
    for command in commands {
        let (line, expected) = command.split_once('\n').unwrap_or((command, ""));
        let line = line.replace("127.0.0.1:8896", &server.tcp);
        let script = format!(
            "unstick() {{ '{}' \"$@\"; }}; {line}",
            env!("CARGO_BIN_EXE_unstick")
        );
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).current_dir(place.local(""));
        assert_eq!(passes(shell).trim_end(), expected.trim_end(), "{line}");
    }
    assert_eq!(place.read("copy.txt"), b"hello\n");
}

#[test]
fn a_stock_python_moves_files() {
    for engine in ENGINES {
        let place = Place::new(&format!("python-{engine}"));
        let server = place.server(&["--writable", "--engine", engine]);
        let mut command: Command = python("files.py");
        command.arg(&server.tcp);
        passes(command);
        assert_eq!(place.leftovers(), [""; 0]);
    }
}
