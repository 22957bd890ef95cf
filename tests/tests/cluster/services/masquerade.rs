//! Masquerading of traffic to Services: backends see the client's address, or a node's.

use anyhow::{Result, ensure};
use weir_tests::lab::{Observe, ask_tcp, ask_udp};

use super::testbed::{in_each_case, on_own_testbeds};

#[test]
fn a_backend_sees_the_address_of_the_client_pod() -> Result<()> {
    in_each_case(|case| {
        let target = case.serve(1, &[&case.backends[0]])?;
        let own = case.address_of(case.client)?;
        for ask in [ask_tcp, ask_udp] {
            let reply = ask(case.client, target)?;
            ensure!(reply.client == own, "the backend sees {}, not {own}", reply.client);
        }
        Ok(())
    })
}

#[test]
fn with_masquerade_all_a_backend_sees_the_address_of_the_clients_node() -> Result<()> {
    on_own_testbeds(
        |builder| builder.flag("--masquerade-all=true"),
        |scope| {
            let mut nodes_own = Vec::new();
            for link in scope.testbed.cluster().node(1)?.links()? {
                nodes_own.extend(link.addresses.into_iter().map(|address| address.local));
            }
            scope.in_each_case(|case| {
                let target = case.serve(1, &[&case.backends[0]])?;
                for ask in [ask_tcp, ask_udp] {
                    let reply = ask(case.client, target)?;
                    ensure!(nodes_own.contains(&reply.client), "the backend sees {}", reply.client);
                }
                Ok(())
            })
        },
    )
}
