//! Finds out whether std has anonymous pipes, which it has since Rust 1.87: `Async` reads and writes them.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(std_has_pipes)");
    // A compiler that does not say its version is taken for an old one.
    if minor_version().is_some_and(|minor| minor >= 87) {
        println!("cargo::rustc-cfg=std_has_pipes");
    }
}

fn minor_version() -> Option<u32> {
    let said = Command::new(env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.strip_prefix("rustc 1.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}
