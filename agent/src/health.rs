//! The agent's health: what the reconciler records, and what the HTTP server replies.
//!
//! - `/healthz`: 200 while the reconciler makes passes, including failed ones. A failed pass does not
//!   require a restart of the agent; a pass that never ends does.
//! - `/readyz`: 200 once every [`Condition`] is met. The body has a line for each condition, and the
//!   line of an unmet condition says what it waits for. Lines with `warning` are concerns that do not make
//!   the node less ready.
//! - `/metrics`: see [`crate::metrics`].
//! - `/services`, `/concerns`: the names of Services and the current concerns, as JSON for `weir`.

mod condition;
mod report;
mod server;
mod state;

pub use self::{
    condition::Condition,
    server::serve,
    state::{Health, Pass},
};

#[cfg(test)]
mod tests;
