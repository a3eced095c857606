//! Runs of `polywire conform`, as tests see them.

use std::process::Stdio;
use std::time::Duration;

use polywire_tests::scratch::scratch;
use serde_json::Value;
use tokio::process::Command;

/// A run that has ended: exit code, standard output and standard error.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.output, self.errors);
        self
    }

    /// The lines of a JSON report, without the counts.
    pub(crate) fn cases(&self) -> Vec<Value> {
        let lines = self.output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line.get("case").is_some()).collect()
    }

    /// The names of cases with this verdict.
    pub(crate) fn with(&self, verdict: &str) -> Vec<String> {
        let cases = self.cases();
        let with = cases.iter().filter(|case| case["verdict"] == verdict);
        with.map(|case| case["case"].as_str().unwrap().to_owned()).collect()
    }
}

/// Runs `polywire conform` with these options against this program.
pub(crate) async fn conform(options: &[&str], program: &[&str]) -> Ran {
    let run = Command::new(env!("CARGO_BIN_EXE_polywire-under-test"))
        .arg("conform")
        .args(options)
        .arg("--")
        .args(program)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(Duration::from_secs(300), run).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: run.status.code().unwrap(), output: text(run.stdout), errors: text(run.stderr) }
}

/// A file of this test run.
pub(crate) fn file(name: &str, content: &str) -> String {
    let path = scratch(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}
