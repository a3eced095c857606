//! What the operating system says a process has used.

use std::fs;
use std::io;

/// Processor time of every thread of a process so far, in nanoseconds.
///
/// # Errors
/// When the process is gone, or the system has no `/proc`.
pub(crate) fn cpu_nanos(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(total)
}

/// Processor time that this process has used so far, in nanoseconds.
///
/// # Errors
/// When the system has no `/proc`.
pub(crate) fn own_nanos() -> io::Result<u64> {
    cpu_nanos(std::process::id())
}

/// Resident memory of a process now, in bytes.
///
/// # Errors
/// When the process is gone, or the system has no `/proc`.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::Error::other("no Rss in smaps_rollup"))
}

/// A run that differs by more than this from the median of its fellows is repeated.
const STRAY: f64 = 0.20;
/// How often stray runs are repeated at most.
const REPEATS: usize = 3;

/// Repeats runs until none is a stray by any of the figures that `of` takes from it, or it has been tried often enough.
///
/// # Errors
/// Those of `again`.
pub(crate) async fn repeat_strays<R, const N: usize>(
    runs: &mut [R],
    of: impl Fn(&R) -> [f64; N],
    mut again: impl AsyncFnMut() -> Result<R, String>,
) -> Result<(), String> {
    for _ in 0..REPEATS {
        let Some(stray) = stray(runs, &of) else { break };
        runs[stray] = again().await?;
    }
    Ok(())
}

/// The place of the run that is furthest from its fellows, if that is too far.
fn stray<R, const N: usize>(runs: &[R], of: impl Fn(&R) -> [f64; N]) -> Option<usize> {
    let middles: [f64; N] =
        std::array::from_fn(|which| median(&mut runs.iter().map(|run| of(run)[which]).collect::<Vec<_>>()));
    let off = |run: &R| {
        let each = of(run).into_iter().zip(middles).map(|(figure, middle)| (figure / middle - 1.0).abs());
        each.fold(0.0, f64::max)
    };
    let worst = runs.iter().map(off).enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
    worst.filter(|(_, off)| *off > STRAY).map(|(place, _)| place)
}

/// The median of `values`; 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_by_any_of_its_figures_is_the_stray() {
        let runs = [[1.0, 10.0], [1.1, 10.0], [1.0, 13.0], [1.3, 10.0], [1.0, 10.0]];
        assert_eq!(stray(&runs, |run| *run), Some(2));
        assert_eq!(stray(&runs, |run| [run[0]]), Some(3));
        assert_eq!(stray(&runs[..2], |run| *run), None);
    }
}
