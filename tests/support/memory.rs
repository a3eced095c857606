//! The memory of this process, as Linux tells it.

/// Bytes that are resident now.
///
/// # Panics
/// Where `/proc` does not tell.
pub fn held() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    resident.expect("the second number is what is resident") * 4_096
}
