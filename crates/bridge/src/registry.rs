//! The adapters a bridge can use, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use polywire_core::Adapter;

/// Adapters by the name that stands as `protocol` in a bridge file. The bridge knows no wire but through this.
#[derive(Clone, Debug, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn Adapter>>);

impl Registry {
    /// No adapters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same and one more; an adapter of the same name is replaced.
    #[must_use]
    pub fn with(mut self, adapter: impl Adapter) -> Self {
        self.add(Arc::new(adapter));
        self
    }

    /// Adds an adapter; one of the same name is replaced.
    pub fn add(&mut self, adapter: Arc<dyn Adapter>) {
        self.0.insert(adapter.name(), adapter);
    }

    /// The adapter of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Adapter>> {
        self.0.get(name)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}
