//! What the operator's tool says of a node.

use anyhow::{Context, Result, ensure};
use weir_tests::lab::Member;

use crate::paint::Paint;
use crate::pods::DemoPod;
use crate::service;

/// What is shown of a long answer.
const LINES: usize = 14;

/// Runs each command that only looks.
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
        let said = node.weir_text(words)?;
        println!("  {}", paint.name(format!("weir {}", words.join(" "))));
        for line in said.lines().take(LINES) {
            println!("{}", format!("    {line}").trim_end());
        }
        if let more @ 1.. = said.lines().count().saturating_sub(LINES) {
            println!("    {}", paint.faint(format!("… {more} lines more")));
        }
        ensure!(words != ["status"] || said.starts_with("healthy\n"), "the node is not healthy");
    }
    Ok(())
}
