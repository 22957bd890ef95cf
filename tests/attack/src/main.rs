//! Attacks a cluster of two nodes in every setting, and prints what each attacker got.
//!
//! An attacker is a file below `attacks/` with one idea: what it sends, and what it would get. It gets a
//! [`scene::Scene`], and says what it has gained. To add one, write the file and add it to the list in
//! `attacks.rs`. An attacker that cannot succeed shows nothing, so each must be seen to succeed: with
//! `--unchecked`, or with `WEIR_BIN_DIR` at a release that does not stop it yet.

#![expect(clippy::print_stdout, reason = "the table is the output")]

mod attack;
mod attacks;
mod closing;
mod frame;
mod gain;
mod held;
mod inbox;
mod launch;
mod report;
mod scene;
mod send;
mod services;
mod setting;
mod witness;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use attack::Attack;
use attacks::ATTACKS;
use gain::Gain;
use report::Report;
use scene::Scene;
use setting::Setting;

/// Attacks a cluster of two nodes, and shows what each attacker got: nothing
///
/// Each attacker attacks a cluster with a tunnel and one without (host-gw), in both families, with the
/// fast path on and off. The clusters are network namespaces, and are removed at the end. Fails if an
/// attacker got something. Needs root.
#[derive(Debug, Parser)]
#[command(name = "weir-attack")]
#[command(after_help = "\
Environment:
  WEIR_BIN_DIR  directory of weir-agent and weir-cni [default: the workspace's release build]")]
struct Options {
    /// List the attackers, and what each one does
    #[arg(long)]
    list: bool,

    /// Only the attackers whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,

    /// Only clusters whose description contains this: "vxlan", "IPv6", "fast path"
    #[arg(long, value_name = "TEXT")]
    cluster: Option<String>,

    /// Show that attackers can succeed: those that only --pod-source-check stops attack agents without
    /// it. Fails if one got nothing
    #[arg(long)]
    unchecked: bool,
}

fn main() -> Result<()> {
    let Options { list, only, cluster, unchecked } = Options::parse();
    let is_chosen = |attack: &&Attack| {
        let is_named = only.as_ref().is_none_or(|only| attack.name.contains(only.as_str()));
        is_named && (attack.needs_check || !unchecked)
    };
    let chosen: Vec<&'static Attack> = ATTACKS.iter().copied().filter(is_chosen).collect();
    ensure!(!chosen.is_empty(), "no attacker has such a name: see --list");
    if list {
        for attack in chosen {
            println!("{}\n  {}", attack.name, attack.idea);
        }
        return Ok(());
    }
    let mut report = Report::new(&chosen);
    let is_meant = |setting: &Setting| {
        cluster.as_ref().is_none_or(|cluster| setting.to_string().contains(cluster.as_str()))
    };
    for setting in Setting::all().into_iter().filter(is_meant) {
        eprintln!("attacking a cluster with {setting}");
        attack_all(&chosen, setting, !unchecked, &mut report)?;
    }
    println!("{}", report.table());
    if unchecked {
        let failed = report.failed_unchecked();
        ensure!(failed.is_empty(), "got nothing where nothing stops them: {}", failed.join(", "));
    } else {
        ensure!(report.is_clean(), "an attacker got something");
    }
    Ok(())
}

/// Has all attackers attack a cluster with a setting.
fn attack_all(
    chosen: &[&Attack],
    setting: Setting,
    checks: bool,
    report: &mut Report,
) -> Result<()> {
    let new_scene =
        || Scene::new(setting, checks).with_context(|| format!("make a cluster with {setting}"));
    let start = Instant::now();
    let mut scene = new_scene()?;
    for attack in chosen {
        let gain = (attack.run)(&scene)
            .with_context(|| format!("{}, with {setting}:\n{}", attack.name, scene.logs()))?;
        if gain != Gain::Nothing {
            eprintln!("  {}: {gain}", attack.name);
            // The others shall find it as it was.
            scene = new_scene()?;
        }
        report.add(setting, gain);
    }
    eprintln!("  took {} s", start.elapsed().as_secs());
    Ok(())
}
