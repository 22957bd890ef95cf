//! What was done to the table, and why.

/// What [`ensure`](super::ensure) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The table was as wanted, and nothing was written.
    Kept,
    /// The table was written.
    Written(Reason),
}

/// Why the table was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The table did not exist: the first pass on this node, or another program flushed the rule set.
    Absent,
    /// The table was made from other input.
    Outdated,
    /// Another program changed the table, or the agent was stopped before it had finished.
    Edited,
    /// Only the peers' set was different: nodes have joined or left, or another program changed it.
    Peers,
}
