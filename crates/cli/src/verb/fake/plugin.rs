//! What to launch, from the command line and from the plugin's manifest.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use polywire_hyperhq::{Launch, MAX_MANIFEST_BYTES, Manifest};

use super::HyperHq;
use crate::exit::Fault;

/// The id of a plugin that does not say its own.
const ID: &str = "demo-plugin";

/// A plugin that is to be launched.
pub(super) struct Plugin {
    /// Its program and what it is told; the port is not known yet.
    pub(super) launch: Launch,
    /// Its files.
    pub(super) folder: Option<PathBuf>,
}

impl Plugin {
    /// # Errors
    /// A usage fault that names what is missing or wrong.
    pub(super) fn of(args: &HyperHq) -> Result<Self, Fault> {
        let manifest = args.plugin.as_deref().map(manifest).transpose()?.flatten();
        let mut words = args.command.iter();
        let program = match (words.next(), &args.plugin, &manifest) {
            (Some(program), _, _) => PathBuf::from(program),
            (None, Some(folder), Some(manifest)) => executable(folder, manifest)?,
            _ => {
                return Err(Fault::usage("which program is the plugin?")
                    .hint("name it after --, such as `polywire fake hyperhq -- node plugin.js`, or its folder with --plugin"));
            }
        };
        let id = args.id.clone().or_else(|| manifest.as_ref().map(|manifest| manifest.id.clone()));
        let mut launch = Launch::new(program, id.unwrap_or_else(|| ID.to_owned()), 0);
        launch.arguments = words.cloned().collect();
        launch.folder = args.plugin.clone();
        launch.legacy_names = true;
        launch.ends_children = true;
        if let Some(manifest) = manifest {
            launch.name = manifest.name;
            launch.version = manifest.version;
        }
        Ok(Self { launch, folder: args.plugin.clone() })
    }
}

/// The manifest in `folder`, if there is one.
fn manifest(folder: &Path) -> Result<Option<Manifest>, Fault> {
    let path = folder.join("plugin.json");
    let wrong = |error: &dyn std::fmt::Display| Fault::usage(format_args!("{}: {error}", path.display()));
    if !folder.is_dir() {
        return Err(Fault::usage(format_args!("{} is no folder", folder.display())));
    }
    if !path.exists() {
        return Ok(None);
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(&path).map_err(|error| wrong(&error))?;
    // One byte more than is read, so that a larger one is told.
    file.take(MAX_MANIFEST_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| wrong(&error))?;
    Manifest::parse(&text).map(Some).map_err(|error| wrong(&error))
}

fn executable(folder: &Path, manifest: &Manifest) -> Result<PathBuf, Fault> {
    let program = Path::new(&manifest.executable);
    if !program.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        let why =
            format!("plugin.json: executable is {:?}, which is not below its folder", manifest.executable);
        return Err(Fault::usage(why));
    }
    let path = folder.join(program);
    std::fs::canonicalize(&path)
        .map_err(|error| Fault::usage(format_args!("plugin.json: executable {}: {error}", path.display())))
}
