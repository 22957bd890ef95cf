//! The whole way from a snapshot to operations on the maps.

use std::sync::Arc;
use std::time::Instant;

use super::allocator::Ledger;
use super::batching::merge;
use super::compile::{Terms, compile};
use super::diff::Op;
use super::index::{Change, Index};
use weir_model::Snapshot;

/// Index and ledger, working together.
#[derive(Debug)]
pub struct Engine {
    index: Index,
    terms: Terms,
    ledger: Ledger,
    /// Whether a snapshot was taken in: what the ledger has adopted is settled with the first.
    begun: bool,
}

impl Engine {
    /// An engine for a node, with a ledger that is new or has adopted what the maps hold.
    pub fn new(node: &str, terms: Terms, ledger: Ledger) -> Self {
        Self { index: Index::new(node), terms, ledger, begun: false }
    }

    /// Takes a snapshot in. Tells the operations, in their order.
    pub fn update(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Op> {
        let Self { index, terms, ledger, .. } = self;
        let placed = index.update(snapshot).into_iter().map(|Change { name, resolved }| {
            let compiled = resolved.map(|resolved| Arc::new(compile(&resolved, terms)));
            ledger.place(&name, compiled, now)
        });
        let mut ops = merge(placed);
        if !self.begun {
            self.begun = true;
            ops.extend(self.ledger.end_adoption(now));
        }
        ops
    }

    /// Goes on under other terms.
    pub fn set_terms(&mut self, terms: Terms, now: Instant) -> Vec<Op> {
        if self.terms == terms {
            return Vec::new();
        }
        self.terms = terms;
        let Self { index, terms, ledger, .. } = self;
        merge(index.resolved().map(|(name, resolved)| {
            ledger.place(name, Some(Arc::new(compile(resolved, terms))), now)
        }))
    }

    /// Does what time allows; see [`Ledger::settle`]. Before the first snapshot that is nothing.
    pub fn settle(&mut self, now: Instant) -> Vec<Op> {
        if self.begun { self.ledger.settle(now) } else { Vec::new() }
    }

    /// When [`Engine::settle`] will have something to do.
    pub fn due(&self) -> Option<Instant> {
        self.ledger.due().filter(|_| self.begun)
    }

    /// What is in the maps, and what is not.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

#[cfg(test)]
mod tests;
