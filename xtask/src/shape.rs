//! `cargo xtask shape`: shows the adapters side by side, so that a twin which strays is seen.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::steps::root;

/// The adapters that share one floor plan.
const TWINS: &[&str] = &["sockhop", "hpx", "stonyx", "socketio"];
/// The rooms every twin has, from bytes to user. Other files come behind them by name.
const ROOMS: &[&str] = &[
    "lib.rs",
    "codec.rs",
    "wire.rs",
    "session.rs",
    "translate.rs",
    "server.rs",
    "client.rs",
    "config.rs",
    "error.rs",
];

/// One file of one adapter.
struct Room {
    file: String,
    lines: usize,
    sentence: String,
}

pub(crate) fn run(_: &[String]) -> ExitCode {
    let mut twins = Vec::new();
    for name in TWINS {
        match rooms(&root().join("crates").join(name).join("src")) {
            Ok(rooms) => twins.push((*name, rooms)),
            Err(error) => {
                eprintln!("the files of {name} cannot be read: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", table(&twins));
    ExitCode::SUCCESS
}

/// Every Rust file below `source`.
fn rooms(source: &Path) -> io::Result<Vec<Room>> {
    let mut folders = vec![source.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path)?;
                let file = path.strip_prefix(source).unwrap_or(&path).display().to_string();
                found.push(Room { file, lines: text.lines().count(), sentence: first_sentence(&text) });
            }
        }
    }
    Ok(found)
}

/// The first line of the module's documentation.
fn first_sentence(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("//! ")).unwrap_or("(no documentation)").to_owned()
}

/// The place of a file in the table.
fn rank(file: &str) -> (usize, &str) {
    (ROOMS.iter().position(|room| *room == file).unwrap_or(ROOMS.len()), file)
}

/// One block per file, one line per adapter in it.
fn table(twins: &[(&str, Vec<Room>)]) -> String {
    let files =
        twins.iter().flat_map(|(_, rooms)| rooms).map(|room| rank(&room.file)).collect::<BTreeSet<_>>();
    let width = files.iter().map(|(_, file)| file.len()).max().unwrap_or_default();
    let mut table = String::new();
    for (_, file) in files {
        let mut label = file;
        for (twin, rooms) in twins {
            let row = match rooms.iter().find(|room| room.file == file) {
                Some(room) => format!("{:>5}  {}", room.lines, room.sentence),
                None => "    -".to_owned(),
            };
            table.push_str(&format!("{label:<width$}  {twin:<8} {row}\n"));
            label = "";
        }
    }
    for (twin, rooms) in twins {
        let lines = rooms.iter().map(|room| room.lines).sum::<usize>();
        table.push_str(&format!("{:<width$}  {twin:<8} {lines:>5}  in {} files\n", "total", rooms.len()));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_come_in_the_order_of_the_floor_plan() {
        let room = |file: &str| Room { file: file.to_owned(), lines: 7, sentence: "Does it.".to_owned() };
        let twins = [
            ("left", vec![room("binary.rs"), room("wire.rs")]),
            ("right", vec![room("wire.rs"), room("lib.rs")]),
        ];
        let shown = table(&twins);
        let expected = "lib.rs     left         -
           right        7  Does it.
wire.rs    left         7  Does it.
           right        7  Does it.
binary.rs  left         7  Does it.
           right        -
total      left        14  in 2 files
total      right       14  in 2 files
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_first_sentence_is_the_first_line_of_the_documentation() {
        assert_eq!(first_sentence("// no\n//! Bytes to frames.\n//!\n//! More.\n"), "Bytes to frames.");
        assert_eq!(first_sentence("fn main() {}"), "(no documentation)");
    }
}
