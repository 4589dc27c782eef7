//! Files among enemies: names that lead elsewhere, servers that lie, disks that are full.

mod common;
mod files_common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{SOON, Server, connect, run, text};
use files_common::{Place, fails, failure, noise, passes, sha256};
use serde_json::{Value, json};

const SECRET: &str = "nobody is to read this";

/// Names as they are in a header, none of which there is a file for.
const REFUSED: [&str; 62] = [
    "",
    ".",
    "..",
    "/",
    "//",
    "./",
    "../",
    "../outside/secret",
    "../../outside/secret",
    "dir/../../outside/secret",
    "dir/..",
    "dir/../in.txt",
    "./in.txt",
    "dir/./x",
    "dir//x",
    "/in.txt",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "in.txt/",
    "dir/",
    "in.txt/..",
    "out",
    "out/",
    "out/secret",
    "out/new",
    "out/../secret",
    "link",
    "deep/out/secret",
    "deep/out/x/y",
    "abs",
    "abs/passwd",
    "self",
    "self/in.txt",
    "loop",
    "loop/x",
    "pipe",
    "pipe/x",
    "\\u002e\\u002e/outside/secret",
    "..\\u002foutside\\u002fsecret",
    "\\u002e\\u002e\\u002foutside\\u002fsecret",
    "\\u002fetc\\u002fpasswd",
    "..\\\\outside\\\\secret",
    "dir\\\\..\\\\..\\\\outside",
    "\\\\\\\\server\\\\share",
    "C:\\\\Windows",
    "C:/Windows",
    "in.txt:stream",
    "in.txt:part",
    "a:part",
    "in.txt\\u0000",
    "\\u0000",
    "in.txt\\u0000.jpg",
    "a\\nb",
    "a\\rb",
    "a\\tb",
    "\\u001b[2J",
    "a\\u007f",
    "a\\u009b31m",
    "..\\u0000/x",
    "\\b../x",
];

/// Odd ones that lead nowhere else: each is a file of its own in the root.
const ODD: [&str; 14] = [
    "...",
    ". .",
    " ..",
    ".. ",
    "%2e%2e%2foutside",
    "%2fetc%2fpasswd",
    "~",
    "~root",
    "$HOME",
    "`id`",
    "IN.TXT",
    "CON",
    "\\u2025\\u2044outside",
    "\\ud83d\\ude00\\u202etxt.exe",
];

/// Sends a frame with this header, but for its last keys, and reads the whole reply.
fn ask(stream: &mut TcpStream, keys: &str, body: &[u8]) -> (Value, Vec<u8>) {
    let header = format!("{{{keys},\"total_size\":{}}}", body.len());
    let mut frame = (header.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body);
    stream.write_all(&frame).expect("the server reads");
    let mut octets = Vec::new();
    loop {
        let header = read_header(stream);
        let len = header["total_size"].as_u64().expect("a length");
        let read = stream.take(len).read_to_end(&mut octets);
        assert_eq!(read.expect("a body") as u64 % len.max(1), 0);
        if header["more"] != true {
            return (header, octets);
        }
    }
}

fn read_header(stream: &mut TcpStream) -> Value {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).expect("a prefix");
    let mut header = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut header).expect("a header");
    serde_json::from_slice(&header).expect("JSON")
}

#[test]
fn no_name_leads_out_of_the_root() {
    for engine in ["threads", "nal"] {
        let place = Place::new(&format!("hostile-{engine}"));
        fs::write(place.outside("secret"), SECRET).expect("room");
        fs::write(place.root("in.txt"), "inside").expect("room");
        fs::create_dir(place.root("dir")).expect("room");
        fs::create_dir(place.root("deep")).expect("room");
        for (to, from) in [
            ("../outside", "out"),
            ("../outside/secret", "link"),
            ("../../outside", "deep/out"),
            ("/etc", "abs"),
            (".", "self"),
            ("loop", "loop"),
        ] {
            symlink(to, place.root(from)).expect("room");
        }
        let made = Command::new("mkfifo").arg(place.root("pipe")).status();
        assert!(made.expect("mkfifo").success());

        let mut server = place.server(&["--writable", "--engine", engine]);
        let mut stream = connect(&server.tcp);
        for name in REFUSED {
            for op in ["get", "stat", "list", "put"] {
                // Directories are there; nothing and the root are one.
                let fine = match op {
                    "list" => name.is_empty(),
                    _ => false,
                };
                let keys = format!("\"op\":\"{op}\",\"filename\":\"{name}\"");
                let body: &[u8] = if op == "put" { b"pwned" } else { b"" };
                let (header, octets) = ask(&mut stream, &keys, body);
                assert_eq!(header["error"].is_null(), fine, "{op} {name}: {header}");
                let said = format!("{header}{}", String::from_utf8_lossy(&octets));
                for hidden in [SECRET, env!("CARGO_TARGET_TMPDIR"), "root:"] {
                    assert!(!said.contains(hidden), "{op} {name}: {said}");
                }
            }
        }
        for name in ODD {
            let keys = format!("\"filename\":\"{name}\"");
            let (header, _) = ask(&mut stream, &format!("\"op\":\"put\",{keys}"), b"odd");
            assert!(header["error"].is_null(), "{name}: {header}");
            let (_, octets) = ask(&mut stream, &format!("\"op\":\"get\",{keys}"), b"");
            assert_eq!(octets, b"odd", "{name}");
        }
        assert_eq!(fs::read(place.root("in.txt")).expect("the file"), b"inside");
        assert_eq!(
            fs::read(place.outside("secret")).expect("the file"),
            SECRET.as_bytes()
        );
        assert_eq!(names(&place.outside("")), ["secret"]);
        assert_eq!(names(&place.outside("..")), ["local", "outside", "root"]);
        assert_eq!(names(&place.root("dir")), [""; 0]);
        assert_eq!(names(&place.root("")).len(), 9 + ODD.len());
        server.assert_alive();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// A server that answers whatever is asked over any connection with what `reply` makes of the request's header.
fn liar(reply: impl Fn(&Value) -> Vec<(Value, Vec<u8>)> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_read_timeout(Some(SOON)).expect("a timeout");
            while stream.peek(&mut [0]).is_ok_and(|len| len > 0) {
                let request = read_header(&mut stream);
                for (mut header, body) in reply(&request) {
                    header["id"] = request["id"].clone();
                    header["total_size"] = body.len().into();
                    let header = header.to_string();
                    let mut frame = (header.len() as u32).to_le_bytes().to_vec();
                    frame.extend_from_slice(header.as_bytes());
                    frame.extend_from_slice(&body);
                    let _ = stream.write_all(&frame);
                }
            }
        }
    });
    address
}

#[test]
fn a_content_that_is_not_the_one_meant_is_no_file() {
    let place = Place::new("digest");
    let octets = noise(50_000);
    for (reason, more, last) in [
        (
            "sha256",
            json!({"more": true}),
            json!({"offset": 50_000, "sha256": sha256(b"another")}),
        ),
        (
            "no digest",
            json!({"more": true}),
            json!({"offset": 50_000}),
        ),
        (
            "follow",
            json!({"more": true}),
            json!({"offset": 49_999, "sha256": sha256(&octets)}),
        ),
        (
            "follow",
            json!({"more": true, "offset": 1}),
            json!({"sha256": sha256(&octets)}),
        ),
        (
            "(denied)",
            json!({"more": true}),
            json!({"error": "denied", "message": "\u{1b}[2Jno"}),
        ),
    ] {
        let body = octets.clone();
        let address = liar(move |_| vec![(more.clone(), body.clone()), (last.clone(), vec![])]);
        let message = fails(place.command(["get", &address, "a"]));
        assert!(message.contains(reason), "{reason}: {message}");
        assert!(!message.contains('\u{1b}'), "{message}");
        assert!(!place.local("a").exists());
        // What is known to be wrong is not gone on from.
        assert!(reason != "sha256" || !place.local("a:part").exists());
    }
    // A server that is to store something else says so, and does not.
    let server = place.server(&["--writable"]);
    let mut stream = connect(&server.tcp);
    let keys = format!(
        "\"op\":\"put\",\"filename\":\"a\",\"sha256\":\"{}\"",
        sha256(b"another")
    );
    let (header, _) = ask(&mut stream, &keys, &octets);
    assert_eq!(header["error"], "digest");
    assert_eq!(names(&place.root("")), [""; 0]);
    // And one that claims to have stored something else is not believed.
    let address = liar(|request| match request["op"].as_str() {
        Some("stat") => vec![(json!({"error": "not_found"}), vec![])],
        _ => vec![(json!({"sha256": sha256(b"another")}), vec![])],
    });
    place.write("empty", b"");
    assert!(fails(place.command(["put", &address, "empty"])).contains("sha256"));
}

/// The client of an upload is killed, the server has all of it by then: it may be a file between two requests of the next one.
#[test]
fn an_upload_that_ends_while_it_is_gone_on_with_is_no_failure() {
    let place = Place::new("ended");
    place.write("a", b"");
    for (stored, is_same) in [("", true), ("another", false)] {
        let put = AtomicBool::new(false);
        let address = liar(move |request| {
            let reply = match request["op"].as_str() {
                Some("put") => {
                    put.store(true, Ordering::Relaxed);
                    json!({"error": "denied", "message": "there already"})
                }
                _ if !put.load(Ordering::Relaxed) => json!({"error": "not_found"}),
                Some("stat") => {
                    let line = json!({"name": "a", "kind": "file", "size": 0, "writable": true});
                    return vec![(json!({}), line.to_string().into_bytes())];
                }
                _ => json!({"sha256": sha256(stored.as_bytes())}),
            };
            vec![(reply, vec![])]
        });
        if is_same {
            let line = passes(place.command(["put", "--resume", &address, "a"]));
            assert!(line.starts_with("a: 0 octets"), "{line}");
        } else {
            let message = fails(place.command(["put", "--resume", &address, "a"]));
            assert!(message.contains("there already"), "{message}");
        }
    }
}

#[test]
fn a_server_does_not_say_where_files_are_written() {
    let place = Place::new("liar");
    fs::write(place.outside("secret"), SECRET).expect("room");
    fs::create_dir(place.local("to")).expect("room");
    symlink("../../outside", place.local("to/out")).expect("room");
    symlink("../../outside/secret", place.local("to/link")).expect("room");
    let names = [
        "../up",
        "..",
        ".",
        "",
        "/abs",
        "a/b",
        "a\\b",
        "C:x",
        "a:part",
        "\u{1b}[2J",
        "a\nb",
        "a\u{9b}b",
        "link",
    ];
    let mut lines: String = names
        .iter()
        .map(|name| {
            json!({"name": name, "kind": "file", "size": 5, "writable": true}).to_string() + "\n"
        })
        .collect();
    for directory in ["..", "out", "a/../.."] {
        let line = json!({"name": directory, "kind": "dir", "writable": false});
        lines += &(line.to_string() + "\n");
    }
    lines +=
        &(json!({"name": "good", "kind": "file", "size": 5, "writable": true}).to_string() + "\n");
    let inner =
        json!({"name": "new", "kind": "file", "size": 5, "writable": true}).to_string() + "\n";
    let address = liar(move |request| match request["op"].as_str() {
        Some("list") if request["filename"].is_null() => vec![(json!({}), lines.clone().into())],
        Some("list") => vec![(json!({}), inner.clone().into())],
        _ => vec![(json!({"sha256": sha256(b"pwned")}), b"pwned".to_vec())],
    });
    let output = run(place.command(["get", "-r", "-o", "to", &address, "."]));
    let message = failure(&output);
    // Twelve names and two directories that are none, a link in the place of a file, and a link in that of a directory.
    assert!(message.contains("16 of 17 files"), "{message}");
    assert!(
        !message.contains('\u{1b}') && !message.contains('\u{9b}'),
        "{message}"
    );
    assert_eq!(text(&output.stdout).lines().count(), 1);
    assert_eq!(place.read("to/good"), b"pwned");
    assert_eq!(
        fs::read(place.outside("secret")).expect("the file"),
        SECRET.as_bytes()
    );
    assert_eq!(self::names(&place.outside("")), ["secret"]);
    assert_eq!(self::names(&place.local("")), ["to"]);
    assert_eq!(self::names(&place.local("to")), ["good", "link", "out"]);

    // Told to replace what is there, it replaces files.
    fails(place.command(["get", "-r", "--force", "-o", "to", &address, "."]));
    assert_eq!(
        fs::read(place.outside("secret")).expect("the file"),
        SECRET.as_bytes()
    );
}

#[test]
fn a_directory_without_an_end_is_not_held() {
    let place = Place::new("endless");
    let entry = json!({"name": "a".repeat(200), "kind": "file", "size": 5, "writable": true});
    let lines = format!("{entry}\n").repeat(100_000);
    let address = liar(move |_| vec![(json!({}), lines.clone().into())]);
    let message = fails(place.command(["get", "-r", &address, "."]));
    assert!(message.contains("no end"), "{message}");
    // Nor are directories in directories.
    let entry = json!({"name": "a", "kind": "dir", "writable": true});
    let lines = format!("{entry}\n").repeat(60_000);
    let address = liar(move |_| vec![(json!({}), lines.clone().into())]);
    let message = fails(place.command(["get", "-r", &address, "."]));
    assert!(message.contains("no end"), "{message}");
    // Nor is a line.
    let address = liar(|_| vec![(json!({}), vec![b' '; 1 << 20])]);
    for arguments in [
        ["get", "-r", &address, "."],
        ["ls", "--json", &address, "."],
    ] {
        let message = fails(place.command(arguments));
        assert!(message.contains("line"), "{message}");
    }
}

#[test]
fn two_names_of_one_file_do_not_replace_each_other() {
    let place = Place::new("twice");
    let entry = json!({"name": "a", "kind": "file", "size": 5, "writable": true});
    let lines = format!("{entry}\n{entry}\n");
    let address = liar(move |request| match request["op"].as_str() {
        Some("list") => vec![(json!({}), lines.clone().into())],
        _ => vec![(json!({"sha256": sha256(b"octet")}), b"octet".to_vec())],
    });
    let message = fails(place.command(["get", "-r", "--force", &address, "."]));
    assert!(
        message.contains("another file of the same directory"),
        "{message}"
    );
    assert!(message.contains("1 of 2 files"), "{message}");
    assert_eq!(place.read("a"), b"octet");
}

/// A file system of a few megabytes; gone when dropped.
struct Small(PathBuf);

impl Small {
    /// None where this user may not mount one.
    fn mount(path: PathBuf) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&path);
        mount
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Runs this test once more as a user who may mount: in a namespace of its own.
fn with_mounts_of_its_own(test: &str) {
    const TRIED: &str = "UNSTICK_TEST_MOUNTS";
    const ADVICE: &str = "a full disk is a file system of the test's own: run as root, or where `unshare --user --mount` is allowed";
    assert!(std::env::var_os(TRIED).is_none(), "{ADVICE}");
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().expect("this program"))
        .args([test, "--exact"])
        .env(TRIED, "1")
        .output();
    let again = again.unwrap_or_else(|error| panic!("{ADVICE}: {error}"));
    assert!(again.status.success(), "{ADVICE}: {}", text(&again.stdout));
}

#[test]
fn a_full_disk_is_said_to_be_one() {
    let place = Place::new("full");
    let (Some(_remote), Some(_local)) =
        (Small::mount(place.root("")), Small::mount(place.local("")))
    else {
        return with_mounts_of_its_own("a_full_disk_is_said_to_be_one");
    };
    let server = place.server(&["--writable"]);
    let octets = noise(3 << 20);
    place.write("sent", &octets);
    fs::write(place.root("old"), b"old").expect("room");
    let filler = place.root("filler");

    // Known before anything is sent.
    fs::write(&filler, noise(2 << 20)).expect("room");
    let put = ["put", "--force", &server.tcp, "sent", "old"];
    assert!(fails(place.command(put)).contains("no room"));
    assert_eq!(names(&place.root("")), ["filler", "old"]);

    // Known only when it is too late: what there was room for is kept, and gone on from.
    fs::remove_file(&filler).expect("the file");
    let mut half = place.half_put(&server, "old", &octets, 1 << 20);
    fs::write(&filler, noise(4 << 20)).expect_err("no room");
    half.write_all(&octets[1 << 20..])
        .expect("the server reads");
    assert_eq!(read_header(&mut half)["error"], "too_large");
    assert_eq!(fs::read(place.root("old")).expect("the file"), b"old");
    assert!(fails(place.command(put)).contains("no room"));
    fs::remove_file(&filler).expect("the file");
    let put = ["put", "--force", "--resume", &server.tcp, "sent", "old"];
    let line = passes(place.command(put));
    assert!(line.contains("of them there already"), "{line}");
    assert_eq!(fs::read(place.root("old")).expect("the file"), octets);

    // The same on this side.
    let message = fails(place.command(["get", &server.tcp, "old"]));
    assert!(message.to_lowercase().contains("no space"), "{message}");
    assert_eq!(names(&place.local("")), ["old:part", "sent"]);
    fs::remove_file(place.local("sent")).expect("the file");
    let line = passes(place.command(["get", "--resume", &server.tcp, "old"]));
    assert!(line.contains("of them there already"), "{line}");
    assert_eq!(place.read("old"), octets);
}

#[test]
fn what_is_longer_than_a_file_may_be_is_refused() {
    let place = Place::new("ulimit");
    place.write("sent", &noise(100_000));
    let root = place.root("");
    let root = root.to_str().expect("UTF-8");
    let mut server = Server::start_under("ulimit -f 50", &["--root", root, "--writable"]);
    assert!(fails(place.command(["put", &server.tcp, "sent"])).contains("no room"));
    place.write("small", &noise(1000));
    passes(place.command(["put", &server.tcp, "small"]));
    server.assert_alive();
}
