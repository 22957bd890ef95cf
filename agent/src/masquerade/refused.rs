//! Packets to the tunnel's port that were dropped.

use serde_json::Value;

use super::ruleset::{FROM_OTHERS, FROM_PODS};

/// Numbers of packets. They begin at zero when the table is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// Of this node's pods.
    pub from_pods: u64,
    /// Of all others that are not peers.
    pub from_others: u64,
}

impl Refused {
    /// From the output of `nft --json list counters`.
    pub(super) fn read(listing: &Value) -> Self {
        let objects = listing.get("nftables").and_then(Value::as_array);
        let packets = |name: &str| {
            let mut counters =
                objects.into_iter().flatten().filter_map(|object| object.get("counter"));
            let counter =
                counters.find(|counter| counter.get("name").is_some_and(|found| found == name));
            counter.and_then(|counter| counter.get("packets")?.as_u64()).unwrap_or_default()
        };
        Self { from_pods: packets(FROM_PODS), from_others: packets(FROM_OTHERS) }
    }

    /// The packets since `earlier`; all of them if the counters have begun anew since.
    pub fn since(self, earlier: Self) -> Self {
        let more = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Self {
            from_pods: more(self.from_pods, earlier.from_pods),
            from_others: more(self.from_others, earlier.from_others),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_counters_are_read_and_a_new_table_begins_at_zero() {
        let listing = json!({"nftables": [
            {"metainfo": {}},
            {"counter": {"name": "tunnel_from_pods", "packets": 3, "bytes": 150}},
            {"counter": {"name": "tunnel_from_others", "packets": 9, "bytes": 450}},
        ]});
        let found = Refused::read(&listing);
        assert_eq!(found, Refused { from_pods: 3, from_others: 9 });
        let earlier = Refused { from_pods: 1, from_others: 20 };
        assert_eq!(found.since(earlier), Refused { from_pods: 2, from_others: 9 });
    }
}
