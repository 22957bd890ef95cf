//! The output of the `weir` command on a node.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::Member;

use crate::paint::Paint;
use crate::pods::DemoPod;
use crate::service;

/// The most lines that are shown of an output.
const LINES: usize = 14;

/// Runs the commands that change nothing.
pub(crate) fn show(node: &Member, pods: &[DemoPod], paint: Paint) -> Result<()> {
    let client = &pods.first().context("no pods")?.full_name;
    let target = service::frontend();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["services"],
        &["endpoints"],
        &["flows", "--limit", "3"],
        &["trace", client, &target],
        &["cleanup"],
    ];
    for words in commands {
        let output = node.weir_text(words)?;
        println!("  {}", paint.name(format!("weir {}", words.join(" "))));
        for line in output.lines().take(LINES) {
            println!("{}", format!("    {line}").trim_end());
        }
        if let more @ 1.. = output.lines().count().saturating_sub(LINES) {
            println!("    {}", paint.faint(format!("… {more} more lines")));
        }
        ensure!(words != ["status"] || output.starts_with("healthy\n"), "the node is not healthy");
    }
    Ok(())
}
