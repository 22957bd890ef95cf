//! Everything that a measurement gives.

use serde::Serialize;

use super::boots::BootTimes;
use super::effects::Effects;
use super::usage::Usage;
use crate::churn;

/// The figures of one call of `measure`. Parts that were left out are empty.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// The host's load average of a minute, before and after.
    pub(super) load: [f64; 2],
    pub(super) boots: Vec<BootTimes>,
    /// By node.
    pub(super) idle: Vec<Usage>,
    /// By node.
    pub(super) busy: Vec<Usage>,
    pub(super) churn: Option<churn::Outcome>,
    /// By the number of Services.
    pub(super) effects: Vec<Effects>,
}
