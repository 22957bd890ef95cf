//! `weir cleanup`: removes Weir's objects from a node, or what kube-proxy or flannel have left.
//!
//! Without `--yes` it only lists them. Objects of others stay.

mod weir;

use std::fmt;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use weir_netlink::Netlink;

use crate::leftovers::{self, Leftover, Owner};
use crate::options::Place;
use crate::output::{Output, print_json, print_text};

/// Options of `weir cleanup`. The paths must be those of the agent.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Remove the objects; without this they are only listed
    #[arg(long)]
    yes: bool,
    /// List what would be removed, and remove nothing: the default
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Remove what kube-proxy has left, and nothing of Weir's
    #[arg(long)]
    kube_proxy: bool,
    /// Remove what flannel has left, and nothing of Weir's
    #[arg(long)]
    flannel: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// An object that can be removed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Object {
    Own(weir::Item),
    Left(Leftover),
}

/// The outcome for an object.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    object: Object,
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(item) => item.fmt(f),
            Self::Left(leftover) => leftover.fmt(f),
        }
    }
}

impl Object {
    async fn remove(&self, netlink: &Netlink) -> Result<()> {
        match self {
            Self::Own(item) => weir::remove(item, netlink).await,
            Self::Left(leftover) => leftover.remove(netlink).await,
        }
    }
}

impl Options {
    /// The owners whose objects are removed; empty for Weir's own.
    fn owners(&self) -> Vec<Owner> {
        let kube_proxy = self.kube_proxy.then_some(Owner::KubeProxy);
        kube_proxy.into_iter().chain(self.flannel.then_some(Owner::Flannel)).collect()
    }
}

/// Finds all objects, and removes them with `--yes`. A failed removal does not prevent the others.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let netlink = Netlink::open()?;
    let (objects, notes) = find(options, &netlink).await?;
    let mut reports = Vec::new();
    for object in objects {
        let outcome = if options.yes { object.remove(&netlink).await } else { Ok(()) };
        let error = outcome.err().map(|error| format!("{error:#}"));
        reports.push(Report { object, removed: error.is_none() && options.yes, error });
    }
    print(options, &reports, &notes)?;
    let failed = reports.iter().filter(|report| report.error.is_some()).count();
    if failed > 0 {
        bail!("{failed} of {} could not be removed", reports.len());
    }
    Ok(())
}

async fn find(options: &Options, netlink: &Netlink) -> Result<(Vec<Object>, Vec<String>)> {
    let owners = options.owners();
    if owners.is_empty() {
        let items = weir::find(&options.place, netlink).await?;
        return Ok((items.into_iter().map(Object::Own).collect(), Vec::new()));
    }
    let (mut objects, mut notes) = (Vec::new(), Vec::new());
    for owner in owners {
        let found = leftovers::find(owner, &options.place, netlink).await?;
        objects.extend(found.leftovers.into_iter().map(Object::Left));
        notes.extend(
            found.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>(),
        );
    }
    Ok((objects, notes))
}

fn print(options: &Options, reports: &[Report], notes: &[String]) -> Result<()> {
    if options.output == Output::Json {
        return print_json(&reports);
    }
    for Report { object, error, .. } in reports {
        match error {
            Some(error) => print_text(&format!("cannot remove {object}: {error}")),
            None if options.yes => print_text(&format!("removed {object}")),
            None => print_text(&format!("would remove {object}")),
        }?;
    }
    for note in notes {
        print_text(&format!("not inspected: {note}"))?;
    }
    if reports.is_empty() {
        let owners: Vec<_> = options.owners().iter().map(ToString::to_string).collect();
        let of = if owners.is_empty() { "Weir's".to_owned() } else { owners.join(" or ") };
        print_text(&format!("nothing of {of} is on this node"))
    } else if options.yes {
        Ok(())
    } else {
        print_text("nothing was removed; use --yes to remove")
    }
}
