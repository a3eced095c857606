//! The manifests of all members of the workspace: what is decided once is written once, at its top.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// What every package takes from the workspace.
const SHARED: &[&str] = &["version", "edition", "rust-version", "license"];
/// The tables of dependencies, at the top of a manifest and within each `target`.
const DEPENDENCIES: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// What a manifest decides by itself, and has to take from the workspace.
fn faults(manifest: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    if !inherits(manifest.get("lints")) {
        faults.push("lints".to_owned());
    }
    let package = manifest["package"].as_table().unwrap();
    faults.extend(SHARED.iter().filter(|key| !inherits(package.get(**key))).map(|key| (*key).to_owned()));
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    for place in targets.filter_map(Value::as_table).chain([manifest]) {
        for dependencies in DEPENDENCIES.iter().filter_map(|name| place.get(*name)?.as_table()) {
            let own = dependencies.iter().filter(|(_, dependency)| !inherits(Some(dependency)));
            faults.extend(own.map(|(name, _)| format!("dependency {name}")));
        }
    }
    faults
}

/// Does it say `workspace = true`?
fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

fn read(folder: &Path) -> Table {
    fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap()
}

#[test]
fn every_member_takes_its_lints_and_versions_from_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let workspace = read(root);
    let members = workspace["workspace"]["members"].as_array().unwrap();
    assert!(members.len() > 10, "{members:?}");
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        assert_eq!(faults(&read(&root.join(member))), [""; 0], "{member}");
    }
}

#[test]
fn a_manifest_that_decides_by_itself_is_found() {
    let bad = r#"
[package]
name = "bad"
version.workspace = true
edition = "2021"
license.workspace = true
rust-version = { workspace = false }

[dependencies]
bytes = "1"
good.workspace = true
tokio = { version = "1", features = ["net"] }

[target.'cfg(unix)'.dev-dependencies]
libc = { git = "https://example.org/libc" }
rustix = { workspace = true, features = ["process"] }

[lints.rust]
unsafe_code = "allow"
"#;
    let found = faults(&bad.parse().unwrap());
    let expected =
        ["lints", "edition", "rust-version", "dependency libc", "dependency bytes", "dependency tokio"];
    assert_eq!(found, expected);
}
