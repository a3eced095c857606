//! What stands behind `serve hyperhq://`: a small library of systems and games, which answers the methods of the plugin guide.
//!
//! It keeps what plugins add for as long as it runs. A system is found by its id, its reference id or its name, because real
//! plugins use all three. What the results look like was read in the guide and in real plugins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use polywire_core::{Code, Failure, Json, Registry, Router};
use serde_json::{Map, Value, json};

use super::{RouteAbout, about};

/// Most systems, and most games of one.
const MAX_ENTRIES: usize = 10_000;

/// The library.
#[derive(Clone)]
struct Library(Arc<Mutex<Shelves>>);

struct Shelves {
    systems: Vec<System>,
    /// The number of the next thing that is made.
    next: u64,
}

struct System {
    facts: Map<String, Value>,
    games: Vec<Map<String, Value>>,
}

type Method = fn(&mut Shelves, &Map<String, Value>) -> Result<Value, Failure>;

const METHODS: [(RouteAbout, Method); 7] = [
    (about("getSystems", "{}", "the systems"), Shelves::systems),
    (
        about("getMediaFolders", r#"{"systemReferenceId":"arcade"}"#, "{folders}; mediaTypes names others"),
        Shelves::media_folders,
    ),
    (
        about("createSystem", r#"{"name":"Console","referenceId":"console"}"#, "the {id} of a new system"),
        Shelves::create_system,
    ),
    (
        about("createEmulator", r#"{"name":"Emulator"}"#, "the {id} of a new emulator"),
        Shelves::create_emulator,
    ),
    (
        about("addGames", r#"{"systemId":"sys-1","games":[{"name":"Gamma"}]}"#, "{added, skipped, errors}"),
        Shelves::add_games,
    ),
    (about("getGamesForSystem", r#"{"systemId":"sys-1"}"#, "its games"), Shelves::games),
    (about("launchGame", r#"{"gameId":"game-1"}"#, "{launched, gameId}"), Shelves::launch_game),
];

/// The methods, for people.
pub(crate) fn methods() -> impl Iterator<Item = RouteAbout> {
    METHODS.iter().map(|(about, _)| *about)
}

/// The methods of a library with two systems and two games.
pub fn routes() -> Registry {
    let library = Library::new();
    METHODS.into_iter().fold(Router::new(), |registry: Registry, (RouteAbout { name, .. }, method)| {
        let library = library.clone();
        registry.handle(name, move |Json(params): Json<Map<String, Value>>| {
            std::future::ready(method(&mut library.open(), &params).map(Json))
        })
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn missing(what: &str, key: &Value) -> Failure {
    let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
    Failure::new(Code::NotFound, format!("{what} not found: {key}"))
}

fn param<'a>(params: &'a Map<String, Value>, name: &str) -> &'a Value {
    params.get(name).unwrap_or(&Value::Null)
}

fn full() -> Failure {
    Failure::new(Code::ResourceExhausted, "the library is full")
}

impl Library {
    fn new() -> Self {
        let game = |id: &str, name: &str, file: &str| {
            object(
                json!({ "id": id, "name": name, "title": name, "fileName": file, "romPath": format!("roms/{file}"), "platform": "Arcade" }),
            )
        };
        let arcade = System {
            facts: object(
                json!({ "id": "sys-1", "name": "Arcade", "referenceId": "arcade", "platform": "Arcade", "allowedExtensions": ".zip", "enabled": true }),
            ),
            games: vec![game("game-1", "Alpha", "alpha.zip"), game("game-2", "Bêta ✓", "beta.zip")],
        };
        let computer = System {
            facts: object(
                json!({ "id": "sys-2", "name": "PC Games", "referenceId": "steam", "platform": "PC", "allowedExtensions": ".exe", "enabled": true }),
            ),
            games: Vec::new(),
        };
        Self(Arc::new(Mutex::new(Shelves { systems: vec![arcade, computer], next: 1 })))
    }

    fn open(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn fresh(&mut self, kind: &str) -> String {
        let id = format!("{kind}-new-{}", self.next);
        self.next += 1;
        id
    }

    fn find(&mut self, key: &Value) -> Result<&mut System, Failure> {
        let found = self.systems.iter_mut().find(|system| {
            !key.is_null()
                && ["id", "referenceId", "name"].iter().any(|name| system.facts.get(*name) == Some(key))
        });
        found.ok_or_else(|| missing("System", key))
    }

    fn systems(&mut self, _: &Map<String, Value>) -> Result<Value, Failure> {
        let shown = self.systems.iter().map(|system| {
            let mut facts = system.facts.clone();
            facts.insert("gamesCount".to_owned(), system.games.len().into());
            Value::Object(facts)
        });
        Ok(shown.collect())
    }

    fn media_folders(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        let key = param(params, "systemReferenceId");
        self.find(key)?;
        let system = key.as_str().unwrap_or_default();
        let usual = ["boxart", "background", "screenshot", "logo", "video"].map(Value::from);
        let types = param(params, "mediaTypes").as_array().map_or(&usual[..], Vec::as_slice);
        let folders: Map<String, Value> = types
            .iter()
            .filter_map(Value::as_str)
            .map(|kind| (kind.to_owned(), format!("media/{system}/{kind}").into()))
            .collect();
        Ok(json!({ "folders": folders }))
    }

    fn create_system(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        let wrong = |why: String| Failure::new(Code::InvalidArgument, why);
        if param(params, "name").as_str().is_none_or(str::is_empty) {
            return Err(wrong("name is required".to_owned()));
        }
        if let Some(key) = params.get("referenceId").and_then(Value::as_str)
            && self.find(&key.into()).is_ok()
        {
            return Err(wrong(format!("System already exists: {key}")));
        }
        if self.systems.len() >= MAX_ENTRIES {
            return Err(full());
        }
        let id = self.fresh("sys");
        let mut facts = params.clone();
        facts.insert("id".to_owned(), id.clone().into());
        self.systems.push(System { facts, games: Vec::new() });
        Ok(json!({ "id": id }))
    }

    fn create_emulator(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        match param(params, "name").as_str() {
            None | Some("") => Err(Failure::new(Code::InvalidArgument, "name is required")),
            Some(_) => Ok(json!({ "id": self.fresh("emu") })),
        }
    }

    fn add_games(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        let key = params.get("systemId").unwrap_or(param(params, "systemName")).clone();
        let (mut added, mut skipped) = (0, 0);
        for game in param(params, "games").as_array().into_iter().flatten() {
            let mut game = object(game.clone());
            let id = self.fresh("game");
            let system = self.find(&key)?;
            let reference = game.get("referenceId").cloned();
            let is_there = reference.is_some()
                && system.games.iter().any(|known| known.get("referenceId") == reference.as_ref());
            if is_there {
                skipped += 1;
                continue;
            }
            if system.games.len() >= MAX_ENTRIES {
                return Err(full());
            }
            game.entry("id").or_insert_with(|| id.into());
            system.games.push(game);
            added += 1;
        }
        self.find(&key)?;
        Ok(json!({ "added": added, "skipped": skipped, "errors": [] }))
    }

    fn games(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        let system = self.find(param(params, "systemId"))?;
        Ok(system.games.iter().cloned().map(Value::Object).collect())
    }

    fn launch_game(&mut self, params: &Map<String, Value>) -> Result<Value, Failure> {
        let key = param(params, "gameId");
        let is_it = |game: &&Map<String, Value>| {
            ["id", "referenceId"].iter().any(|name| game.get(*name) == Some(key))
        };
        let found = self.systems.iter().flat_map(|system| &system.games).find(is_it);
        let game = found.filter(|_| !key.is_null()).ok_or_else(|| missing("Game", key))?;
        Ok(json!({ "launched": true, "gameId": param(game, "id") }))
    }
}
