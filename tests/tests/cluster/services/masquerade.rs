//! Where backends see their clients, and where they see a node instead.

use anyhow::{Result, ensure};
use weir_tests::lab::{Observe, ask_tcp, ask_udp};

use super::matrix::{alone_on_each_way, everywhere};

#[test]
fn a_backend_sees_the_pod_that_asks() -> Result<()> {
    everywhere(|spot| {
        let target = spot.serve(1, &[&spot.backends[0]])?;
        let own = spot.address_of(spot.client)?;
        for ask in [ask_tcp, ask_udp] {
            let who = ask(spot.client, target)?;
            ensure!(who.client == own, "it sees {}, not {own}", who.client);
        }
        Ok(())
    })
}

#[test]
fn with_masquerade_all_a_backend_sees_the_node_of_the_pod_that_asks() -> Result<()> {
    alone_on_each_way(
        |builder| builder.flag("--masquerade-all=true"),
        |part| {
            let mut nodes_own = Vec::new();
            for link in part.stage.cluster().node(1)?.links()? {
                nodes_own.extend(link.addresses.into_iter().map(|address| address.local));
            }
            part.everywhere(|spot| {
                let target = spot.serve(1, &[&spot.backends[0]])?;
                for ask in [ask_tcp, ask_udp] {
                    let who = ask(spot.client, target)?;
                    ensure!(nodes_own.contains(&who.client), "it sees {}", who.client);
                }
                Ok(())
            })
        },
    )
}
