//! `weir services`: the Services that the node serves, and their backends.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use weir_datapath::common::Algorithm;
use weir_services::wire;

use crate::node::flows::{self, FlowRecord};
use crate::node::maps::{self, BackendId, Frontend, Programmed};
use crate::node::names::{Name, Names};
use crate::options::{AgentAddress, NodePaths};
use crate::output::{Output, UNKNOWN, count, print_json, print_text, table};
use crate::protocol::Protocol;

/// Options of `weir services`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Show only this Service, with its backends: NAMESPACE/NAME or one of its addresses
    service: Option<String>,
    /// Show the backends of all Services
    #[arg(long)]
    backends: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    paths: NodePaths,
    #[command(flatten)]
    agent: AgentAddress,
}

/// A frontend, with its name and backends.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// `None` if the agent does not respond.
    service: Option<Name>,
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    /// Its ID, which flows contain.
    id: u32,
    algorithm: &'static str,
    /// How long a client keeps its backend after its last new flow, in seconds; 0 without affinity.
    affinity_seconds: u32,
    /// New flows go to backends of this node only.
    local_only: bool,
    /// What happens to a new flow without a backend.
    if_empty: &'static str,
    flows: usize,
    backends: Vec<BackendEntry>,
}

/// A backend of a frontend.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct BackendEntry {
    address: IpAddr,
    port: u16,
    /// Whether it can get new flows of this frontend.
    in_set: bool,
    /// Whether its existing flows continue.
    serving: bool,
    /// Whether it is a pod of this node.
    local: bool,
    flows: usize,
}

/// Lists Services.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let pins = options.paths.pins();
    if !pins.exist() {
        bail!(
            "no programs are pinned in {}: this node serves no Services",
            pins.folder().display()
        );
    }
    let names = Names::fetch(options.agent.health_address).await;
    let programmed = Programmed::read(&pins)?;
    let local = maps::endpoints(&pins)?;
    let flows = flows::list(&pins)?;
    let wanted = Wanted::new(options.service.as_deref(), &names)?;
    let is_local = |ip: &IpAddr| local.contains_key(ip);
    let entries = compile(&programmed, &names, &flows, is_local, &wanted);
    if entries.is_empty()
        && let Some(service) = &options.service
    {
        bail!("this node serves no Service {service}");
    }
    match options.output {
        Output::Json => print_json(&entries),
        Output::Text => {
            print_text(&show(&entries, options.backends || options.service.is_some()))?;
            if names.are_known { Ok(()) } else { print_text(NO_NAMES) }
        }
    }
}

/// The note below tables without names.
pub(crate) const NO_NAMES: &str = "\nThe agent does not answer: names of Services are unknown.";

/// The frontends to be shown.
enum Wanted<'a> {
    All,
    Named(&'a str),
    At(IpAddr),
}

impl<'a> Wanted<'a> {
    fn new(service: Option<&'a str>, names: &Names) -> Result<Self> {
        let Some(text) = service else { return Ok(Self::All) };
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        text.split_once('/').context("a Service is NAMESPACE/NAME or an address")?;
        if names.are_known {
            Ok(Self::Named(text))
        } else {
            bail!("the agent does not answer, so names are unknown: use an address of the Service")
        }
    }

    fn includes(&self, frontend: &Frontend, name: Option<&Name>) -> bool {
        match self {
            Self::All => true,
            Self::Named(wanted) => name.is_some_and(|name| name.is(wanted)),
            Self::At(address) => frontend.address == *address,
        }
    }
}

fn compile(
    programmed: &Programmed,
    names: &Names,
    flows: &[FlowRecord],
    is_local: impl Fn(&IpAddr) -> bool,
    wanted: &Wanted<'_>,
) -> Vec<Entry> {
    let mut by_backend: HashMap<(u32, BackendId), usize> = HashMap::new();
    for flow in flows {
        *by_backend.entry((flow.service, flow.backend_id)).or_default() += 1;
    }
    // A backend that has flows and gets no new ones is in no slot.
    let mut with_flows: HashMap<(u32, bool), Vec<BackendId>> = HashMap::new();
    for (service, backend) in by_backend.keys() {
        with_flows.entry((*service, backend.0)).or_default().push(*backend);
    }
    let mut entries = Vec::new();
    for frontend in &programmed.frontends {
        let Frontend { address, port, protocol, service } = *frontend;
        let name = names.of(address, port, protocol);
        if !wanted.includes(frontend, name) {
            continue;
        }
        let mut ids: Vec<_> = programmed.eligible_backends(frontend).collect();
        ids.sort_unstable();
        ids.dedup();
        let in_set = ids.len();
        for id in with_flows.get(&(service.id, address.is_ipv4())).into_iter().flatten() {
            if ids.get(..in_set).is_some_and(|set| set.binary_search(id).is_err()) {
                ids.push(*id);
            }
        }
        let mut backends: Vec<_> = ids
            .iter()
            .enumerate()
            .filter_map(|(number, id)| {
                let backend = programmed.backends.get(id)?;
                Some(BackendEntry {
                    address: backend.ip,
                    port: backend.port,
                    in_set: number < in_set,
                    serving: backend.serving,
                    local: is_local(&backend.ip),
                    flows: by_backend.get(&(service.id, *id)).copied().unwrap_or_default(),
                })
            })
            .collect();
        backends.sort_by_key(|backend| (backend.address, backend.port));
        let of_service = |id: &BackendId| by_backend.get(&(service.id, *id)).copied();
        let policy = wire::decode_policy(&service);
        entries.push(Entry {
            service: name.cloned(),
            address,
            port,
            protocol,
            id: service.id,
            algorithm: algorithm(service.algorithm),
            affinity_seconds: policy.affinity,
            local_only: policy.local_set,
            if_empty: if policy.drop_if_empty { "drop" } else { "reject" },
            flows: ids.iter().filter_map(of_service).sum(),
            backends,
        });
    }
    entries.sort_by(|a, b| {
        (&a.service, a.address, a.port, a.protocol)
            .cmp(&(&b.service, b.address, b.port, b.protocol))
    });
    entries
}

fn algorithm(number: u16) -> &'static str {
    if number == Algorithm::Random as u16 { "random" } else { "unknown" }
}

fn show(entries: &[Entry], with_backends: bool) -> String {
    let head = ["SERVICE", "FRONTEND", "BACKENDS", "ALGORITHM", "AFFINITY", "FLOWS"];
    let mut rows = Vec::new();
    for entry in entries {
        rows.push([
            entry.service.as_ref().map_or_else(|| UNKNOWN.to_owned(), Name::to_string),
            format!("{}/{}", at(entry.address, entry.port), entry.protocol),
            summary(entry),
            entry.algorithm.to_owned(),
            match entry.affinity_seconds {
                0 => UNKNOWN.to_owned(),
                seconds => format!("{seconds} s"),
            },
            entry.flows.to_string(),
        ]);
        for backend in entry.backends.iter().filter(|_| with_backends) {
            rows.push([
                String::new(),
                format!("  -> {}", at(backend.address, backend.port)),
                state(backend),
                String::new(),
                String::new(),
                backend.flows.to_string(),
            ]);
        }
    }
    table(&head, rows)
}

/// An address with a port.
pub(crate) fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn summary(entry: &Entry) -> String {
    let in_set = entry.backends.iter().filter(|backend| backend.in_set).count();
    let local = entry.backends.iter().filter(|backend| backend.in_set && backend.local).count();
    if in_set == 0 {
        return match entry.if_empty {
            "drop" => "none: dropped".to_owned(),
            _ => "none: rejected".to_owned(),
        };
    }
    let only = if entry.local_only { " only" } else { "" };
    format!("{} ({local} local{only})", count(in_set, "backend"))
}

fn state(backend: &BackendEntry) -> String {
    let set = if backend.in_set { "in set" } else { "not in set" };
    let serving = if backend.serving { "serving" } else { "not serving" };
    let location = if backend.local { "local" } else { "elsewhere" };
    format!("{serving}, {set}, {location}")
}
