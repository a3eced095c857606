//! Writes the blocks of our pages that come from the code, so that they cannot drift: behind `cargo xtask tables`.
//!
//! A block stands between the comments `<!-- begin NAME -->` and `<!-- end NAME -->`. Its name is that of a table, such as `verbs`,
//! or that of a file beside the page and, unless all of it is shown, of a piece of it: `<!-- begin src/wire.rs read -->`. In the
//! file a piece stands between two lines of comment, `// begin read` and `// end read`.
//!
//! With `--check` nothing is written, and a page that is stale is a failure; the test below is the same check.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use polywire_cli::{adapters, exit_codes, pairs, pairs_table, protocols, verbs};
use polywire_conformance::Report;
use polywire_tests::place;

/// Every page that has blocks.
const PAGES: &[&str] = &["README.md", "examples/fifth_adapter/README.md"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [word] if word == "--check" => true,
        _ => {
            eprintln!("usage: cargo xtask tables [--check]");
            return ExitCode::from(2);
        }
    };
    let mut failed = false;
    for page in PAGES {
        match renew(&path(page), check) {
            Ok(false) => println!("{page} is as the code is"),
            Ok(true) if check => {
                println!("{page} is stale; `cargo xtask tables` writes it anew");
                failed = true;
            }
            Ok(true) => println!("{page} was written anew"),
            Err(error) => {
                println!("{page}: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn path(page: &str) -> PathBuf {
    place::tests().join("..").join(page)
}

/// Writes a page anew unless it is only to be checked; whether it was stale.
fn renew(page: &Path, check: bool) -> Result<bool> {
    let old = fs::read_to_string(page)?;
    let folder = page.parent().unwrap_or(page);
    let new = fresh(&old, &|name| content(name, folder))?;
    if !check && new != old {
        fs::write(page, &new)?;
    }
    Ok(new != old)
}

/// The page with what `content` gives in every block.
fn fresh(page: &str, content: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let (mut fresh, mut rest) = (String::new(), page);
    while let Some((head, tail)) = rest.split_once("<!-- begin ") {
        let (name, tail) = tail.split_once(" -->\n").ok_or("a begin comment does not end its line")?;
        let end = format!("<!-- end {name} -->");
        let (_, tail) = tail.split_once(&end).ok_or_else(|| format!("the block {name:?} has no end"))?;
        write!(fresh, "{head}<!-- begin {name} -->\n{}{end}", content(name)?)?;
        rest = tail;
    }
    fresh.push_str(rest);
    Ok(fresh)
}

/// What belongs into the block of this name on a page of this folder.
fn content(name: &str, folder: &Path) -> Result<String> {
    Ok(match name {
        "protocols" => protocols(&adapters())?,
        "pairs" => pairs_table(&pairs(&adapters())?),
        "verbs" => verbs(),
        "exit codes" => exit_codes(),
        "conformance" => {
            Report::parse(&fs::read_to_string(place::tests().join("conformance.ndjson"))?)?.to_markdown()
        }
        _ => {
            let (file, piece) =
                name.split_once(' ').map_or((name, None), |(file, piece)| (file, Some(piece)));
            let text = fs::read_to_string(folder.join(file))
                .map_err(|error| format!("{name:?} is no table, and no file beside the page: {error}"))?;
            let language = match file.rsplit_once('.') {
                Some((_, "rs")) => "rust",
                Some((_, "toml")) => "toml",
                _ => "text",
            };
            let cut = cut(&text, piece).ok_or_else(|| format!("{name:?}: the file has no such piece"))?;
            format!("```{language}\n{cut}```\n")
        }
    })
}

/// A piece of a source, or all of it, without the lines that mark pieces and without the indentation that all of it has.
fn cut(text: &str, piece: Option<&str>) -> Option<String> {
    let (mut begun, mut ended) = (piece.is_none(), piece.is_none());
    let mut lines = Vec::new();
    for line in text.lines() {
        match mark(line) {
            None if begun && (!ended || piece.is_none()) => lines.push(line),
            Some(("begin", name)) if Some(name) == piece => begun = true,
            Some(("end", name)) if Some(name) == piece => ended = true,
            _ => {}
        }
    }
    let depth = |line: &&str| line.len() - line.trim_start().len();
    let indentation = lines.iter().filter(|line| !line.is_empty()).map(depth).min().unwrap_or_default();
    let cut = lines.iter().map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default())).collect();
    Some(cut).filter(|_| begun && ended)
}

/// `begin` or `end` and the name of a piece, in a line of comment that holds nothing else.
fn mark(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let comment = line.strip_prefix("// ").or_else(|| line.strip_prefix("# "))?;
    comment.split_once(' ').filter(|(word, name)| matches!(*word, "begin" | "end") && !name.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_stale() {
        for page in PAGES {
            assert!(
                !renew(&path(page), true).unwrap(),
                "{page} is stale: `cargo xtask tables` writes it anew"
            );
        }
    }

    #[test]
    fn blocks_are_filled_and_what_stands_around_them_stays() {
        let content = |name: &str| Ok(format!("[{name}]\n"));
        let page = "a\n<!-- begin x y -->\nold\n<!-- end x y -->\nb\n<!-- begin z -->\n<!-- end z -->";
        let filled =
            "a\n<!-- begin x y -->\n[x y]\n<!-- end x y -->\nb\n<!-- begin z -->\n[z]\n<!-- end z -->";
        assert_eq!(fresh(page, &content).unwrap(), filled);
        assert_eq!(fresh(filled, &content).unwrap(), filled);
        let open = fresh("<!-- begin x -->\n", &content).unwrap_err().to_string();
        assert_eq!(open, "the block \"x\" has no end");
    }

    #[test]
    fn a_piece_is_cut_without_its_indentation_and_without_marks() {
        let text = "use x;\n    // begin a\n    fn a() {\n        // begin b\n        b();\n        // end b\n    }\n\n    // end a\n";
        assert_eq!(cut(text, Some("a")).unwrap(), "fn a() {\n    b();\n}\n\n");
        assert_eq!(cut(text, Some("b")).unwrap(), "b();\n");
        assert_eq!(cut("# begin a\nx = 1\n# end a\n", Some("a")).unwrap(), "x = 1\n");
        assert_eq!(cut(text, None).unwrap().lines().count(), 5);
        assert_eq!(cut(text, Some("c")), None);
        assert_eq!(cut("// begin a\n", Some("a")), None);
    }
}
