//! `unstick serve --config`: what a file says, and what is said of one that is wrong.

mod common;
mod files_common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Server, run, text, unstick};
use files_common::Place;

/// A file with this in it.
fn file(place: &Place, content: &str) -> PathBuf {
    let path = place.local("unstick.toml");
    fs::write(&path, content).expect("room");
    path
}

fn ops(server: &Server) -> String {
    let output = run(unstick(["info", "--json", &server.tcp]));
    text(&output.stdout).to_owned()
}

/// What becomes of a server of a file that it cannot start with.
fn started(path: &Path) -> Output {
    run(unstick([
        "serve",
        "--config",
        path.to_str().expect("UTF-8"),
    ]))
}

/// A server of this file.
fn server(place: &Place, content: &str, arguments: &[&str]) -> Server {
    let path = file(place, content);
    let config = ["--config", path.to_str().expect("UTF-8")];
    Server::start(&[&config, arguments].concat())
}

#[test]
fn the_file_says_what_the_command_line_does_not() {
    let place = Place::new("config");
    let content = "# A comment.\n\
        max-header = 0x1000 # that many\n\
        max-body = 10\n\
        header-timeout = 2.5\n\
        allow-exec = true\n\
        root = \"../root\"\n\
        writable = true\n\
        verbose = 1\n";
    // A relative root is meant from where the file is, and not from here.
    let said = ops(&server(&place, content, &["--max-body", "20"]));
    assert!(said.contains("\"max_header\":4096"), "{said}");
    assert!(said.contains("\"max_body\":20"), "{said}");
    for op in ["exec", "get", "put"] {
        assert!(said.contains(op), "{op} in {said}");
    }
    // What the file allows, the command line takes back.
    let back = ["--allow-exec=false", "--writable=false"];
    let said = ops(&server(&place, content, &back));
    assert!(said.contains("get"), "{said}");
    for op in ["exec", "put"] {
        assert!(!said.contains(op), "{op} in {said}");
    }
    // And what goes together may be said in two places.
    let said = ops(&server(&place, "root = \"../root\"\n", &["--writable"]));
    assert!(said.contains("put"), "{said}");
    // The addresses of the file would be in the way of others.
    let both = "tcp = \"192.0.2.1:1\"\nudp = \"192.0.2.1:1\"\n";
    assert!(ops(&server(&place, both, &[])).contains("echo"));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_would_be_right() {
    let place = Place::new("config.wrong");
    for (content, line, said) in [
        (
            "tcp = \"127.0.0.1:0\"\nfoo = 1\n",
            2,
            "`foo`; there are allow-exec, ",
        ),
        ("config = \"x\"\n", 1, "no setting `config`"),
        ("help = true\n", 1, "no setting `help`"),
        ("[serve]\ntcp = \"x\"\n", 1, "no setting `serve`"),
        ("\n\nmax-connections = 0\n", 3, "at least 1"),
        (
            "max-connections = \"5\"\n",
            1,
            "a number is needed, without quotes",
        ),
        ("max-connections = -5\n", 1, "`max-connections`: `-5`"),
        ("max-connections = 1.5\n", 1, "a number is needed"),
        ("max-header = 16385\n", 1, "at most 16384"),
        (
            "header-timeout = \"5\"\n",
            1,
            "a number of seconds is needed",
        ),
        ("header-timeout = inf\n", 1, "not a length of time"),
        ("idle-timeout = 0\n", 1, "more than 0 seconds"),
        ("engine = \"steam\"\n", 1, "threads, nal"),
        ("wire = 5\n", 1, "a text in quotes"),
        (
            "wire = \"raw\"\nencoding = \"klingon\"\n",
            2,
            "no such encoding",
        ),
        ("tcp = \"localhost:99999\"\n", 1, "up to 65535"),
        ("tcp = [\"127.0.0.1:0\"]\n", 1, "a text in quotes"),
        ("root = 1979-05-27\n", 1, "a text in quotes"),
        ("allow-exec = \"yes\"\n", 1, "true or false is needed"),
        ("verbose = true\n", 1, "from 0 to 3"),
        ("verbose = 4\n", 1, "from 0 to 3"),
        ("max-body = 1\nwritable = true\n", 2, "--root"),
        ("max-body = 1\nroot = \"\"\n", 2, "a path is needed"),
        ("tcp = \"a\\nb:x\"\n", 1, "cannot be: a port is a number"),
        ("tcp = 127.0.0.1\n", 1, "unstick.toml:1: "),
        ("max-body = 1\nmax-body = 2\n", 2, "duplicate key"),
        ("tcp = \"a\x1b[2J:x\"\n", 1, "unstick.toml:1: "),
        ("\"\\u001b[2J\" = 1\n", 1, "no setting `\\u001b[2J`"),
    ] {
        let path = file(&place, content);
        let output = started(&path);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{content:?}: {stderr}");
        assert_eq!(output.stdout, b"", "{content:?}");
        let place = format!("unstick: {}:{line}: ", path.display());
        assert!(stderr.starts_with(&place), "{content:?}: {stderr}");
        assert!(stderr.contains(said), "{content:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
        assert!(!stderr.contains('\x1b'), "{stderr:?}");
    }
}

#[test]
fn what_does_not_go_together_names_the_file() {
    let place = Place::new("config.together");
    for (content, said) in [
        ("tcp = \"0.0.0.0:0\"\nallow-exec = true\n", "loopback"),
        ("wire = \"raw\"\nroot = \".\"\n", "files go in frames only"),
    ] {
        let path = file(&place, content);
        let output = started(&path);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert!(stderr.contains("unstick.toml)"), "{stderr}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_said_to_be_one() {
    let place = Place::new("config.read");
    let binary = place.local("binary");
    fs::write(&binary, b"a = 1\n\xff\n").expect("room");
    let missing = place.local("missing");
    for (path, code, said) in [
        (binary, 2, "binary:2: not UTF-8"),
        (missing, 1, "no such file"),
        (place.local(""), 1, "is a directory"),
        ("/dev/zero".into(), 2, "longer than"),
    ] {
        let output = started(&path);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    // A wrong command line is wrong with a file, too.
    let path = file(&place, "verbose = 1\n");
    let output = run(unstick([
        "serve",
        "--fly",
        "--config",
        path.to_str().expect("UTF-8"),
    ]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--fly"));
}
