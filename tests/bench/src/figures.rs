//! The statistics of many measurements.

use std::time::Duration;

use serde::Serialize;

/// Median and 99th percentile, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Figures {
    pub(crate) fn of(measured: &[Duration]) -> Self {
        let mut sorted: Vec<_> = measured.iter().map(|took| took.as_secs_f64() * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        Self { median: nearest_rank(&sorted, 50), p99: nearest_rank(&sorted, 99) }
    }
}

/// The smallest measurement that is not below `percent` % of them.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_the_percentile() {
        let measured: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(Figures::of(&measured), Figures { median: 50.0, p99: 99.0 });
    }

    #[test]
    fn figures_of_no_measurement_are_zero() {
        assert_eq!(Figures::of(&[]), Figures::default());
    }
}
