//! `weir flows`: the flows to Services.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use weir_datapath::common::{Flow, V4};
use weir_datapath::maps::ConfigMap;

use crate::node::flows::{self, FlowRecord};
use crate::node::maps::Programmed;
use crate::node::names::{Name, Names};
use crate::options::{AgentAddress, Place};
use crate::output::{Output, UNKNOWN, count, print_json, print_text, table};
use crate::protocol::Protocol;
use crate::services::{NO_NAMES, at};

/// Options of `weir flows`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Show only flows with this address: of the client, the Service or the backend
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// Show only flows with this port: of the client, the Service or the backend
    #[arg(long)]
    port: Option<u16>,
    /// Show only flows of this protocol: tcp, udp or sctp
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Show only flows to this Service: NAMESPACE/NAME or one of its addresses
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Show at most this number of flows
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    agent: AgentAddress,
}

/// A flow, with the name of its Service.
#[derive(Debug, Serialize)]
struct Entry {
    protocol: Protocol,
    client: IpAddr,
    client_port: u16,
    /// The source port that the backend sees.
    client_port_seen: u16,
    /// `None` if it is unknown, or if the flow is to a pod's own address.
    service: Option<Name>,
    service_address: IpAddr,
    service_port: u16,
    backend: IpAddr,
    backend_port: u16,
    /// Time since its last packet; up to some seconds late.
    idle_seconds: u32,
    state: &'static str,
    masqueraded: bool,
}

/// The JSON output.
#[derive(Debug, Serialize)]
struct Listing {
    flows: Vec<Entry>,
    /// Number of matching flows; can be more than are listed.
    matching: usize,
    /// Number of all flows.
    total: usize,
    /// Whether the limit leaves out matching flows.
    limited: bool,
}

/// Lists flows.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let pins = options.place.pins();
    if !pins.exist() {
        bail!("no programs are pinned in {}: this node has no flows", pins.folder().display());
    }
    let names = Names::fetch(options.agent.health_address).await;
    let of_service = of_services(&Programmed::read(&pins)?, &names);
    let udp_idle = ConfigMap::open(&pins)?.get()?.udp_idle;
    let all = flows::list(&pins)?;
    let total = all.len();
    let mut wanted: Vec<_> = all
        .into_iter()
        .filter(|flow| is_wanted(options, flow, of_service.get(&flow.service)))
        .collect();
    wanted.sort_by_key(|flow| (flow.protocol, flow.client, flow.frontend, flow.backend));
    let matching = wanted.len();
    let now = now();
    let flows = wanted
        .iter()
        .take(options.limit)
        .map(|flow| entry(flow, now, udp_idle, of_service.get(&flow.service)))
        .collect();
    let listing = Listing { flows, matching, total, limited: matching > options.limit };
    match options.output {
        Output::Json => print_json(&listing),
        Output::Text => {
            print_text(&show(&listing))?;
            if names.are_known { Ok(()) } else { print_text(NO_NAMES) }
        }
    }
}

/// Names by the ID of a Service in flows.
fn of_services(programmed: &Programmed, names: &Names) -> HashMap<u32, Name> {
    let named = programmed.frontends.iter().filter_map(|frontend| {
        let name = names.of(frontend.address, frontend.port, frontend.protocol)?;
        Some((frontend.service.id, name.clone()))
    });
    named.collect()
}

fn is_wanted(options: &Options, flow: &FlowRecord, name: Option<&Name>) -> bool {
    let ends = [flow.client, flow.frontend, flow.backend];
    let has_address = |wanted| ends.iter().any(|(address, _)| *address == wanted);
    let has_port = |wanted| ends.iter().any(|(_, port)| *port == wanted);
    let is_service = |wanted: &String| match wanted.parse::<IpAddr>() {
        Ok(address) => flow.frontend.0 == address,
        Err(_) => name.is_some_and(|name| name.is(wanted)),
    };
    options.address.is_none_or(has_address)
        && options.port.is_none_or(has_port)
        && options.protocol.is_none_or(|protocol| flow.protocol == protocol)
        && options.service.as_ref().is_none_or(is_service)
}

fn entry(flow: &FlowRecord, now: u32, udp_idle: u32, name: Option<&Name>) -> Entry {
    let since = now.saturating_sub(flow.seen);
    Entry {
        protocol: flow.protocol,
        client: flow.client.0,
        client_port: flow.client.1,
        client_port_seen: flow.client_port_seen,
        service: name.cloned(),
        service_address: flow.frontend.0,
        service_port: flow.frontend.1,
        backend: flow.backend.0,
        backend_port: flow.backend.1,
        idle_seconds: since,
        state: state(flow, since, udp_idle),
        masqueraded: flow.has(Flow::<V4>::MASQUERADED),
    }
}

fn state(flow: &FlowRecord, since: u32, udp_idle: u32) -> &'static str {
    if flow.protocol != Protocol::TCP {
        return if udp_idle != 0 && since > udp_idle { "expired" } else { "active" };
    }
    match (flow.has(Flow::<V4>::CLIENT_CLOSED), flow.has(Flow::<V4>::BACKEND_CLOSED)) {
        (false, false) => "open",
        (true, true) => "closed",
        _ => "closing",
    }
}

fn show(listing: &Listing) -> String {
    let head = ["PROTOCOL", "CLIENT", "SERVICE", "FRONTEND", "BACKEND", "IDLE", "STATE"];
    let rows = listing.flows.iter().map(|flow| {
        [
            flow.protocol.to_string(),
            at(flow.client, flow.client_port),
            flow.service.as_ref().map_or_else(|| UNKNOWN.to_owned(), Name::to_string),
            at(flow.service_address, flow.service_port),
            at(flow.backend, flow.backend_port),
            format!("{} s", flow.idle_seconds),
            flow.state.to_owned(),
        ]
    });
    let mut text = table(&head, rows);
    let Listing { flows, matching, total, limited } = listing;
    text += &format!("\n\n{} of {}", count(*matching, "flow"), total);
    if *limited {
        text += &format!("; only {} shown: --limit shows more", flows.len());
    }
    text
}

/// The kernel's clock of the timestamps in flows, in seconds.
pub(crate) fn now() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u32::try_from(time.tv_sec).unwrap_or(u32::MAX)
}
