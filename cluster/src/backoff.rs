//! The waiting time after a failure.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waiting time after the first failure.
const SHORTEST: Duration = Duration::from_millis(200);
/// The longest waiting time.
const LONGEST: Duration = Duration::from_secs(10);

/// Waiting times that grow, and that differ between nodes that fail at the same time.
#[derive(Debug)]
pub struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: SHORTEST }
    }
}

impl Backoff {
    /// The waiting time after this failure: a random time between half of the current one and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST);
        // The hasher has random keys, so the hash of `()` is random.
        let share = RandomState::new().hash_one(()) % 1024;
        wait / 2 + wait.mul_f64(share as f64 / 2048.0)
    }

    /// Begins again with the shortest waiting time, after a success.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_until_the_reset() {
        let mut backoff = Backoff::default();
        for round in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait >= SHORTEST / 2 && wait <= LONGEST, "{round}: {wait:?}");
        }
        assert!(backoff.next_wait() >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.next_wait() <= SHORTEST);
    }
}
