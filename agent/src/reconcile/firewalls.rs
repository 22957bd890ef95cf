//! When foreign firewalls are checked, and what the last check has found.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tracing::warn;

use super::trigger::Trigger;
use crate::{
    events::Concern,
    firewall_check::{self, PodTraffic},
};

/// Without a notification of a change, foreign firewalls are read this often: rules of
/// iptables-legacy cause none.
const PERIOD: Duration = Duration::from_secs(60);

/// Reading all rules takes long on a node with many of them. After a change they are read again once
/// this many times as long has passed, so that a program that changes rules all the time costs a
/// twentieth of a CPU.
const PAUSE: u32 = 20;

/// The foreign firewalls, as of the last check.
#[derive(Debug, Default)]
pub(super) struct Firewalls {
    concerns: BTreeSet<Concern>,
    /// When they were last checked, and how long that took.
    checked: Option<(Instant, Duration)>,
    /// Whether their rules have changed since then.
    changed: bool,
}

impl Firewalls {
    /// What the last check has found.
    pub(super) fn concerns(&self) -> impl Iterator<Item = Concern> + '_ {
        self.concerns.iter().cloned()
    }

    /// Records that rules may have changed.
    pub(super) const fn note_change(&mut self) {
        self.changed = true;
    }

    /// Checks them if it is time to. If they cannot be read, nothing is known of them, and the pass goes
    /// on.
    pub(super) async fn check(&mut self, trigger: &Trigger, traffic: impl FnOnce() -> PodTraffic) {
        let began = Instant::now();
        if !self.is_due(began, trigger) {
            return;
        }
        // A change during the check causes another one.
        self.changed = false;
        self.concerns = match firewall_check::check(&traffic()).await {
            Ok(findings) => findings
                .into_iter()
                .map(|finding| Concern::ForwardingDropped { finding: finding.to_string() })
                .collect(),
            Err(error) => {
                warn!(%error, "cannot check whether a firewall drops pod traffic");
                BTreeSet::new()
            }
        };
        self.checked = Some((Instant::now(), began.elapsed()));
    }

    /// The first pass checks them, and after that only a resync does.
    fn is_due(&self, now: Instant, trigger: &Trigger) -> bool {
        let Some((checked, took)) = self.checked else { return true };
        let since = now.saturating_duration_since(checked);
        let pause = took.saturating_mul(PAUSE).min(PERIOD);
        trigger.is_resync() && (since >= PERIOD || self.changed && since >= pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn checked(now: Instant, took: Duration) -> Firewalls {
        Firewalls { checked: Some((now, took)), ..Firewalls::default() }
    }

    #[test]
    fn firewalls_are_checked_at_the_start_and_then_once_a_minute() {
        let now = Instant::now();
        assert!(Firewalls::default().is_due(now, &Trigger::Source));
        let firewalls = checked(now, SECOND);
        assert!(!firewalls.is_due(now + 59 * SECOND, &Trigger::Resync));
        assert!(firewalls.is_due(now + 60 * SECOND, &Trigger::Resync));
        assert!(!firewalls.is_due(now + 600 * SECOND, &Trigger::Source), "a snapshot comes first");
    }

    #[test]
    fn changed_firewalls_are_checked_at_the_next_resync() {
        let now = Instant::now();
        let mut firewalls = checked(now, SECOND / 100);
        assert!(!firewalls.is_due(now + SECOND, &Trigger::Resync));
        firewalls.note_change();
        assert!(firewalls.is_due(now + SECOND, &Trigger::Resync));
        assert!(!firewalls.is_due(now + SECOND, &Trigger::Source), "a snapshot comes first");
    }

    #[test]
    fn firewalls_that_take_long_to_read_are_read_less_often() {
        let now = Instant::now();
        let mut firewalls = checked(now, 2 * SECOND);
        firewalls.note_change();
        assert!(!firewalls.is_due(now + 39 * SECOND, &Trigger::Resync));
        assert!(firewalls.is_due(now + 40 * SECOND, &Trigger::Resync));
        firewalls.checked = Some((now, 9 * SECOND));
        assert!(firewalls.is_due(now + 60 * SECOND, &Trigger::Resync));
    }
}
