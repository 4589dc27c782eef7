//! Every engine of this process, all cases.

use conformance::{ENGINES, run_some};

/// Runs all cases against the engine of this name; those whose names have `CONFORMANCE_CASE` in them, if that is set.
fn run(name: &str) {
    let engine = ENGINES.iter().find(|engine| engine.name == name);
    let mut running = (engine.expect("its name").start)().expect("it starts");
    if let Ok(seed) = std::env::var("CONFORMANCE_SEED") {
        running.target.seed = seed.parse().expect("a number");
    }
    let only = std::env::var("CONFORMANCE_CASE").unwrap_or_default();
    let report = run_some(&running.target, &only);
    running.server.check().expect("it runs");
    assert!(report.is_good(), "{:#?}", report.failed);
}

#[test]
fn threads() {
    run("threads");
}

#[test]
fn nal() {
    run("nal");
}

#[test]
fn smoltcp() {
    run("smoltcp");
}

#[test]
fn each_engine_has_a_test() {
    let text = include_str!("engines.rs");
    for engine in ENGINES {
        assert!(text.contains(&format!("run(\"{}\")", engine.name)));
    }
}
