//! Shows a cluster of two nodes: agents that create its network, pods, a Service, and a tunnel that is
//! deleted and repaired.

#![expect(clippy::print_stdout, reason = "the output is the demonstration")]

mod addresses;
mod cluster;
mod commands;
mod connectivity;
mod machine;
mod overlay;
mod paint;
mod pods;
mod repair;
mod service;
mod tree;
mod view;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use machine::Machine;
use paint::Paint;
use pods::DemoPod;

/// The namespace and the name of each pod, as Kubernetes would pass them, and its node.
const PODS: [(&str, &str, u8); 3] =
    [("default", "web", 1), ("default", "api", 1), ("kube-system", "dns", 2)];

/// Shows a cluster of two nodes: agents, three pods, a Service, and a tunnel that repairs itself
///
/// Each node is a network namespace of its own with its own weir-agent, which reads Kubernetes'
/// Nodes, Services and EndpointSlices from a directory. Pods are attached by the weir-cni plugin,
/// which is called as a container runtime calls it. Everything shown is read from the kernel and from
/// the plugin's files. The demonstration removes everything at the end. Needs root.
#[derive(Debug, Parser)]
#[command(name = "weir-demo")]
#[command(after_help = "\
Environment:
  WEIR_BIN_DIR  directory of weir-agent, weir-cni and weir [default: the workspace's release build]
  NO_COLOR      turns colours off, even on a terminal")]
struct Options {}

fn main() -> Result<()> {
    let Options {} = Options::parse();
    let (paint, started) = (Paint::for_stdout(), Instant::now());
    let before = Machine::observe()?;

    println!("{}", paint.title("Two nodes, each with an agent that reads Kubernetes manifests"));
    let cluster = cluster::start(paint)?;
    let dirs: Vec<_> = cluster.nodes().iter().map(|node| node.machine().dir().to_owned()).collect();

    println!("\n{}", paint.title("Three pods, each attached by weir-cni"));
    let mut pods = Vec::new();
    for (namespace, name, number) in PODS {
        let node = cluster.node(number)?;
        let pod = DemoPod::attach(&node.cni()?, node.name(), namespace, name)?;
        println!("  {}", pod.summary(paint));
        pods.push(pod);
    }

    println!("\n{}", paint.title("Pods reach each other, and a node reaches pods"));
    let failed = connectivity::check_all(cluster.node(1)?, &pods, paint)?;

    println!("\n{}", paint.title("A Service, without kube-proxy"));
    service::show(&cluster, &pods, paint)?;

    println!("\n{}", paint.title("The weir command on the first node"));
    commands::show(cluster.node(1)?, &pods, paint)?;

    println!("\n{}", paint.title("The nodes, as the kernel and the plugin's files show them"));
    for node in cluster.nodes() {
        for line in view::node(node, &pods, paint)?.lines() {
            println!("  {line}");
        }
        let rules = view::iptables_rules(node)?;
        println!("  {}", paint.faint(format!("iptables rules: {rules}")));
    }

    println!("\n{}", paint.title("All nftables rules of a node, however many Services there are"));
    for line in view::nftables_rules(cluster.node(1)?)?.lines() {
        println!("  {line}");
    }

    println!("\n{}", paint.title("A tunnel is deleted and repaired"));
    for line in repair::tunnel(cluster.node(1)?, cluster.node(2)?, &pods, paint)? {
        println!("  {line}");
    }

    println!("\n{}", paint.title("Clean-up"));
    for pod in pods {
        println!("  {}", pod.detach(paint)?);
    }
    for node in cluster.nodes() {
        node.cni()?.ensure_nothing_left().with_context(|| format!("on {}", node.name()))?;
    }
    println!("  nodes: no interface, reservation or record of a pod is left");
    drop(cluster);
    for dir in dirs {
        before.ensure_unchanged(&dir)?;
    }
    println!("  this machine: no interface, mount or file is left");

    println!("\n{}", paint.faint(format!("{:.1} s in total", started.elapsed().as_secs_f64())));
    ensure!(failed == 0, "{failed} connections failed");
    Ok(())
}
