//! `unstick completions`: what the scripts complete, asked of a real shell.

mod common;

use std::process::Command;

use common::{run, run_with, text, unstick};

/// The script for a shell.
fn script(shell: &str) -> String {
    let output = run(unstick(["completions", shell]));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout).to_owned()
}

/// What Bash offers where the last of these words is being written.
fn offered(words: &[&str]) -> Vec<String> {
    // As Bash itself calls what `complete` names: the command, the word, and the one before it.
    let ask = r#"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        by=$(complete -p unstick) && by=${by#*-F } && by=${by%% *}
        "$by" unstick "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        ((${#COMPREPLY[@]} == 0)) || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &format!("source /dev/stdin\n{ask}"), "bash"])
        .args(words);
    let output = run_with(bash, script("bash").as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "", "{words:?}");
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(offered(&["unstick", "se"]), ["serve"]);
    let commands = offered(&["unstick", ""]);
    for command in ["serve", "echo", "exec", "get", "completions", "man"] {
        assert!(commands.iter().any(|offer| offer == command), "{command}");
    }
    assert_eq!(offered(&["unstick", "exec", "--wi"]), ["--wire"]);
    assert_eq!(
        offered(&["unstick", "exec", "--wire", ""]),
        ["framed", "header", "length", "raw"]
    );
    assert_eq!(offered(&["unstick", "serve", "--wire", "le"]), ["length"]);
    assert_eq!(
        offered(&["unstick", "serve", "--engine", ""]),
        ["threads", "nal"]
    );
    assert_eq!(offered(&["unstick", "completions", "po"]), ["powershell"]);
    assert_eq!(offered(&["unstick", "serve", "--no-such"]), [""; 0]);
}

#[test]
fn every_shell_has_a_script_of_its_own() {
    let shells = ["bash", "elvish", "fish", "powershell", "zsh"];
    let mut offers = offered(&["unstick", "completions", ""]);
    offers.retain(|offer| !offer.starts_with('-'));
    assert_eq!(offers, shells);
    let scripts = shells.map(script);
    for (shell, script) in shells.iter().zip(&scripts) {
        assert!(script.contains("quiet-after"), "{shell}");
        let same = scripts.iter().filter(|other| *other == script);
        assert_eq!(same.count(), 1, "{shell}");
    }
    let output = run(unstick(["completions", "cmd.exe"]));
    assert_eq!(output.status.code(), Some(2));
}
