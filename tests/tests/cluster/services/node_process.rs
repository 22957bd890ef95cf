//! Processes of a node, whose sockets are connected to backends directly.

use anyhow::Result;
use weir_tests::lab::{Cluster, Families, Mode};

use super::{Backend, reaches, web, with};

#[test]
fn a_process_of_a_node_reaches_local_and_remote_backends() -> Result<()> {
    for mode in [Mode::Vxlan, Mode::HostGw] {
        Cluster::new(2).mode(mode).pods(Families::Dual).services().test(|cluster| {
            let (near, far) = (cluster.node(1)?, cluster.node(2)?);
            for backend in [Backend::on(near, "near")?, Backend::on(far, "far")?] {
                let service = with(web(Families::Dual), &[&backend]);
                cluster.manifests()?.put_service(&service)?;
                for target in service.frontends() {
                    reaches(near, target, &backend.name)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
