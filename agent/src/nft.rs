//! Running the program `nft`.
//!
//! Rule sets are written with the types of the `nftables` crate. Its own runner is not used: it
//! leaves the program's standard error unread, where the reason of a refusal is, and waits for the
//! program for ever.

use std::{io, process::Stdio, time::Duration};

use nftables::schema::Nftables;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// A call takes milliseconds, some hundred with a rule set of tens of thousands of foreign rules.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such program.
    #[error("there is no program `nft` on PATH; it is in the package nftables")]
    Missing,
    /// It is there and did not start.
    #[error("start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It did not end in time, and was ended.
    #[error("`{command}` did not end within {TIME_LIMIT:?}")]
    TimedOut {
        /// The command line.
        command: String,
    },
    /// It refused.
    #[error("`{command}` failed: {said}")]
    Refused {
        /// The command line.
        command: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// It wrote something else than JSON, or could not be given any.
    #[error("exchange JSON with `{command}`")]
    Json {
        /// The command line.
        command: String,
        /// Where the JSON is wrong.
        #[source]
        cause: serde_json::Error,
    },
}

impl Error {
    /// What was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if said.contains("No such file or directory"))
    }
}

/// Lists a part of the rule set, without the values of counters: `nft --json --stateless list …`.
pub(crate) async fn list(what: &[&str]) -> Result<Value, Error> {
    let words = [&["--json", "--stateless", "list"], what].concat();
    let listing = run(&words, "").await?;
    serde_json::from_str(&listing).map_err(|cause| Error::Json { command: shown(&words), cause })
}

/// Applies a batch in one transaction: all of it or nothing.
pub(crate) async fn apply(batch: &Nftables<'_>) -> Result<(), Error> {
    let words = ["--json", "--file", "-"];
    let mut document = serde_json::to_value(batch)
        .map_err(|cause| Error::Json { command: shown(&words), cause })?;
    complete_statements(&mut document);
    run(&words, &document.to_string()).await.map(drop)
}

/// The crate writes a statement without operands as a bare word, `nft` reads an object only.
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
    let command = || shown(words);
    let start_error = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Error::Missing,
        _ => Error::Start { command: command(), cause },
    };
    let mut child = Command::new("nft")
        .args(words)
        // Its messages are looked at.
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
            // If it ends without having read everything, it says why on its way out.
            let _unread = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = timeout(TIME_LIMIT, finish)
        .await
        .map_err(|_| Error::TimedOut { command: command() })?
        .map_err(start_error)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Refused { command: command(), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(words: &[&str]) -> String {
    format!("nft {}", words.join(" "))
}
