//! A node with three pods: built by the real plugin, tried, shown and removed again.

#![expect(clippy::print_stdout, reason = "a demonstration is what it prints")]

mod machine;
mod paint;
mod pods;
mod tree;
mod view;
mod visit;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ipnetwork::{Ipv4Network, Ipv6Network};
use weir_tests::lab::{Cni, Config, Node};

use machine::Machine;
use paint::Paint;
use pods::DemoPod;

/// The namespace and the name of each pod, as Kubernetes would pass them.
const PODS: [(&str, &str); 3] = [("default", "web"), ("default", "api"), ("kube-system", "dns")];

/// Shows one node's pod network: three pods attached by the weir-cni plugin
///
/// The node is a network namespace of its own. The plugin is called as a container runtime calls
/// it, by its environment and its standard input; everything shown afterwards is what the kernel
/// and the plugin's files say. Nothing of it is left at the end. Needs root.
#[derive(Debug, Parser)]
#[command(name = "weir-demo")]
#[command(after_help = "\
Environment:
  WEIR_BIN_DIR  where weir-cni is [default: the workspace's released binaries]
  NO_COLOR      no colours, even on a terminal")]
struct Options {
    /// IPv4 addresses of the node's pods
    #[arg(long, value_name = "SUBNET", default_value = "10.42.0.0/24")]
    ipv4: Ipv4Network,

    /// IPv6 addresses of the node's pods
    #[arg(long, value_name = "SUBNET", default_value = "fd42::/64")]
    ipv6: Ipv6Network,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let (paint, started) = (Paint::for_stdout(), Instant::now());
    let before = Machine::look()?;

    let node = Node::new()?;
    let dir = node.dir().to_owned();
    let subnets = (options.ipv4.to_string(), options.ipv6.to_string());
    let cni = Cni::new(&node, Config::dual_stack(&subnets.0, &subnets.1))?;
    println!("{}", paint.title("A node without a network for pods"));
    println!("  pods get addresses of {} and {}\n", subnets.0, subnets.1);

    println!("{}", paint.title("Three pods, each attached by a call of weir-cni"));
    let mut pods = Vec::new();
    for (namespace, name) in PODS {
        let pod = DemoPod::attach(&cni, namespace, name)?;
        println!("  {}", pod.summary(paint));
        pods.push(pod);
    }

    println!("\n{}", paint.title("They reach each other, and the node reaches them"));
    let failed = visit::everyone(&node, &pods, paint)?;

    println!("\n{}", paint.title("The node, as the kernel and the plugin's files have it"));
    for line in view::node(&cni, &pods, paint)?.lines() {
        println!("  {line}");
    }
    if let Some(rules) = view::packet_filter_rules(&node) {
        println!("  {}", paint.faint(format!("rules that iptables-save lists: {rules}")));
    }

    println!("\n{}", paint.title("And gone"));
    for pod in pods {
        println!("  {}", pod.detach(&cni, paint)?);
    }
    cni.nothing_left().context("after the last DEL")?;
    println!("  no interface, reservation or record of a pod is left on the node");
    drop((cni, node));
    before.ensure_untouched(&dir)?;
    println!("  no interface, mount or file is left on this machine");

    println!("\n{}", paint.faint(format!("{:.1} s in all", started.elapsed().as_secs_f64())));
    ensure!(failed == 0, "{failed} of the visits failed");
    Ok(())
}
