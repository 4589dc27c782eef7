//! `-p` and `-r`: permissions and times, empty directories, symbolic links.

mod common;
mod files_common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{eventually, run, text};
use files_common::{Place, fails, noise, passes};
use serde_json::Value;

const ENGINES: [&str; 2] = ["threads", "nal"];
/// A moment that no file has by itself: 2001-09-09, and some nanoseconds.
const THEN: Duration = Duration::new(1_000_000_000, 123_456_789);

/// Gives it these permissions and that time.
fn set(path: &Path, mode: u32, since_1970: Duration) {
    let file = File::open(path).expect("it is there");
    file.set_modified(UNIX_EPOCH + since_1970).expect("ours");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
}

/// Its permissions, all of their bits, and its time.
fn kept(path: &Path) -> (u32, Duration) {
    let metadata = fs::metadata(path).expect("it is there");
    let modified = metadata.modified().expect("a time");
    let since_1970 = modified.duration_since(UNIX_EPOCH).expect("a time");
    (metadata.mode() & 0o7777, since_1970)
}

fn is_recent((_, modified): (u32, Duration)) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time") - modified < Duration::from_secs(3600)
}

#[test]
fn permissions_and_times_are_kept_when_asked_for() {
    for engine in ENGINES {
        let place = Place::new(&format!("preserve-{engine}"));
        let server = place.server(&["--writable", "--engine", engine]);
        place.write("a", &noise(70_000));
        place.write("usual", b"");
        let usual = kept(&place.local("usual")).0;
        // Bits that let a program run as somebody else are left behind.
        for (number, mode) in [0o640, 0o600, 0o755, 0o444, 0o6751].into_iter().enumerate() {
            let name = format!("file {number}");
            set(&place.local("a"), mode, THEN);
            let expected = (mode & 0o777, THEN);
            passes(place.command(["put", "-p", &server.tcp, "a", &name]));
            assert_eq!(kept(&place.root(&name)), expected, "{engine}");
            let line = passes(place.command(["stat", "--json", &server.tcp, &name]));
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(line["mode"], mode & 0o777);
            assert_eq!(line["mtime_ns"], THEN.as_nanos() as u64);

            let get = ["get", "-p", "-o", "got", &server.tcp, &name];
            passes(place.command(get));
            assert_eq!(kept(&place.local("got")), expected, "{engine}");
            // Those of one that is replaced are not.
            set(&place.local("got"), 0o666, Duration::ZERO);
            passes(place.command(["get", "-p", "--force", "-o", "got", &server.tcp, &name]));
            assert_eq!(kept(&place.local("got")), expected, "{engine}");
            fs::remove_file(place.local("got")).expect("the file");

            // Without being asked, they are what any new file has here.
            passes(place.command(["get", "-o", "got", &server.tcp, &name]));
            let got = kept(&place.local("got"));
            assert!(got.0 == usual && is_recent(got), "{got:?}");
            fs::remove_file(place.local("got")).expect("the file");
        }
        passes(place.command(["put", &server.tcp, "a", "plain"]));
        let put = kept(&place.root("plain"));
        assert!(put.0 == usual && is_recent(put), "{put:?}");
        assert_eq!(place.leftovers(), [""; 0]);
    }
}

#[test]
fn what_goes_on_keeps_them_too_and_what_is_there_is_left_alone() {
    let place = Place::new("preserve-resume");
    let server = place.server(&["--writable"]);
    let octets = noise(100_000);
    place.write("a", &octets);
    set(&place.local("a"), 0o604, THEN);
    fs::write(place.root("a:part"), &octets[..40_000]).expect("room");
    let line = passes(place.command(["put", "-p", "--resume", &server.tcp, "a"]));
    assert!(line.contains("40000 of them"), "{line}");
    assert_eq!(kept(&place.root("a")), (0o604, THEN));

    place.write("b:part", &octets[..30_000]);
    let get = ["get", "-p", "--resume", "-o", "b", &server.tcp, "a"];
    assert!(passes(place.command(get)).contains("30000 of them"));
    assert_eq!(kept(&place.local("b")), (0o604, THEN));
    set(&place.local("b"), 0o600, Duration::ZERO);
    passes(place.command(get));
    assert_eq!(kept(&place.local("b")), (0o600, Duration::ZERO));
}

/// Nobody reads a file that is for its owner alone while it is on its way.
#[test]
fn what_is_not_complete_is_no_more_open_than_the_file() {
    let place = Place::new("preserve-partial");
    let server = place.server(&["--writable"]);
    let mut stream = place.begin_put(&server, "a", 10, |request| {
        request.mode = unstick_core::Mode::new(0o400);
    });
    let partial = place.root("a:part");
    let mode = eventually("the upload begins", || {
        let mode = fs::metadata(&partial).ok()?.mode() & 0o777;
        // It is made first, and for its owner alone next.
        (mode == 0o600).then_some(mode)
    });
    assert_eq!(mode, 0o600);
    std::io::Write::write_all(&mut stream, b"0123456789").expect("the server reads");
    eventually("it is complete", || fs::metadata(place.root("a")).ok());
    assert_eq!(kept(&place.root("a")).0, 0o400);
}

/// All beneath a directory: files, and directories with a `/` behind them.
fn tree(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(top.join(&path)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = path.join(entry.file_name());
            let shown = path.to_str().expect("UTF-8").to_owned();
            if entry.file_type().expect("its kind").is_dir() {
                found.push(shown + "/");
                waiting.push(path);
            } else {
                found.push(shown);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_tree_is_got_with_its_empty_directories_and_their_times() {
    let place = Place::new("preserve-tree");
    let server = place.server(&[]);
    let names = [
        ("tree", 0o755),
        ("tree/a", 0o640),
        ("tree/shut", 0o555),
        ("tree/shut/b", 0o444),
        ("tree/shut/empty", 0o711),
    ];
    for name in ["tree/shut/empty", "none"] {
        fs::create_dir_all(place.root(name)).expect("room");
    }
    for name in ["tree/a", "tree/shut/b"] {
        fs::write(place.root(name), name).expect("room");
    }
    for (number, (name, mode)) in names.iter().enumerate().rev() {
        set(
            &place.root(name),
            *mode,
            THEN + Duration::from_nanos(number as u64),
        );
    }
    symlink("../../outside", place.root("link")).expect("room");
    passes(place.command(["get", "-r", "-p", &server.tcp, "tree"]));
    assert_eq!(tree(&place.local("tree")), tree(&place.root("tree")));
    for (number, (name, mode)) in names.iter().enumerate() {
        let expected = (*mode, THEN + Duration::from_nanos(number as u64));
        assert_eq!(kept(&place.local(name)), expected, "{name}");
    }
    // Once more, over it.
    passes(place.command(["get", "-r", "-p", "--force", &server.tcp, "tree"]));
    assert_eq!(kept(&place.local("tree")).1, THEN);

    passes(place.command(["get", "-r", "-o", "all", &server.tcp, "."]));
    let mut all = tree(&place.root(""));
    all.retain(|name| name != "link");
    assert_eq!(tree(&place.local("all")), all);
    assert!(is_recent(kept(&place.local("all/tree"))));
    // One that has nothing in it.
    passes(place.command(["get", "-r", &server.tcp, "none"]));
    assert_eq!(tree(&place.local("none")), [""; 0]);
    // Another thing in a directory's place is no reason not to get the others.
    place.write("back/shut", b"mine");
    let message = fails(place.command(["get", "-r", "-o", "back", &server.tcp, "tree"]));
    assert!(message.contains("back/shut"), "{message}");
    assert_eq!(place.read("back/shut"), b"mine");
    assert_eq!(place.read("back/a"), b"tree/a");
}

#[test]
fn what_put_passes_over_is_said_and_counted() {
    let place = Place::new("preserve-links");
    let server = place.server(&["--writable"]);
    fs::write(place.outside("secret"), b"secret").expect("room");
    place.write("tree/a", b"a");
    fs::create_dir(place.local("tree/empty")).expect("room");
    symlink("a", place.local("tree/inside")).expect("room");
    symlink("../../outside", place.local("tree/out")).expect("room");
    symlink("nowhere", place.local("tree/\u{1b}[2J")).expect("room");
    let output = run(place.command(["put", "-r", &server.tcp, "tree"]));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    for word in [
        "tree/empty: an empty directory",
        "tree/inside: a symbolic link",
        "tree/out: a symbolic link",
        "4 passed over",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said}");
    assert_eq!(tree(&place.root("")), ["tree/", "tree/a"]);
}
