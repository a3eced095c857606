//! The file of the bridge: any text is read and checked without a panic, every finding stands on a line of the file, both
//! forms of the report hold together, and clear text where a secret belongs is never repeated.

use polywire_bridge::{Config, Registry, Source, check};
use polywire_hpx::Hpx;
use polywire_sockhop::Sockhop;

use crate::trace;

/// What stands where a secret is named, in the seeds.
const SECRET: &str = "hunter2hunter2";

/// The text of the file; bytes that are not UTF-8 are replaced. No file of this machine is read as a secret.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input).replace("file:", "file:/no/such/folder/");
    let lines = text.lines().count();
    let registry = Registry::new().with(Sockhop).with(Hpx);
    let report = || check(&Config::parse(Source::new("fuzz.toml", text.clone())), &registry);
    let first = report();
    let shown = first.to_text();
    assert_eq!(shown, report().to_text(), "the same file is judged in two ways");
    for finding in &first.findings {
        assert!(finding.line as usize <= lines + 1, "a finding on line {} of {lines}", finding.line);
        assert!(!finding.text.is_empty(), "a finding without words");
    }
    let problems = first.findings.iter().map(|finding| finding.problem.id()).take(6);
    trace::mark(problems.collect::<Vec<_>>());
    trace::mark(("routes", first.routes.len().min(8), first.errors() == 0));
    let mut json = Vec::new();
    first.write_json(&mut json).expect("a vector takes everything");
    for line in json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).expect("every line of the report is JSON");
    }
    // Only where it stands as a value of its own key: a name may be anything.
    if text.matches(SECRET).count() == text.matches(&format!("password = \"{SECRET}\"")).count() {
        assert!(!shown.contains(SECRET), "the report repeats a secret");
        assert!(!String::from_utf8_lossy(&json).contains(SECRET), "the report repeats a secret");
    }
}

/// Whole files, good and bad.
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = include_str!("config.toml");
    let mut seeds = vec![whole.as_bytes().to_vec()];
    // Each table alone, and the file without each line.
    seeds.extend(whole.split("\n\n").map(|table| table.as_bytes().to_vec()));
    seeds.extend(whole.lines().map(|line| whole.replacen(line, "", 1).into_bytes()));
    seeds.push(
        format!("[endpoint.a]\nprotocol = \"hpx\"\nrole = \"client\"\npassword = \"{SECRET}\"\n")
            .into_bytes(),
    );
    seeds
}
