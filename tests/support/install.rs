//! Foreign packages in exact versions, prepared once per machine under the target folder.
//!
//! Several test programs may ask for one package at the same time: a file lock lets one install it while the
//! others wait, and a marker written last tells a finished folder from one that was interrupted.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::place;
use crate::skip::Tool;

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Packages for Node.js, through `npm`.
    Npm,
    /// Packages for Python, through `pip`.
    PyPi,
}

/// One package in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Where it comes from.
    pub source: Source,
    /// Its name there.
    pub name: &'static str,
    /// The exact version.
    pub version: &'static str,
    /// What it needs besides, in exact versions, as its package manager reads it.
    pub beside: &'static [&'static str],
}

/// The last Sockhop release of the 1.x line on npm: JSON lines only.
pub const SOCKHOP_184: Package =
    Package { source: Source::Npm, name: "sockhop", version: "1.8.4", beside: &[] };
/// The first HPX client for Node.js that can be installed: no message ids.
pub const HPX_JS_101: Package =
    Package { source: Source::Npm, name: "happypandax-client", version: "1.0.1", beside: &[] };
/// The HPX client for Node.js that pairs replies by `__id__`.
pub const HPX_JS_220: Package =
    Package { source: Source::Npm, name: "happypandax-client", version: "2.2.0", beside: &[] };
/// The HPX client for Python.
pub const HPX_PY_100: Package =
    Package { source: Source::PyPi, name: "happypandax-client", version: "1.0.0", beside: &[] };

/// What the Stonyx library and the peers of its wire sit on.
pub const WS: Package = Package { source: Source::Npm, name: "ws", version: "8.19.0", beside: &[] };
/// The server that the Socket.IO client is tested with.
pub const SOCKET_IO: Package =
    Package { source: Source::Npm, name: "socket.io", version: "4.8.4", beside: &[] };
/// The client that ours is measured against.
pub const SOCKET_IO_CLIENT: Package =
    Package { source: Source::Npm, name: "socket.io-client", version: "4.8.4", beside: &[] };

/// The Socket.IO client for Python that HyperHQ's plugin guide names.
pub const PYTHON_SOCKETIO: Package = Package {
    source: Source::PyPi,
    name: "python-socketio",
    version: "5.18.1",
    beside: &["aiohttp==3.14.5"],
};

/// Every foreign package the tests and measurements use.
pub const ALL: [Package; 8] =
    [SOCKHOP_184, HPX_JS_101, HPX_JS_220, HPX_PY_100, WS, SOCKET_IO, SOCKET_IO_CLIENT, PYTHON_SOCKETIO];

impl Package {
    /// The folder below [`place::foreign`] that holds it.
    fn folder_name(&self) -> String {
        let source = match self.source {
            Source::Npm => "npm",
            Source::PyPi => "py",
        };
        format!("{source}-{}-{}", self.name, self.version)
    }

    /// The tool that runs it and the tool that installs it.
    fn tools(&self) -> (Tool, Tool) {
        match self.source {
            Source::Npm => (Tool::Node, Tool::Npm),
            Source::PyPi => (Tool::Python, Tool::Pip),
        }
    }

    /// The command that installs it into `folder`.
    fn install_command(&self, folder: &Path) -> Command {
        match self.source {
            Source::Npm => {
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"])
                    .args(["--fetch-retries=2", "--fetch-timeout=30000", "--prefix"])
                    .arg(folder)
                    .arg(format!("{}@{}", self.name, self.version))
                    .args(self.beside);
                npm
            }
            Source::PyPi => {
                let mut python = Command::new("python3");
                python
                    .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
                    .args(["--retries", "2", "--timeout", "30", "--target"])
                    .arg(folder)
                    .arg(format!("{}=={}", self.name, self.version))
                    .args(self.beside);
                python
            }
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Npm => write!(f, "npm {}@{}", self.name, self.version),
            Source::PyPi => write!(f, "PyPI {}=={}", self.name, self.version),
        }
    }
}

/// Why a foreign package is not there.
#[derive(Debug)]
pub enum InstallError {
    /// A tool that installs it is missing.
    Missing(Tool),
    /// The package manager was run and failed.
    Failed {
        /// What was to be installed.
        package: Package,
        /// The end of what the package manager said.
        said: String,
    },
    /// The target folder could not be used.
    Io(io::Error),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(tool) => write!(f, "{tool} is not installed"),
            Self::Failed { package, said } => write!(f, "{package} could not be installed: {said}"),
            Self::Io(error) => write!(f, "the folder for foreign packages cannot be used: {error}"),
        }
    }
}

impl std::error::Error for InstallError {}

impl From<io::Error> for InstallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes sure that `package` is installed and returns its folder.
///
/// That is the `--prefix` of npm packages (modules lie in `node_modules`) and the import path of Python
/// packages. Blocks while another process installs the same package.
///
/// # Errors
/// [`InstallError`]: a tool is missing, the package manager failed, or the target folder is not writable.
pub fn prepare(package: &Package) -> Result<PathBuf, InstallError> {
    let (runs, installs) = package.tools();
    let have = |tool: Tool| if tool.is_installed() { Ok(()) } else { Err(InstallError::Missing(tool)) };
    have(runs)?;
    let folder = place::foreign().join(package.folder_name());
    let marker = folder.join(".complete");
    if marker.exists() {
        return Ok(fs::canonicalize(folder)?);
    }
    have(installs)?;
    fs::create_dir_all(place::foreign())?;
    let lock = File::create(folder.with_added_extension("lock"))?;
    lock.lock()?;
    if !marker.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        install(package, &folder)?;
        File::create(&marker)?;
    }
    Ok(fs::canonicalize(folder)?)
}

/// Runs the package manager once.
fn install(package: &Package, folder: &Path) -> Result<(), InstallError> {
    let output = package.install_command(folder).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().filter(|line| !line.trim().is_empty()).take(4).collect::<Vec<_>>();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(InstallError::Failed { package: *package, said })
}
