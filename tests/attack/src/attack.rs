//! What an attacker is.

use anyhow::Result;

use crate::gain::Gain;
use crate::scene::Scene;

/// An attacker.
#[derive(Debug)]
pub(crate) struct Attack {
    /// A short name.
    pub(crate) name: &'static str,
    /// What it sends, and what it would get.
    pub(crate) idea: &'static str,
    /// Whether nothing but `--pod-source-check` stops it. It succeeds without.
    pub(crate) needs_check: bool,
    /// Attacks, and says what it got. An error means that the attack could not be tried.
    pub(crate) run: fn(&Scene) -> Result<Gain>,
}
