//! Detecting whether the table is still as it was written.
//!
//! `nft` does not list rules as they were written: it adds implied expressions, omits defaults, and
//! does both differently in each version. So the table itself stores two digests, in the comment of a
//! rule that no packet reaches: the digest of the batch that made the table, and the digest of its
//! listing right after that. If the first differs, the input is new. If the second differs, another
//! program has edited the table. Because the digests are in the table, this works across restarts of
//! the agent.
//!
//! The peers' addresses are part of neither. They are compared one by one, so that a node that joins
//! does not make the whole table outdated.

use std::{collections::BTreeSet, net::IpAddr};

use nftables::{
    batch::Batch,
    schema::{Chain, NfListObject, Nftables, Rule},
    stmt::Statement,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    outcome::Reason,
    peer_set,
    table::{FAMILY, TABLE},
};

/// The chain whose only rule has the digests in its comment. It has no hook.
const CHAIN: &str = "fingerprint";

/// Half of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u128);

impl Digest {
    /// Of a batch that makes the table without any peer.
    pub(super) fn of(batch: &Nftables<'_>) -> Self {
        // The batch has nothing that serialization can fail on. If it failed, the transaction would
        // fail with the same error.
        Self::of_text(&serde_json::to_string(batch).unwrap_or_default())
    }

    fn of_text(text: &str) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(text)[..16]);
        Self(u128::from_be_bytes(half))
    }
}

/// The table as it is now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Of everything but the fingerprint and the peers' addresses.
    listed: Digest,
    fingerprint: Option<String>,
    /// The peers' addresses.
    peers: BTreeSet<IpAddr>,
}

impl Listing {
    /// Of the output of `nft --json list table`.
    pub(super) fn new(output: &Value) -> Self {
        let mut fingerprint = None;
        let mut peers = BTreeSet::new();
        let mut text = String::new();
        let objects = output.get("nftables").and_then(Value::as_array);
        for object in
            objects.into_iter().flatten().filter(|object| object.get("metainfo").is_none())
        {
            if object.pointer("/chain/name").is_some_and(|name| name == CHAIN) {
                continue;
            }
            if object.pointer("/rule/chain").is_some_and(|chain| chain == CHAIN) {
                let comment = object.pointer("/rule/comment").and_then(Value::as_str);
                fingerprint = comment.map(str::to_owned);
                continue;
            }
            let mut object = object.clone();
            if let Some(set) = object.get_mut("set")
                && set.get("name").and_then(Value::as_str).is_some_and(peer_set::is_name)
            {
                peers.append(&mut peer_set::take_elements(set));
            }
            strip(&mut object);
            text.push_str(&object.to_string());
            text.push('\n');
        }
        Self { listed: Digest::of_text(&text), fingerprint, peers }
    }

    /// The peers' addresses.
    pub(super) const fn peers(&self) -> &BTreeSet<IpAddr> {
        &self.peers
    }

    /// Why the table must be written, or `None` if it is as wanted.
    pub(super) fn reason_to_write(&self, wanted: Digest) -> Option<Reason> {
        let fingerprint = self.fingerprint.as_deref().unwrap_or_default();
        if fingerprint == comment(wanted, self.listed) {
            return None;
        }
        let Some((batch, _)) = fingerprint.split_once(' ') else { return Some(Reason::Edited) };
        let is_outdated = batch != shown(wanted);
        Some(if is_outdated { Reason::Outdated } else { Reason::Edited })
    }

    /// Adds the fingerprint to a table that was just made by the batch `wanted`.
    pub(super) fn seal(&self, wanted: Digest) -> Nftables<'static> {
        let mut batch = Batch::new();
        batch.add(NfListObject::Chain(Chain {
            family: FAMILY,
            table: TABLE.into(),
            name: CHAIN.into(),
            ..Chain::default()
        }));
        batch.add(NfListObject::Rule(Rule {
            family: FAMILY,
            table: TABLE.into(),
            chain: CHAIN.into(),
            expr: vec![Statement::Return(None)].into(),
            comment: Some(comment(wanted, self.listed).into()),
            ..Rule::default()
        }));
        batch.to_nftables()
    }
}

fn comment(wanted: Digest, listed: Digest) -> String {
    format!("{} {}", shown(wanted), shown(listed))
}

fn shown(digest: Digest) -> String {
    format!("{:032x}", digest.0)
}

/// Removes what differs between equivalent tables: handles and the values of counters.
fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("handle");
            for (name, member) in members {
                if name == "counter"
                    && let Some(counter) = member.as_object_mut()
                {
                    counter.remove("packets");
                    counter.remove("bytes");
                }
                strip(member);
            }
        }
        Value::Array(members) => members.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listing(daddr: &str, packets: u32, handle: u32, comment: Option<&str>) -> Value {
        json!({"nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "weir", "handle": handle}},
            {"chain": {"family": "inet", "table": "weir", "name": "fingerprint", "handle": 9}},
            {"counter": {"name": "refused", "packets": packets, "bytes": 0}},
            {"rule": {"chain": "postrouting", "handle": handle, "expr": [
                {"match": {"right": daddr}}, {"counter": {"packets": packets, "bytes": 0}},
            ]}},
            {"rule": {"chain": "fingerprint", "comment": comment, "expr": [{"return": null}]}},
        ]})
    }

    fn digest(text: &str) -> Digest {
        Digest::of_text(text)
    }

    fn sealed(daddr: &str, packets: u32, handle: u32) -> Listing {
        let fresh = Listing::new(&listing("10.0.0.0", 0, 1, None));
        let comment = comment(digest("batch"), fresh.listed);
        Listing::new(&listing(daddr, packets, handle, Some(&comment)))
    }

    #[test]
    fn handles_and_counters_make_no_difference() {
        assert_eq!(sealed("10.0.0.0", 0, 1).reason_to_write(digest("batch")), None);
        assert_eq!(sealed("10.0.0.0", 7, 5).reason_to_write(digest("batch")), None);
    }

    #[test]
    fn the_peers_are_no_part_of_the_fingerprint() {
        let with = |elements: Value| {
            let mut listing = listing("10.0.0.0", 0, 1, None);
            let set = json!({"set": {"name": "peers_ipv4", "type": "ipv4_addr", "elem": elements}});
            listing["nftables"].as_array_mut().unwrap().push(set);
            Listing::new(&listing)
        };
        let (one, two) = (with(json!(["192.0.2.1"])), with(json!(["192.0.2.1", "192.0.2.2"])));
        assert_eq!(one.listed, two.listed);
        assert_eq!((one.peers().len(), two.peers().len()), (1, 2));
        assert_ne!(one.listed, with(json!([{"prefix": {"addr": "192.0.2.0", "len": 24}}])).listed);
    }

    #[test]
    fn new_input_and_an_edit_are_distinguished() {
        let edited = sealed("10.9.9.9", 0, 1);
        assert_eq!(edited.reason_to_write(digest("batch")), Some(Reason::Edited));
        let outdated = sealed("10.0.0.0", 0, 1);
        assert_eq!(outdated.reason_to_write(digest("other")), Some(Reason::Outdated));
        for comment in [None, Some(""), Some("nonsense")] {
            let foreign = Listing::new(&listing("10.0.0.0", 0, 1, comment));
            assert_eq!(foreign.reason_to_write(digest("batch")), Some(Reason::Edited));
        }
    }

    #[test]
    fn the_comment_is_short_enough_for_nftables() {
        assert!(comment(digest("a"), digest("b")).len() <= 128);
    }
}
