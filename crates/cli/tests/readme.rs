//! The tables of the README are those of the code. `POLYWIRE_WRITE_TABLES=1` writes them anew.

use std::path::Path;

use polywire_cli::{adapters, exit_codes, pairs, pairs_table, protocols, verbs};

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let mut fresh = readme.clone();
    for (name, table) in [
        ("protocols", protocols(&adapters()).unwrap()),
        ("pairs", pairs_table(&pairs(&adapters()).unwrap())),
        ("verbs", verbs()),
        ("exit codes", exit_codes()),
    ] {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let (head, rest) = fresh.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, tail) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        fresh = format!("{head}{begin}{table}{end}{tail}");
    }
    if std::env::var_os("POLYWIRE_WRITE_TABLES").is_some() {
        std::fs::write(path, fresh).unwrap();
    } else {
        assert_eq!(readme, fresh, "run this test with POLYWIRE_WRITE_TABLES=1");
    }
}
