//! A control plane with as many Services as are wanted, for kube-proxy to follow.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use weir_api_tests::{ControlPlane, connect_node, create_machine};
use weir_tests::lab::{Member, Node, Stack};

use super::objects::Service;

/// Objects that are created at the same time.
const AT_ONCE: usize = 64;

/// The control plane, and how many Services it has.
pub(crate) struct Control {
    plane: ControlPlane,
    machine: Node,
    services: Cell<u32>,
    hosts: Cell<u8>,
}

/// A node's way to the API server, which goes with this value.
pub(crate) struct Plug {
    node: Node,
}

impl Control {
    /// Starts it, with Nodes for the members of any cluster made by hand.
    pub(crate) fn start() -> Result<Self> {
        let machine = create_machine()?;
        let plane = ControlPlane::start(&machine)?;
        for number in [1, 2] {
            let address = format!("172.31.70.{}", 10 + number);
            plane.kubectl().create_node(&format!("node{number}"), &address)?;
        }
        Ok(Self { plane, machine, services: Cell::new(0), hosts: Cell::new(10) })
    }

    /// Credentials of an administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plane.admin_conf()
    }

    /// Lets a node reach the API server.
    pub(crate) fn plug(&self, member: &Member) -> Result<Plug> {
        self.hosts.set(self.hosts.get() + 1);
        connect_node(&self.machine, member.machine(), Plug::LINK, self.hosts.get())?;
        Ok(Plug { node: member.machine().clone() })
    }

    /// Creates Services until there are so many, the measured one the first of them.
    pub(crate) fn fill(&self, measured: &Service, services: u32) -> Result<()> {
        let mut wanted = Vec::new();
        if self.services.get() == 0 {
            wanted.push(measured.clone());
        }
        wanted.extend((self.services.get().max(1)..services).map(|n| Service::other(n, 1)));
        let (count, started) = (wanted.len(), Instant::now());
        let kubeconfig = self.kubeconfig();
        self.machine.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(create(kubeconfig, wanted))
        })?;
        eprintln!("preparing: {count} Services created in {:.1?}", started.elapsed());
        self.services.set(services.max(self.services.get()));
        Ok(())
    }
}

async fn create(kubeconfig: PathBuf, services: Vec<Service>) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let frontends: Api<v1::Service> = Api::default_namespaced(client.clone());
    let slices: Api<EndpointSlice> = Api::default_namespaced(client);
    let created = stream::iter(services).map(|service| {
        let (frontends, slices) = (&frontends, &slices);
        async move {
            let options = PostParams::default();
            let slice = serde_json::from_value(service.slice())?;
            slices.create(&options, &slice).await?;
            let object = serde_json::from_value(service.service())?;
            frontends.create(&options, &object).await?;
            Ok::<_, anyhow::Error>(())
        }
    });
    created.buffer_unordered(AT_ONCE).try_collect::<()>().await.context("create Services")
}

impl Plug {
    const LINK: &str = "control";
}

impl Drop for Plug {
    fn drop(&mut self) {
        // It goes with the node at the latest.
        let _ = self.node.sh(&format!("ip link del {}", Self::LINK));
    }
}
