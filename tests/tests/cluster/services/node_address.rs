//! An address that both a Service and the node have, as with a DNS cache on every node.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, Server, Stack, ask_tcp};

use super::{Backend, PORT, reaches, web, with};

#[test]
fn a_socket_bound_to_an_address_of_the_node_takes_precedence_over_a_service() -> Result<()> {
    for fast in [true, false] {
        let builder = Cluster::new(2).pods(Families::Dual).without_timer();
        builder.flag(&format!("--fast-path={fast}")).services().test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            let (client, other) = (near.pod("client")?, far.pod("other")?);
            let backend = Backend::on(far, "backend")?;
            let service = with(web(Families::Dual), &[&backend]);
            cluster.manifests()?.put_service(&service)?;
            let reach = |server: &str| -> Result<()> {
                for target in service.frontends() {
                    reaches(&client, target, server)?;
                    reaches(near, target, server)?;
                    // The other node does not have the address.
                    reaches(&other, target, "backend")?;
                }
                Ok(())
            };
            reach("backend")?;
            let prefix = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
            // Without duplicate address detection.
            let option = |ip: IpAddr| if ip.is_ipv4() { "" } else { "nodad" };
            let own = service.frontends().into_iter().map(|target| target.ip());
            for ip in own.clone() {
                near.sh(&format!("ip addr add {ip}/{} dev lo {}", prefix(ip), option(ip)))?;
            }
            let start = |ip: IpAddr| Server::start_at(near, (ip, PORT).into(), "cache");
            let cache = own.clone().map(start).collect::<Result<Vec<_>>>()?;
            reach("cache")?;
            drop(cache);
            for target in service.frontends() {
                ensure!(
                    ask_tcp(&client, target).is_err(),
                    "a request gets a reply without a bound socket"
                );
            }
            for ip in own {
                near.sh(&format!("ip addr del {ip}/{} dev lo", prefix(ip)))?;
            }
            reach("backend")
        })?;
    }
    Ok(())
}
