//! Running other programs of the node.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// A listing of a hundred thousand rules takes seconds.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Runs a program with `input` as its standard input. Returns its output, or `None` if the program is
/// not installed.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> Result<Option<String>> {
    let what = || format!("run {program} {}", arguments.join(" "));
    let child = Command::new(program)
        .args(arguments)
        // Callers read its messages.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(what),
    };
    let stdin = child.stdin.take();
    let finish = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // If it ends without reading everything, its standard error says why.
                let _unread = stdin.write_all(input.as_bytes()).await;
            }
        };
        tokio::join!(write, child.wait_with_output()).1
    };
    let Ok(output) = timeout(TIME_LIMIT, finish).await else {
        bail!("{} did not end within {TIME_LIMIT:?}", what());
    };
    let output = output.with_context(what)?;
    if !output.status.success() {
        bail!("{}: {}", what(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}
