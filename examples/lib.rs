//! Programs of at most 60 lines, each about one thing; the README's example is compiled here too.
//!
//! Longer are those that hold a whole adapter: `fifth_adapter`, and `conform_sockhop.py`, the sample of a program in another language
//! that `polywire conform` tests.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Programs that hold a whole adapter.
    const LONGER: [&str; 1] = ["conform_sockhop.py"];

    #[test]
    fn every_example_is_built_run_named_in_the_readme_and_has_at_most_60_lines() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let rust = |entry: &PathBuf| entry.extension().is_some_and(|extension| extension == "rs");
        let tests = std::fs::read_dir(folder.join("../tests")).unwrap().map(|entry| entry.unwrap().path());
        let tests: String = tests.filter(rust).map(|path| std::fs::read_to_string(path).unwrap()).collect();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is = |ending: &str| path.extension().is_some_and(|extension| extension == ending);
            if !(is("rs") || is("py")) || name == "lib.rs" {
                continue;
            }
            if is("rs") {
                assert!(manifest.contains(&format!("path = \"{name}\"\ntest = true")), "{name}");
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // One that needs somebody else's program is a module of the test that has that.
            let elsewhere = format!("#[path = \"../examples/{name}\"]");
            assert!(is("py") || text.contains("test]\n") || tests.contains(&elsewhere), "{name} is run");
            let lines = text.lines().count();
            assert_eq!(lines > 60, LONGER.contains(&name), "{name}: {lines} lines");
            assert!(README.contains(&format!("(examples/{name})")), "the README names {name}");
        }
    }

    const README: &str = include_str!("../README.md");

    /// One for each end of each wire, and for what stands beside them.
    #[test]
    fn every_end_of_every_wire_has_its_example() {
        let ends = ["sockhop", "hpx", "stonyx", "socketio"].into_iter();
        let ends = ends.flat_map(|wire| [format!("{wire}_server"), format!("{wire}_client")]);
        let others = ["hyperhq_host", "hyperhq_plugin", "own_layer", "bridge_in_code"].map(str::to_owned);
        for name in ends.chain(others) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.rs"));
            assert!(path.is_file(), "{name}");
        }
    }
}
