//! Setting a gauge to a number of things.

use prometheus_client::metrics::gauge::Gauge;

/// Sets a gauge to a count. A count that the gauge cannot hold becomes the largest that it can.
pub(super) fn set_count(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
