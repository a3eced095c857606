//! The suite, run against the in-memory adapter: every guarantee is held there.

use polywire_conformance::Memory;

polywire_conformance::suite!(Memory::default());
