//! The parts of the agent that program netfilter, against the real kernel, each test in network
//! namespaces of its own. Needs root and `nft`.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a failed step fails the test")]

mod foreign_rules;
mod masquerade;
mod scene;
mod services;
mod table_upkeep;
