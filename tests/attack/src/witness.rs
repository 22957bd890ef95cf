//! Who sees forged packets.

use std::collections::BTreeSet;

use anyhow::Result;
use weir_tests::lab::{Stack, Tap};

use crate::gain::Gain;
use crate::scene::Scene;

const MARK: &[u8] = b"forged as ";
const END: u8 = b'\n';

/// Taps that see the frames that arrive somewhere.
pub(crate) struct Witness(Vec<(&'static str, Tap)>);

/// The payload of a forged packet, which says as whom it was sent.
pub(crate) fn forged_as(whom: &str) -> Vec<u8> {
    [MARK, whom.as_bytes(), &[END]].concat()
}

impl Witness {
    /// In all pods but the attackers'.
    pub(crate) fn in_pods(scene: &Scene) -> Result<Self> {
        let Scene { victim, honest, follower, near_backend, far_backend, .. } = scene;
        let mut witness = Self(Vec::new());
        for (name, pod) in [
            ("a neighbour", victim),
            ("another neighbour", follower),
            ("a backend", near_backend),
            ("a remote backend", far_backend),
            ("a remote pod", honest),
        ] {
            witness.add(name, pod, "eth0")?;
        }
        Ok(witness)
    }

    /// In all pods but the attackers', at the nodes, and on the underlay.
    pub(crate) fn everywhere(scene: &Scene) -> Result<Self> {
        let mut witness = Self::in_pods(scene)?;
        witness.add("the node", scene.near()?, "weir0")?;
        witness.add("another node", scene.far()?, "uplink")?;
        witness.add("a machine outside", &scene.machine, "uplink")?;
        Ok(witness)
    }

    fn add(&mut self, name: &'static str, stack: &impl Stack, link: &str) -> Result<()> {
        self.0.push((name, Tap::open(stack, link)?));
        Ok(())
    }

    /// The gain of an attacker that wants to have forged packets delivered.
    pub(crate) fn gain(&self) -> Result<Gain> {
        let (mut places, mut sources) = (BTreeSet::new(), BTreeSet::new());
        for (name, tap) in &self.0 {
            for source in tap.received()?.iter().filter_map(|frame| source(frame)) {
                places.insert(*name);
                sources.insert(source);
            }
        }
        if sources.is_empty() {
            return Ok(Gain::Nothing);
        }
        let list = |names: Vec<&str>| names.join(", ");
        let sources = list(sources.iter().map(String::as_str).collect());
        let places = list(places.into_iter().collect());
        Ok(Gain::Something(format!("packets as {sources}, at {places}")))
    }
}

/// As whom a forged packet was sent, if the frame has one.
fn source(frame: &[u8]) -> Option<String> {
    let start = frame.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let rest = frame.get(start..)?;
    // An ICMP error may quote the beginning only.
    let end = rest.iter().position(|byte| *byte == END)?;
    Some(String::from_utf8_lossy(rest.get(..end)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_packet_is_known_wherever_it_is_in_a_frame() {
        let frame = [&[0; 42], &*forged_as("the gateway"), b"more"].concat();
        assert_eq!(source(&frame).as_deref(), Some("the gateway"));
        assert_eq!(source(b"something else"), None);
    }
}
