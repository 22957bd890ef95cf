//! `weir cleanup`: takes away what Weir has made on a node, or what kube-proxy or flannel have left.
//!
//! It says what would go, and removes it when it is told to. What is not the owner's stays.

mod weir;

use std::fmt;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use weir_netlink::Netlink;

use crate::leftovers::{self, Leftover, Owner};
use crate::options::Place;
use crate::output::{Output, say, say_json};

/// Options of `weir cleanup`; the paths are those that the agent was given.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Remove it; without this it is only said what would go
    #[arg(long)]
    yes: bool,
    /// Say what would be removed, and remove nothing: the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// What kube-proxy has left, and nothing of Weir's
    #[arg(long)]
    kube_proxy: bool,
    /// What flannel has left, and nothing of Weir's
    #[arg(long)]
    flannel: bool,
    /// For people or for programs
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// Something that can be taken away.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Thing {
    Own(weir::Item),
    Left(Leftover),
}

/// What became of it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    thing: Thing,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(item) => item.fmt(f),
            Self::Left(leftover) => leftover.fmt(f),
        }
    }
}

impl Thing {
    async fn remove(&self, netlink: &Netlink) -> Result<()> {
        match self {
            Self::Own(item) => weir::remove(item, netlink).await,
            Self::Left(leftover) => leftover.remove(netlink).await,
        }
    }
}

impl Options {
    /// Whose things are to go; nobody else's than Weir's, if none is named.
    fn owners(&self) -> Vec<Owner> {
        let kube_proxy = self.kube_proxy.then_some(Owner::KubeProxy);
        kube_proxy.into_iter().chain(self.flannel.then_some(Owner::Flannel)).collect()
    }
}

/// Finds everything, and removes it if it is to. What cannot be removed keeps nothing else from being
/// tried.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let netlink = Netlink::open()?;
    let (things, notes) = find(options, &netlink).await?;
    let mut reports = Vec::new();
    for thing in things {
        let outcome = if options.yes { thing.remove(&netlink).await } else { Ok(()) };
        let error = outcome.err().map(|error| format!("{error:#}"));
        reports.push(Report { thing, removed: error.is_none() && options.yes, error });
    }
    print(options, &reports, &notes)?;
    let failed = reports.iter().filter(|report| report.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} could not be removed", reports.len());
    }
    Ok(())
}

async fn find(options: &Options, netlink: &Netlink) -> Result<(Vec<Thing>, Vec<String>)> {
    let owners = options.owners();
    if owners.is_empty() {
        let items = weir::find(&options.place, netlink).await?;
        return Ok((items.into_iter().map(Thing::Own).collect(), Vec::new()));
    }
    let (mut things, mut notes) = (Vec::new(), Vec::new());
    for owner in owners {
        let found = leftovers::find(owner, &options.place, netlink).await?;
        things.extend(found.leftovers.into_iter().map(Thing::Left));
        notes.extend(
            found.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>(),
        );
    }
    Ok((things, notes))
}

fn print(options: &Options, reports: &[Report], notes: &[String]) -> Result<()> {
    if options.output == Output::Json {
        return say_json(&reports);
    }
    for Report { thing, error, .. } in reports {
        match error {
            Some(error) => say(&format!("cannot remove {thing}: {error}")),
            None if options.yes => say(&format!("removed {thing}")),
            None => say(&format!("would remove {thing}")),
        }?;
    }
    for note in notes {
        say(&format!("not looked at: {note}"))?;
    }
    if reports.is_empty() {
        let owners: Vec<_> = options.owners().iter().map(ToString::to_string).collect();
        let of = if owners.is_empty() { "Weir's".to_owned() } else { owners.join(" or ") };
        say(&format!("nothing of {of} is on this node"))
    } else if options.yes {
        Ok(())
    } else {
        say("nothing was removed: --yes removes it")
    }
}
