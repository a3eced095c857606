//! `hostile.toml` and `goals.toml` tell the truth: every row is there once, and names tests that exist or says what no test shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use polywire_tests::place;
use toml::{Table, Value};

/// The rows by id, in the file's own form.
fn rows() -> BTreeMap<String, Table> {
    let mut rows = BTreeMap::new();
    for name in ["hostile.toml", "goals.toml"] {
        let text = fs::read_to_string(place::tests().join(name)).expect("it is there");
        let file = text.parse::<Table>().expect("it is TOML");
        for row in file["row"].as_array().expect("`row` is a list") {
            let row = row.as_table().expect("a row is a table").clone();
            let id = row["id"].as_str().expect("`id` is text").to_owned();
            assert!(rows.insert(id.clone(), row).is_none(), "row {id} is there twice");
        }
    }
    rows
}

/// The tests a row names.
fn named(row: &Table) -> BTreeSet<String> {
    let names = row.get("where").and_then(Value::as_array).into_iter().flatten();
    names.map(|name| name.as_str().expect("a test's name is text").to_owned()).collect()
}

/// Every Rust file of the crates and of the workspace tests.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![place::tests(), place::tests().join("../crates")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            if path.ends_with("target") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The names of all tests in `source` that run when nobody asks for them by name.
fn tests(source: &Path) -> Vec<String> {
    let text = fs::read_to_string(source).expect("a source can be read");
    let (mut is_test, mut is_ignored) = (false, false);
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            is_ignored |= line.contains("ignore");
        } else if !line.starts_with("//") {
            found.extend(function(line).filter(|_| is_test && !is_ignored));
            (is_test, is_ignored) = (false, false);
        }
    }
    found
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<String> {
    let (before, rest) = line.split_once("fn ")?;
    let is_one = before.split_whitespace().all(|word| word.starts_with("pub") || word == "async");
    is_one.then(|| rest.split(['(', '<']).next().unwrap_or_default().to_owned())
}

/// The row a test's name begins with: `S-04` for `s04_transition_loses_no_byte`.
fn row_of(test: &str) -> Option<String> {
    let (wire, rest) = test.split_at_checked(1)?;
    let (number, rest) = rest.split_at_checked(2)?;
    let is_row = matches!(wire, "c" | "h" | "s" | "p" | "x" | "b" | "g")
        && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_row && rest.starts_with('_')).then(|| format!("{}-{number}", wire.to_uppercase()))
}

#[test]
fn every_row_is_there_once() {
    let expected = [("C", 22), ("H", 25), ("S", 17), ("P", 18), ("X", 17), ("B", 17), ("G", 30)]
        .into_iter()
        .flat_map(|(wire, last)| (1..=last).map(move |number| format!("{wire}-{number:02}")))
        .collect::<BTreeSet<_>>();
    assert_eq!(rows().into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn every_row_names_its_tests_or_says_why_it_has_none() {
    for (id, row) in rows() {
        for text in ["input", "outcome"] {
            assert!(row[text].as_str().is_some_and(|text| !text.is_empty()), "{id}: {text} is empty");
        }
        let has_reason = row.get("reason").and_then(Value::as_str).is_some_and(|reason| !reason.is_empty());
        assert!(has_reason || !named(&row).is_empty(), "{id} needs `where` or `reason`");
        let listed = row.get("where").and_then(Value::as_array).map_or(0, Vec::len);
        assert_eq!(named(&row).len(), listed, "{id} names a test twice");
    }
}

#[test]
fn every_named_test_exists() {
    let written = sources().iter().flat_map(|source| tests(source)).collect::<BTreeSet<_>>();
    for (id, row) in rows() {
        for test in named(&row) {
            assert!(written.contains(&test), "{id} names {test}, which is no test that runs");
        }
    }
}

#[test]
fn every_test_of_a_row_is_named_there() {
    let rows = rows();
    let mut missing = BTreeMap::<String, Vec<String>>::new();
    for test in sources().iter().flat_map(|source| tests(source)) {
        let Some(id) = row_of(&test) else { continue };
        let row = rows.get(&id).unwrap_or_else(|| panic!("{test} is for {id}, which is no row"));
        if !named(row).contains(&test) {
            missing.entry(id).or_default().push(test);
        }
    }
    assert!(
        missing.is_empty(),
        "hostile.toml and goals.toml do not name these tests in `where`: {missing:#?}"
    );
}
