//! Programs of at most 60 lines, each about one thing; the README's example is compiled here too.
//!
//! Longer are those that hold a whole adapter: `fifth_adapter`, and `conform_sockhop.py`, the sample of a program in another language
//! that `polywire conform` tests.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Programs that hold a whole adapter.
    const LONGER: [&str; 1] = ["conform_sockhop.py"];

    #[test]
    fn every_example_is_built_and_has_at_most_60_lines() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
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
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert_eq!(lines > 60, LONGER.contains(&name), "{name}: {lines} lines");
        }
    }
}
