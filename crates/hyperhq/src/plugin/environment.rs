//! What the host tells a plugin that it launches.

use std::path::PathBuf;

use polywire_core::Secret;

/// A variable with its legacy name, where it has one.
type Name = (&'static str, Option<&'static str>);

const PLUGIN_ID: Name = ("HYPERHQ_PLUGIN_ID", None);
const SOCKET_PORT: Name = ("HYPERHQ_SOCKET_PORT", Some("HYPERAI_SOCKET_PORT"));
const AUTH_CHALLENGE: Name = ("HYPERHQ_AUTH_CHALLENGE", Some("HYPERAI_PLUGIN_CHALLENGE"));

/// What a plugin is told by the host that launches it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `HYPERHQ_PLUGIN_ID`: the id in its manifest.
    pub plugin: String,
    /// `HYPERHQ_SOCKET_PORT`, or `HYPERAI_SOCKET_PORT` from older hosts: where the host listens on this machine.
    pub port: u16,
    /// `HYPERHQ_AUTH_CHALLENGE`, or `HYPERAI_PLUGIN_CHALLENGE`: good for one login within 30 s of the launch.
    pub challenge: Secret,
    /// `HYPERHQ_PLUGIN_NAME`: the name for people; `None` from hosts that do not say it.
    pub name: Option<String>,
    /// `HYPERHQ_PLUGIN_VERSION`: the version in its manifest; `None` from hosts that do not say it.
    pub version: Option<String>,
    /// `PLUGIN_DATA_DIR`: a folder that the plugin may write to; `None` from hosts that give it none. Read in a plugin in Go.
    pub data_folder: Option<PathBuf>,
}

/// Why the environment is none of a plugin. A program ends with exit code 2 for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable is not there.
    #[error("{0} is not set: a plugin is started by its host, or by `polywire fake hyperhq`")]
    Missing(&'static str),
    /// A variable is there and empty, or not UTF-8.
    #[error("{0} is set and holds no text: the host that started this plugin should say what it is")]
    Empty(&'static str),
    /// The port is none.
    #[error("{name} = {value:?} is not a port from 1 to 65535: the host that started this plugin set it")]
    Port {
        /// The variable.
        name: &'static str,
        /// Its value, at most 40 characters of it.
        value: String,
    },
}

impl Environment {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the variable.
    pub fn read() -> Result<Self, EnvironmentError> {
        Self::from(|name| std::env::var_os(name).map(|value| value.into_string().unwrap_or_default()))
    }

    /// Reads another environment: `look_up` gives a variable's value, empty where it is no UTF-8.
    ///
    /// # Errors
    /// [`EnvironmentError`] naming the variable.
    pub fn from(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let find = |(name, legacy): Name| {
            let legacy = legacy.and_then(|legacy| Some((legacy, look_up(legacy)?)));
            let (name, value) =
                look_up(name).map(|value| (name, value)).or(legacy).ok_or(EnvironmentError::Missing(name))?;
            if value.trim().is_empty() { Err(EnvironmentError::Empty(name)) } else { Ok((name, value)) }
        };
        let (_, plugin) = find(PLUGIN_ID)?;
        let (name, value) = find(SOCKET_PORT)?;
        let port = value.trim().parse().ok().filter(|port| *port != 0);
        let port =
            port.ok_or_else(|| EnvironmentError::Port { name, value: value.chars().take(40).collect() })?;
        let (_, challenge) = find(AUTH_CHALLENGE)?;
        // Nothing depends on these, so one that holds no text is as good as none.
        let told = |name: &str| look_up(name).filter(|value| !value.trim().is_empty());
        Ok(Self {
            plugin,
            port,
            challenge: Secret::from(challenge),
            name: told("HYPERHQ_PLUGIN_NAME"),
            version: told("HYPERHQ_PLUGIN_VERSION"),
            data_folder: told("PLUGIN_DATA_DIR").map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let all: HashMap<_, _> = pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Environment::from(|name| all.get(name).cloned())
    }

    #[test]
    fn h23_a_missing_or_odd_variable_is_named_in_one_sentence() {
        let (id, port, challenge) = (
            ("HYPERHQ_PLUGIN_ID", "demo"),
            ("HYPERHQ_SOCKET_PORT", "52789"),
            ("HYPERHQ_AUTH_CHALLENGE", "c0ffee"),
        );
        let whole = read(&[id, port, challenge]).unwrap();
        assert_eq!((&*whole.plugin, whole.port, whole.challenge.expose()), ("demo", 52789, &b"c0ffee"[..]));
        for (pairs, named) in [
            (&[port, challenge][..], "HYPERHQ_PLUGIN_ID is not set"),
            (&[id, challenge], "HYPERHQ_SOCKET_PORT is not set"),
            (&[id, port], "HYPERHQ_AUTH_CHALLENGE is not set"),
            (&[("HYPERHQ_PLUGIN_ID", " "), port, challenge], "HYPERHQ_PLUGIN_ID is set and holds no text"),
            (&[id, port, ("HYPERHQ_AUTH_CHALLENGE", "")], "HYPERHQ_AUTH_CHALLENGE is set and holds no text"),
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
        for wrong in ["0", "70000", "-1", "5a", "52789.0"] {
            let error = read(&[id, ("HYPERHQ_SOCKET_PORT", wrong), challenge]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("HYPERHQ_SOCKET_PORT = {wrong:?} is not a port")), "{error}");
        }
    }

    #[test]
    fn name_version_and_folder_are_told_where_the_host_tells_them() {
        let needed = [
            ("HYPERHQ_PLUGIN_ID", "demo"),
            ("HYPERHQ_SOCKET_PORT", "1"),
            ("HYPERHQ_AUTH_CHALLENGE", "c0ffee"),
        ];
        let bare =
            read(&[&needed[..], &[("HYPERHQ_PLUGIN_NAME", " "), ("PLUGIN_DATA_DIR", "")]].concat()).unwrap();
        assert_eq!((bare.name, bare.version, bare.data_folder), (None, None, None));
        let more = [
            ("HYPERHQ_PLUGIN_NAME", "Demo plugin"),
            ("HYPERHQ_PLUGIN_VERSION", "1.2"),
            ("PLUGIN_DATA_DIR", "/data/demo"),
        ];
        let whole = read(&[&needed[..], &more].concat()).unwrap();
        assert_eq!((whole.name.as_deref(), whole.version.as_deref()), (Some("Demo plugin"), Some("1.2")));
        assert_eq!(whole.data_folder, Some(PathBuf::from("/data/demo")));
    }

    #[test]
    fn legacy_names_count_where_the_new_ones_are_absent() {
        let id = ("HYPERHQ_PLUGIN_ID", "demo");
        let legacy = [id, ("HYPERAI_SOCKET_PORT", "1"), ("HYPERAI_PLUGIN_CHALLENGE", "old")];
        assert_eq!(read(&legacy).unwrap().port, 1);
        let new = [("HYPERHQ_SOCKET_PORT", "2"), ("HYPERHQ_AUTH_CHALLENGE", "new")];
        let both = read(&[&legacy[..], &new].concat()).unwrap();
        assert_eq!((both.port, both.challenge.expose()), (2, &b"new"[..]));
        // One that is there and odd is not passed over.
        for odd in [("HYPERHQ_SOCKET_PORT", "0"), ("HYPERHQ_AUTH_CHALLENGE", "")] {
            let error = read(&[&legacy[..], &[odd]].concat()).unwrap_err().to_string();
            assert!(error.starts_with(odd.0), "{error}");
        }
    }

    #[test]
    fn the_challenge_is_never_shown() {
        let all = [
            ("HYPERHQ_PLUGIN_ID", "demo"),
            ("HYPERHQ_SOCKET_PORT", "1"),
            ("HYPERHQ_AUTH_CHALLENGE", "c0ffee"),
        ];
        assert!(!format!("{:?}", read(&all).unwrap()).contains("c0ffee"));
    }
}
