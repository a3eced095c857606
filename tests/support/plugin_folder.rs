//! The folder of a HyperHQ plugin, for the scenario `file` of the plugins in `tests/peers/hyperhq`.

use std::io;
use std::path::PathBuf;

use crate::scratch::scratch;

/// A folder in which `plugin` holds what the scenario asks for; beside it lies a file that it must not get, and in it a link to that.
///
/// # Errors
/// When it cannot be written.
pub fn plugin_folder(name: &str) -> io::Result<PathBuf> {
    let folder = scratch(name);
    let own = folder.join("plugin");
    std::fs::create_dir_all(own.join("assets"))?;
    std::fs::write(own.join("README.md"), "hello from the plugin folder\n")?;
    std::fs::write(own.join("assets/blob.bin"), (0..=255).collect::<Vec<u8>>())?;
    std::fs::write(own.join("empty.txt"), "")?;
    std::fs::write(folder.join("secret.txt"), "must never be served\n")?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.join("secret.txt"), own.join("escape.txt"))?;
    Ok(folder)
}
