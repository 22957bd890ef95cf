//! A control plane with a number of Services, for kube-proxy to watch.

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

/// Services that are created at the same time.
const CONCURRENCY: usize = 64;

/// The control plane, and the number of its Services.
pub(crate) struct ApiServer {
    plane: ControlPlane,
    machine: Node,
    services: Cell<u32>,
    hosts: Cell<u8>,
}

/// A node's link to the API server. Dropping it removes the link.
pub(crate) struct ApiLink {
    node: Node,
}

impl ApiServer {
    /// Starts it, with Node objects for the nodes of the baseline clusters.
    pub(crate) fn start() -> Result<Self> {
        let machine = create_machine()?;
        let plane = ControlPlane::start(&machine)?;
        for number in [1, 2] {
            let address = format!("172.31.70.{}", 10 + number);
            plane.kubectl().create_node(&format!("node{number}"), &address)?;
        }
        Ok(Self { plane, machine, services: Cell::new(0), hosts: Cell::new(10) })
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plane.admin_conf()
    }

    /// Connects a node to the API server.
    pub(crate) fn connect(&self, member: &Member) -> Result<ApiLink> {
        self.hosts.set(self.hosts.get() + 1);
        connect_node(&self.machine, member.machine(), ApiLink::LINK, self.hosts.get())?;
        Ok(ApiLink { node: member.machine().clone() })
    }

    /// Creates Services until there are `services`. The measured one is the first.
    pub(crate) fn fill(&self, measured: &Service, services: u32) -> Result<()> {
        let mut missing = Vec::new();
        if self.services.get() == 0 {
            missing.push(measured.clone());
        }
        missing.extend((self.services.get().max(1)..services).map(|n| Service::other(n, 1)));
        let (count, started) = (missing.len(), Instant::now());
        let kubeconfig = self.kubeconfig();
        self.machine.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(create(kubeconfig, missing))
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
    created.buffer_unordered(CONCURRENCY).try_collect::<()>().await.context("create Services")
}

impl ApiLink {
    const LINK: &str = "control";
}

impl Drop for ApiLink {
    fn drop(&mut self) {
        // The kernel removes the link with the node at the latest.
        let _ = self.node.sh(&format!("ip link del {}", Self::LINK));
    }
}
