//! Running the program `nft`.
//!
//! Rule sets are written with the types of the `nftables` crate. The crate's own runner is not used:
//! it does not read the program's standard error, which has the reason of a failure, and it has no
//! timeout.

use std::{io, process::Stdio, time::Duration};

use nftables::schema::Nftables;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// A call takes milliseconds, or some hundred milliseconds with tens of thousands of foreign rules.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why a call of `nft` failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was not found.
    #[error("the program `nft` is not on PATH; it is in the package nftables")]
    Missing,
    /// The program could not be started.
    #[error("start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// The program did not end in time and was killed.
    #[error("`{command}` did not end within {TIME_LIMIT:?}")]
    TimedOut {
        /// The command line.
        command: String,
    },
    /// The program failed.
    #[error("`{command}` failed: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// The program's standard error.
        stderr: String,
    },
    /// The program's output was not JSON, or its input could not be written as JSON.
    #[error("exchange JSON with `{command}`")]
    Json {
        /// The command line.
        command: String,
        /// The error in the JSON.
        #[source]
        cause: serde_json::Error,
    },
}

impl Error {
    /// Whether the listed object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { stderr, .. } if stderr.contains("No such file or directory"))
    }
}

/// Lists a part of the rule set without the values of counters: `nft --json --stateless list …`.
pub(crate) async fn list(what: &[&str]) -> Result<Value, Error> {
    read(&[&["--json", "--stateless", "list"], what].concat()).await
}

/// Lists a part of the rule set with the values of counters: `nft --json list …`.
pub(crate) async fn list_with_counts(what: &[&str]) -> Result<Value, Error> {
    read(&[&["--json", "list"], what].concat()).await
}

async fn read(words: &[&str]) -> Result<Value, Error> {
    let listing = run(words, "").await?;
    serde_json::from_str(&listing)
        .map_err(|cause| Error::Json { command: command_line(words), cause })
}

/// Applies a batch in one transaction.
pub(crate) async fn apply(batch: &Nftables<'_>) -> Result<(), Error> {
    let words = ["--json", "--file", "-"];
    let mut document = serde_json::to_value(batch)
        .map_err(|cause| Error::Json { command: command_line(&words), cause })?;
    complete_statements(&mut document);
    run(&words, &document.to_string()).await.map(drop)
}

/// The crate writes a statement without operands as a string, but `nft` reads only an object.
fn complete_statements(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let ("expr", Value::Array(statements)) = (name.as_str(), &mut *member) {
                    for statement in statements {
                        if let Some(word) = statement.as_str() {
                            *statement = json!({ word: null });
                        }
                    }
                }
                complete_statements(member);
            }
        }
        Value::Array(members) => members.iter_mut().for_each(complete_statements),
        _ => {}
    }
}

async fn run(words: &[&str], input: &str) -> Result<String, Error> {
    let command = || command_line(words);
    let start_error = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        _ => Error::Start { command: command(), cause },
    };
    let mut child = Command::new("nft")
        .args(words)
        // `is_not_found` matches the program's messages.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start_error)?;
    let stdin = child.stdin.take();
    let finish = async {
        if let Some(mut stdin) = stdin {
            // If the program ends without reading everything, its standard error says why.
            let _unread = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(TIME_LIMIT, finish)
        .await
        .map_err(|_| Error::TimedOut { command: command() })?
        .map_err(start_error)?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Failed { command: command(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command_line(words: &[&str]) -> String {
    format!("nft {}", words.join(" "))
}
