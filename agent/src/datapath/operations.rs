//! What was changed, by kind.

use std::collections::BTreeMap;

/// How many changes of each kind were made, for metrics and the log.
pub type Operations = BTreeMap<&'static str, u64>;
