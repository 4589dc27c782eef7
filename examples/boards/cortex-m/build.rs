//! Tells the sources which architecture they are for: Armv6-M has less to say of faults.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(armv6m)");
    if env::var("TARGET").is_ok_and(|target| target.starts_with("thumbv6m-")) {
        println!("cargo::rustc-cfg=armv6m");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
