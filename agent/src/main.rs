//! The `weir-agent` binary: options in, a node's pod network kept right until it is stopped.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::info;
use tracing_subscriber::EnvFilter;
use weir_agent::{
    availability::Availability,
    events::Events,
    health::{self, Health},
    net_conf::NetConf,
    options::{LogFormat, Options},
    reconcile::Reconciler,
    services::controller::ServiceController,
};
use weir_cluster::{
    Published, Source,
    directory::DirectorySource,
    kube::{Connection, KubernetesSource},
};
use weir_datapath::Pins;
use weir_netlink::Netlink;

/// A reconciler that gives no sign of life for so many resyncs is taken for dead.
const PATIENCE_RESYNCS: u64 = 6;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::parse();
    log(&options)?;
    weir_netlink::sysctl::set_root(&options.proc_sys);
    let conf = NetConf::read(&options.net_conf)
        .with_context(|| format!("{}", options.net_conf.display()))?;
    info!(
        node = options.node_name,
        ?conf,
        version = env!("CARGO_PKG_VERSION"),
        "weir-agent starts"
    );

    let (publisher, published) = watch::channel(Published::default());
    let patience = Duration::from_secs(options.resync_seconds * PATIENCE_RESYNCS);
    let health = Arc::new(Health::new(published.clone(), patience));
    tokio::spawn(health::serve(options.health_address, Arc::clone(&health)));

    let (events, availability) = if let Some(directory) = &options.manifests {
        tokio::spawn(DirectorySource::new(directory).run(publisher));
        (Events::to_log(&options.node_name), Availability::without_api())
    } else {
        let connection = connection(&options);
        let (client, server) = connection.connect().await.context("connect to the API server")?;
        info!(server, "follows the API server");
        let source = KubernetesSource::new(connection).with_services(options.services);
        tokio::spawn(source.run(publisher));
        let availability = Availability::by_kubernetes(&options.node_name, client.clone());
        (Events::to_kubernetes(&options.node_name, client), availability)
    };

    let netlink = Netlink::open()?;
    let services = service_controller(&options, &health)?;
    let reconciler = Reconciler::new(options, conf, netlink, health, events, availability);
    if let Some(services) = services {
        let loaded = reconciler.maps_loaded();
        tokio::spawn(services.run(published.clone(), loaded));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = reconciler.run(published) => outcome.context("follow the kernel's changes")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("weir-agent stops; the pod network stays as it is");
    Ok(())
}

/// Who programs Services, if they are wanted.
fn service_controller(
    options: &Options,
    health: &Arc<Health>,
) -> Result<Option<ServiceController>> {
    if !options.services {
        return Ok(None);
    }
    Ok(Some(ServiceController {
        node: options.node_name.clone(),
        pins: Pins::new(&options.pin_dir),
        netlink: Netlink::open()?,
        health: Arc::clone(health),
        resync: Duration::from_secs(options.resync_seconds),
        masquerade_all: options.masquerade_all,
    }))
}

fn connection(options: &Options) -> Connection {
    Connection {
        kubeconfig: options.kubeconfig.clone(),
        api_server: options.api_server.clone(),
        kubelet_conf: Some(options.kubelet_conf.clone()),
        ..Connection::default()
    }
}

fn log(options: &Options) -> Result<()> {
    let filter = EnvFilter::try_new(&options.log_level)
        .with_context(|| format!("--log-level {:?}", options.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
