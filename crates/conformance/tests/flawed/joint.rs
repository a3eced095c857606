//! What is wrong with the network.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_conformance::{Joint, Stranger, Way};
use polywire_core::BoxFuture;

use super::Flaw;

/// A joint with a flaw.
#[derive(Debug)]
pub(crate) struct Crooked {
    sound: Box<dyn Joint>,
    flaw: Flaw,
    broken: Arc<AtomicBool>,
}

impl Crooked {
    pub(crate) fn new(sound: Box<dyn Joint>, flaw: Flaw, broken: Arc<AtomicBool>) -> Self {
        Self { sound, flaw, broken }
    }

    fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

impl Joint for Crooked {
    fn address(&self) -> String {
        self.sound.address()
    }

    fn nowhere(&self) -> String {
        if self.flaw == Flaw::Astray { self.sound.address() } else { self.sound.nowhere() }
    }

    fn cut(&self) {
        self.sound.cut();
    }

    fn stall(&self, way: Way) {
        self.sound.stall(way);
    }

    fn let_go(&self) {
        self.sound.let_go();
    }

    fn inject(&self, way: Way, bytes: &[u8]) {
        self.breaks();
        self.sound.inject(way, bytes);
    }

    fn impersonate(&self, said: Option<&[u8]>) {
        self.breaks();
        self.sound.impersonate(said);
    }

    fn opened(&self) -> usize {
        self.sound.opened()
    }

    fn opening(&self, way: Way) -> Vec<u8> {
        match self.flaw {
            // Longer each time it is looked at.
            Flaw::Chatty => {
                vec![b'x'; self.sound.opened() + usize::from(self.broken.swap(true, Ordering::Relaxed))]
            }
            Flaw::Fragile => b"x".to_vec(),
            _ => self.sound.opening(way),
        }
    }

    fn stranger(&self) -> BoxFuture<'_, io::Result<Box<dyn Stranger>>> {
        self.breaks();
        self.sound.stranger()
    }
}
