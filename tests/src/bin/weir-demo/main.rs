//! A cluster of two nodes: agents that build its network, pods that use it, a Service between them,
//! and a tunnel that is taken away and comes back.

#![expect(clippy::print_stdout, reason = "a demonstration is what it prints")]

mod cluster;
mod machine;
mod operator;
mod overlay;
mod paint;
mod pods;
mod repair;
mod service;
mod tree;
mod view;
mod visit;

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
/// called as a container runtime calls it. Everything shown is what the kernel and the plugin's files say. Nothing of it
/// is left at the end. Needs root.
#[derive(Debug, Parser)]
#[command(name = "weir-demo")]
#[command(after_help = "\
Environment:
  WEIR_BIN_DIR  where weir-agent, weir-cni and weir are [default: the workspace's released binaries]
  NO_COLOR      no colours, even on a terminal")]
struct Options {}

fn main() -> Result<()> {
    let Options {} = Options::parse();
    let (paint, started) = (Paint::for_stdout(), Instant::now());
    let before = Machine::look()?;

    println!("{}", paint.title("Two nodes, each with an agent that reads Kubernetes' YAML"));
    let cluster = cluster::start(paint)?;
    let dirs: Vec<_> = cluster.nodes().iter().map(|node| node.machine().dir().to_owned()).collect();

    println!("\n{}", paint.title("Three pods, each attached by a call of weir-cni"));
    let mut pods = Vec::new();
    for (namespace, name, number) in PODS {
        let node = cluster.node(number)?;
        let pod = DemoPod::attach(&node.cni()?, node.name(), namespace, name)?;
        println!("  {}", pod.summary(paint));
        pods.push(pod);
    }

    println!("\n{}", paint.title("They reach each other, and a node reaches them"));
    let failed = visit::everyone(cluster.node(1)?, &pods, paint)?;

    println!("\n{}", paint.title("A Service, without kube-proxy"));
    service::show(&cluster, &pods, paint)?;

    println!("\n{}", paint.title("What the operator's tool says of the first node"));
    operator::show(cluster.node(1)?, &pods, paint)?;

    println!("\n{}", paint.title("The nodes, as the kernel and the plugin's files have them"));
    for node in cluster.nodes() {
        for line in view::node(node, &pods, paint)?.lines() {
            println!("  {line}");
        }
        let rules = view::iptables_rules(node)?;
        println!("  {}", paint.faint(format!("rules that iptables-save lists: {rules}")));
    }

    println!(
        "\n{}",
        paint.title("All rules of a node's firewall, however many Services there are")
    );
    for line in view::nftables_rules(cluster.node(1)?)?.lines() {
        println!("  {line}");
    }

    println!("\n{}", paint.title("Somebody deletes a tunnel"));
    for line in repair::tunnel(cluster.node(1)?, cluster.node(2)?, &pods, paint)? {
        println!("  {line}");
    }

    println!("\n{}", paint.title("And gone"));
    for pod in pods {
        println!("  {}", pod.detach(paint)?);
    }
    for node in cluster.nodes() {
        node.cni()?.ensure_nothing_left().with_context(|| format!("on {}", node.name()))?;
    }
    println!("  no interface, reservation or record of a pod is left on the nodes");
    drop(cluster);
    for dir in dirs {
        before.ensure_untouched(&dir)?;
    }
    println!("  no interface, mount or file is left on this machine");

    println!("\n{}", paint.faint(format!("{:.1} s in all", started.elapsed().as_secs_f64())));
    ensure!(failed == 0, "{failed} of the visits failed");
    Ok(())
}
