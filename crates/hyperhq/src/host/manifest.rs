//! `plugin.json`: what a plugin says of itself.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Largest manifest that is read, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 1 << 20;

/// A manifest. What is needed to launch the plugin has been checked; everything else is kept as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Manifest {
    /// Its id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its version, as it is written.
    pub version: String,
    /// What to start, below the plugin's folder.
    pub executable: String,
    /// What it can do.
    #[serde(default, deserialize_with = "traits")]
    pub capabilities: Vec<Trait>,
    /// What it wants to be allowed.
    #[serde(default, deserialize_with = "traits")]
    pub permissions: Vec<Trait>,
    /// Every other member.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One capability, or one permission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trait {
    /// The `name` of a capability, the `type` of a permission.
    pub name: String,
    /// Every other member, such as `description`, `required` and `scope`; none where only a name is written.
    pub other: Map<String, Value>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is larger than 1 MiB.
    #[error("plugin.json has {0} bytes, and more than 1048576 are not read")]
    TooLarge(usize),
    /// It is no JSON, or lacks something.
    #[error("plugin.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A member is there and means nothing.
    #[error("plugin.json: {0} is empty")]
    Empty(&'static str),
    /// It is no program.
    #[error("plugin.json: type is {0:?}, and only \"executable\" can be launched")]
    Type(String),
}

impl Manifest {
    /// Reads a manifest; a byte order mark in front of it is passed over.
    ///
    /// # Errors
    /// [`ManifestError`] naming the member.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge(text.len()));
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let manifest: Self = serde_json::from_slice(text)?;
        for (member, value) in [
            ("id", &manifest.id),
            ("name", &manifest.name),
            ("version", &manifest.version),
            ("executable", &manifest.executable),
        ] {
            if value.trim().is_empty() {
                return Err(ManifestError::Empty(member));
            }
        }
        match manifest.other.get("type") {
            Some(Value::String(kind)) if kind == "executable" => Ok(manifest),
            None => Ok(manifest),
            Some(other) => {
                Err(ManifestError::Type(other.as_str().map_or_else(|| other.to_string(), str::to_owned)))
            }
        }
    }
}

/// Reads them in any of the forms in which they are written: texts, objects with a `name` or a `type`, or one object whose
/// members are true or objects. What is written in another form is passed over.
fn traits<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Trait>, D::Error> {
    let read = |value: Value| match value {
        Value::String(name) => Some(Trait { name, other: Map::new() }),
        Value::Object(mut other) => {
            let key =
                ["name", "type"].into_iter().find(|key| other.get(*key).is_some_and(Value::is_string))?;
            match other.remove(key) {
                Some(Value::String(name)) => Some(Trait { name, other }),
                _ => None,
            }
        }
        _ => None,
    };
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(items) => items.into_iter().filter_map(read).collect(),
        Value::Object(members) => members
            .into_iter()
            .filter_map(|(name, wanted)| match wanted {
                Value::Bool(true) => Some(Trait { name, other: Map::new() }),
                Value::Object(other) => Some(Trait { name, other }),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEEDED: &str =
        r#""id":"demo","name":"Demo","version":"1.0","type":"executable","executable":"demo""#;

    fn parse(more: &str) -> Manifest {
        Manifest::parse(format!("{{{NEEDED}{more}}}").as_bytes()).unwrap()
    }

    #[test]
    fn every_form_of_capabilities_and_permissions_is_read_and_the_rest_is_kept() {
        let one = |name: &str, other: Value| Trait {
            name: name.to_owned(),
            other: other.as_object().cloned().unwrap_or_default(),
        };
        let none = || json!({});
        let texts = parse(
            r#","capabilities":["a","b"],"permissions":{"networkAccess":true,"files":false,"disk":{"scope":"s"}}"#,
        );
        assert_eq!(texts.capabilities, [one("a", none()), one("b", none())]);
        assert_eq!(texts.permissions, [one("disk", json!({"scope": "s"})), one("networkAccess", none())]);
        let objects = parse(
            r#","capabilities":[{"name":"a","required":true,"description":"d","more":[1]},7,{"no":1}],
                "permissions":[{"type":"network","scope":"x","description":"d"}],"zzz":[1]"#,
        );
        let capability = one("a", json!({"required": true, "description": "d", "more": [1]}));
        assert_eq!(objects.capabilities, [capability]);
        assert_eq!(objects.permissions, [one("network", json!({"scope": "x", "description": "d"}))]);
        assert_eq!(objects.other["zzz"], serde_json::json!([1]));
        assert!(parse(r#","capabilities":"odd""#).capabilities.is_empty());
        assert_eq!(Manifest::parse(format!("\u{feff}{{{NEEDED}}}").as_bytes()).unwrap().id, "demo");
    }

    #[test]
    fn what_is_needed_is_named_when_it_is_not_there() {
        let told = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(told(r#"{"name":"Demo","version":"1","executable":"demo"}"#).contains("missing field `id`"));
        assert_eq!(told(&format!("{{{}}}", NEEDED.replace("\"demo\"", "\" \""))), "plugin.json: id is empty");
        let kind = NEEDED.replace("\"type\":\"executable\"", "\"type\":\"script\"");
        assert!(told(&format!("{{{kind}}}")).contains("type is \"script\""));
        assert!(told("[1]").starts_with("plugin.json: "));
        assert!(told(&" ".repeat(MAX_MANIFEST_BYTES + 1)).starts_with("plugin.json has 1048577 bytes"));
    }
}
