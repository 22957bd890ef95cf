//! Writes of Services and their endpoints to the API server. The client of this program sends a
//! request at once, whereas starting a kubectl takes longer than what is measured.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

/// The port of the Services.
pub(super) const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;
/// Requests at the same time.
const CONCURRENCY: usize = 64;

/// A client for one Kubernetes namespace, in the network namespace of the thread that made it.
pub(super) struct Api {
    runtime: Runtime,
    services: kube::Api<v1::Service>,
    slices: kube::Api<EndpointSlice>,
}

/// A Service with one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) endpoint: IpAddr,
}

impl Api {
    pub(super) fn connect(config: &Path, namespace: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let config = Kubeconfig::read_from(config)?;
            let options = KubeConfigOptions::default();
            Ok::<_, anyhow::Error>(Client::try_from(
                Config::from_custom_kubeconfig(config, &options).await?,
            )?)
        });
        let client = client.context("make a client for the API server")?;
        Ok(Self {
            runtime,
            services: kube::Api::namespaced(client.clone(), namespace),
            slices: kube::Api::namespaced(client, namespace),
        })
    }

    /// The number of Services.
    pub(super) fn count(&self) -> Result<u32> {
        let listed = self.runtime.block_on(self.services.list_metadata(&ListParams::default()));
        Ok(u32::try_from(listed.context("list Services")?.items.len())?)
    }

    /// Creates a Service, and then its EndpointSlice, as the endpoint controller would.
    pub(super) fn create(&self, service: &Service) -> Result<()> {
        self.runtime.block_on(self.create_one(service))
    }

    /// Creates many Services, in any order.
    pub(super) fn create_many(&self, services: Vec<Service>) -> Result<()> {
        let created = stream::iter(services)
            .map(|service| async move { self.create_one(&service).await })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<()>();
        self.runtime.block_on(created)
    }

    /// Changes the endpoint of a Service.
    pub(super) fn change(&self, service: &Service) -> Result<()> {
        let patch = json!({"endpoints": service.endpoints()});
        let name = service.slice_name();
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = self.slices.patch(&name, &parameters, &patch);
        self.runtime.block_on(patched).map(drop).with_context(|| format!("change {name}"))
    }

    /// Deletes a Service and its EndpointSlice.
    pub(super) fn delete(&self, service: &Service) -> Result<()> {
        let parameters = DeleteParams::default();
        self.runtime
            .block_on(async {
                self.services.delete(&service.name, &parameters).await?;
                self.slices.delete(&service.slice_name(), &parameters).await?;
                Ok::<_, kube::Error>(())
            })
            .with_context(|| format!("delete {}", service.name))
    }

    /// Deletes all Services and EndpointSlices, faster than the namespace controller would.
    pub(super) fn clear(&self) -> Result<()> {
        let (parameters, all) = (DeleteParams::default(), ListParams::default());
        self.runtime
            .block_on(async {
                self.services.delete_collection(&parameters, &all).await?;
                self.slices.delete_collection(&parameters, &all).await?;
                Ok::<_, kube::Error>(())
            })
            .context("delete all Services")
    }

    async fn create_one(&self, service: &Service) -> Result<()> {
        let parameters = PostParams::default();
        let object = serde_json::from_value(service.object())?;
        let slice = serde_json::from_value(service.slice())?;
        let context = || format!("create {}", service.name);
        self.services.create(&parameters, &object).await.with_context(context)?;
        self.slices.create(&parameters, &slice).await.with_context(context)?;
        Ok(())
    }
}

impl Service {
    fn object(&self) -> Value {
        let Self { name, address, .. } = self;
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name},
            "spec": {
                "clusterIP": address,
                "ports": [{"name": "main", "port": PORT, "targetPort": TARGET_PORT}],
            },
        })
    }

    fn slice(&self) -> Value {
        let labels = json!({"kubernetes.io/service-name": self.name});
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": self.slice_name(), "labels": labels},
            "addressType": if self.endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
            "ports": [{"name": "main", "protocol": "TCP", "port": TARGET_PORT}],
            "endpoints": self.endpoints(),
        })
    }

    fn slice_name(&self) -> String {
        format!("{}-1", self.name)
    }

    fn endpoints(&self) -> Value {
        json!([{"addresses": [self.endpoint], "conditions": {"ready": true}}])
    }
}
