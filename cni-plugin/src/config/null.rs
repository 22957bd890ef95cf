//! `null` in a configuration.

use serde::{Deserialize, Deserializer};

/// Go programs write an empty list or object as `null`.
pub(super) fn null_is_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
