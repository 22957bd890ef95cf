//! The whole pipeline from a snapshot to operations on the maps.

use std::sync::Arc;
use std::time::Instant;

use super::allocator::Allocator;
use super::batching::merge;
use super::compile::{NodeContext, compile};
use super::diff::Op;
use super::index::{Change, Index};
use weir_model::Snapshot;

/// An index and an allocator that work together.
#[derive(Debug)]
pub struct Engine {
    index: Index,
    context: NodeContext,
    allocator: Allocator,
    /// Whether a snapshot was processed. Adoption ends with the first one.
    synced: bool,
}

impl Engine {
    /// An engine for a node. The allocator is new or has adopted the contents of the maps.
    pub fn new(node: &str, context: NodeContext, allocator: Allocator) -> Self {
        Self { index: Index::new(node), context, allocator, synced: false }
    }

    /// Processes a snapshot. Returns the operations, in their order.
    pub fn update(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Op> {
        let Self { index, context, allocator, .. } = self;
        let applied = index.update(snapshot).into_iter().map(|Change { name, resolved }| {
            let compiled = resolved.map(|resolved| Arc::new(compile(&resolved, context)));
            allocator.apply(&name, compiled, now)
        });
        let mut ops = merge(applied);
        if !self.synced {
            self.synced = true;
            ops.extend(self.allocator.end_adoption(now));
        }
        ops
    }

    /// Changes the context. Returns the operations, in their order.
    pub fn set_context(&mut self, context: NodeContext, now: Instant) -> Vec<Op> {
        if self.context == context {
            return Vec::new();
        }
        self.context = context;
        let Self { index, context, allocator, .. } = self;
        merge(index.resolved().map(|(name, resolved)| {
            allocator.apply(name, Some(Arc::new(compile(resolved, context))), now)
        }))
    }

    /// Ends grace periods, see [`Allocator::expire`]. Does nothing before the first snapshot.
    pub fn expire(&mut self, now: Instant) -> Vec<Op> {
        if self.synced { self.allocator.expire(now) } else { Vec::new() }
    }

    /// When [`Engine::expire`] will have something to do.
    pub fn due(&self) -> Option<Instant> {
        self.allocator.due().filter(|_| self.synced)
    }

    /// The allocator.
    pub const fn allocator(&self) -> &Allocator {
        &self.allocator
    }
}

#[cfg(test)]
mod tests;
