//! Services work for a new pod at once, even while no agent is running.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::{Cluster, Families, Stack, ask_tcp, ask_udp, refused};

use super::{Backend, reaches, web, with};

#[test]
fn the_first_packet_of_a_new_pod_reaches_a_service() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).services().test(|cluster| {
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let backend = Backend::on(far, "backend")?;
        let service = with(web(Families::Dual), &[&backend]);
        cluster.manifests()?.put_service(&service)?;
        let first = near.pod("first")?;
        for target in service.frontends() {
            reaches(&first, target, "backend")?;
        }
        for (number, running) in [true, false].into_iter().enumerate() {
            if !running {
                near.kill_agent()?;
            }
            for target in service.frontends() {
                let name = format!("new{number}{}", u8::from(target.is_ipv4()));
                let pod = near.pod(&name)?;
                ask_udp(&pod, target).with_context(|| format!("{name}, agent {running}"))?;
                ask_tcp(&pod, target)?;
            }
        }
        Ok(())
    })
}

#[test]
fn check_finds_a_pod_without_its_programs() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        let cni = node.cni()?;
        let sandbox = node.machine().pod("pod")?;
        let added = cni.add(&sandbox)?;
        cni.check(&sandbox, &added)?;
        // The agent would repair the pod.
        node.kill_agent()?;
        let port = added.interfaces[1].name.clone();
        node.sh(&format!("tc filter del dev {port} egress"))?;
        let error = refused(cni.check(&sandbox, &added), 105)?;
        ensure!(error.to_string().contains("to_pod"), "{error}");
        Ok(())
    })
}
