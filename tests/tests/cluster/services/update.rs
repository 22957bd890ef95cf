//! Updates of Services.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Families, ask_tcp, ask_udp, eventually};

use super::{Backend, reaches, web, with};

/// The longest that a user should wait for a change.
const LIMIT: Duration = Duration::from_secs(1);

#[test]
fn traffic_leaves_a_backend_that_is_removed_within_a_second() -> Result<()> {
    Cluster::new(2).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let (gone, stays) = (Backend::on(near, "gone")?, Backend::on(far, "stays")?);
        let service = with(web(Families::V4), &[&gone]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        reaches(&client, target, "gone")?;
        cluster.manifests()?.put_service(&with(web(Families::V4), &[&gone, &stays]))?;
        reaches(&client, target, "stays")?;

        cluster.manifests()?.put_service(&with(web(Families::V4), &[&stays]))?;
        let mut replies = 0;
        eventually("the other backend replies 20 times in a row", LIMIT, || {
            let ask = if replies % 2 == 0 { ask_tcp } else { ask_udp };
            let stays = ask(&client, target)?.server == "stays";
            replies = if stays { replies + 1 } else { 0 };
            Ok(replies == 20)
        })?;
        for _ in 0..20 {
            ensure!(ask_tcp(&client, target)?.server == "stays", "a removed backend replies");
        }
        Ok(())
    })
}

#[test]
fn new_flows_go_to_all_backends() -> Result<()> {
    Cluster::new(2).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let client = near.pod("client")?;
        let backends = [Backend::on(near, "one")?, Backend::on(far, "two")?];
        let service = with(web(Families::V4), &[&backends[0], &backends[1]]);
        cluster.manifests()?.put_service(&service)?;
        let target = service.frontends()[0];
        for backend in &backends {
            reaches(&client, target, &backend.name)?;
        }
        Ok(())
    })
}
