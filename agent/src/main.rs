//! The `weir-agent` binary: reads the options and maintains the node's pod network until it is
//! stopped.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::info;
use tracing_subscriber::EnvFilter;
use weir_agent::{
    events::Events,
    health::{self, Health},
    net_conf::NetConf,
    node_condition::NetworkCondition,
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

/// The reconciler counts as hung after so many resync intervals without a pass.
const HUNG_AFTER_RESYNCS: u64 = 6;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::of_process();
    log(&options)?;
    weir_netlink::sysctl::set_root(&options.proc_sys);
    let conf = NetConf::read(&options.net_conf)
        .with_context(|| format!("{}", options.net_conf.display()))?;
    info!(
        node = options.node_name,
        ?conf,
        version = env!("CARGO_PKG_VERSION"),
        "weir-agent is starting"
    );

    let (publisher, published) = watch::channel(Published::default());
    let hung_after = Duration::from_secs(options.resync_seconds * HUNG_AFTER_RESYNCS);
    let health = Arc::new(Health::new(published.clone(), hung_after));
    tokio::spawn(health::serve(options.health_address, Arc::clone(&health)));

    let (events, network_condition) = if let Some(directory) = &options.manifests {
        tokio::spawn(DirectorySource::new(directory).run(publisher));
        (Events::to_log(&options.node_name), NetworkCondition::without_api())
    } else {
        let connection = connection(&options);
        let (client, server) = connection.connect().await.context("connect to the API server")?;
        info!(server, "connected to the API server");
        let source = KubernetesSource::new(connection).with_services(options.services);
        tokio::spawn(source.run(publisher));
        let network_condition = NetworkCondition::with_api(&options.node_name, client.clone());
        (Events::to_kubernetes(&options.node_name, client), network_condition)
    };

    let netlink = Netlink::open()?;
    let services = service_controller(&options, &health)?;
    let reconciler = Reconciler::new(options, conf, netlink, health, events, network_condition);
    if let Some(services) = services {
        let loaded = reconciler.maps_loaded();
        let concerns = reconciler.concerns_of_flows();
        tokio::spawn(services.run(published.clone(), loaded, concerns));
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = reconciler.run(published) => outcome.context("subscribe to the kernel's notifications")?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("weir-agent is stopping; the pod network stays as it is");
    Ok(())
}

/// The controller of Services, if Services are enabled.
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
