//! The terminal behind standard output, where there is one.

use std::io::IsTerminal;

/// What a terminal has that does not tell its size.
const USUAL: (usize, usize) = (24, 80);

/// Is standard output a terminal?
pub(crate) fn is_there() -> bool {
    std::io::stdout().is_terminal()
}

/// Its rows and columns, as they are now.
pub(crate) fn size() -> (usize, usize) {
    told().filter(|(rows, columns)| *rows > 0 && *columns > 0).unwrap_or(USUAL)
}

#[cfg(unix)]
fn told() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((size.ws_row.into(), size.ws_col.into()))
}

#[cfg(not(unix))]
fn told() -> Option<(usize, usize)> {
    None
}
