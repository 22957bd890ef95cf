//! The inline view of a packet and the full one decide alike.
//!
//! The programs are loaded twice, once as they always are and once without the inline view. Both get
//! the same tables and then the same packets, one after the other, and must give the same packets,
//! verdicts, marks, counters and entries of flows, session affinity and fragments. Where a redirected
//! packet goes is not shown by `BPF_PROG_TEST_RUN`; its MAC address, which names a local pod, is.
//!
//! Nothing may differ but what is taken from the clock (`Flow::last_seen`, `Flow::last_seen_tick`
//! and `Affinity::used`), when a second or a tick ends between the two runs. As that is rare, a scenario
//! that shows a difference is tried again from its start: a difference that is none of the clock is
//! there again. Random numbers, which choose slots and ports, are fixed when the programs are loaded.

#![expect(clippy::expect_used, reason = "the numbers of this test are small")]

mod dice;
mod packet;
mod scenario;
mod tables;

use std::env;

use anyhow::{Context, Result, bail};
use weir_datapath::common::{V4, V6};
use weir_tests::lab::{Node, Stack};

use self::dice::Dice;
use self::packet::Sent;
use self::scenario::{Devices, Scenario};
use self::tables::{Fragments, Tables};
use crate::family::Addresses;

/// So many packets are given to both views for each family, unless `WEIR_VIEW_PACKETS` says otherwise.
const PACKETS: u64 = 60_000;
/// So many of them in one scenario, one after the other.
const IN_A_SCENARIO: u64 = 12;
/// What random numbers are: the least and the largest choose the first and the last of everything.
const RANDOM: [u32; 3] = [1, 0x6000_0000, u32::MAX];
/// How often a scenario is tried that shows a difference.
const TRIES: u32 = 3;

/// The programs, loaded twice.
struct Pair<A: Fragments> {
    both: Tables<A>,
    full: Tables<A>,
}

impl<A: Fragments + Addresses> Pair<A> {
    fn load(random: u32) -> Result<Self> {
        Ok(Self { both: Tables::load(false, random)?, full: Tables::load(true, random)? })
    }

    /// Whether the views differ for packets of the scenario with this number, and how.
    fn difference(&mut self, number: u64, devices: Devices) -> Result<Option<String>> {
        let mut dice = Dice::new(number);
        let scenario = Scenario::new(&mut dice, devices);
        self.both.set(&scenario)?;
        self.full.set(&scenario)?;
        let counted = (self.both.counters()?, self.full.counters()?);
        for step in 0..IN_A_SCENARIO {
            let sent = Sent::new(&mut dice, &scenario, devices);
            let (both, full) = (self.both.run(&sent)?, self.full.run(&sent)?);
            let (wrote_both, wrote_full) = (self.both.written()?, self.full.written()?);
            if (&both, &wrote_both) != (&full, &wrote_full) {
                return Ok(Some(format!(
                    "packet {step}: {sent:x?}\nboth views: {both:x?}\nfull view:  {full:x?}\n\
                     both views: {wrote_both:#?}\nfull view: {wrote_full:#?}"
                )));
            }
        }
        let counts = (self.both.counters()?, self.full.counters()?);
        let differs = counts.0.iter().find(|&(reason, count)| {
            count - counted.0[reason] != counts.1[reason] - counted.1[reason]
        });
        Ok(differs.map(|(reason, _)| format!("the counter {reason}")))
    }
}

fn views_decide_alike<A: Fragments + Addresses>(family: u64) -> Result<()> {
    let node = Node::new()?;
    for device in ["veth0", "veth1", "veth2", "tunnel"] {
        node.sh(&format!("ip link add {device} type bridge"))?;
    }
    let packets = match env::var("WEIR_VIEW_PACKETS") {
        Ok(text) => text.parse().context("WEIR_VIEW_PACKETS")?,
        Err(_) => PACKETS,
    };
    node.run(|| {
        let index = |name: &str| -> Result<u32> {
            let text = node.sh(&format!("ip -o link show {name}"))?;
            Ok(text.split(':').next().context("no index")?.parse()?)
        };
        let devices = Devices {
            pods: [index("veth0")?, index("veth1")?, index("veth2")?],
            tunnel: index("tunnel")?,
        };
        let scenarios = packets / IN_A_SCENARIO / 3 + 1;
        for (start, random) in (0..).zip(RANDOM) {
            let mut pair = Pair::<A>::load(random)?;
            for scenario in 0..scenarios {
                let number = family << 62 | start << 60 | scenario;
                let mut found = None;
                for _ in 0..TRIES {
                    found = pair.difference(number, devices)?;
                    if found.is_none() {
                        break;
                    }
                }
                if let Some(difference) = found {
                    bail!("scenario {number:#x}, random {random:#x}: {difference}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn both_views_of_a_packet_lead_to_the_same_decision_by_ipv4() -> Result<()> {
    views_decide_alike::<V4>(0)
}

#[test]
fn both_views_of_a_packet_lead_to_the_same_decision_by_ipv6() -> Result<()> {
    views_decide_alike::<V6>(1)
}
