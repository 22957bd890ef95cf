//! One call, from its parameters to its response.

use std::io::{self, Read};

use serde_json::Value;
use tracing::Level;

use crate::{
    Error,
    add::Add,
    check::check,
    config::{Document, NetworkConfig},
    del::del,
    gc::gc,
    invocation::{Command, Environment},
    output::{error_to_json, version_to_json},
    status::status,
    version::SpecVersion,
};

/// A GC's list of attachments for the largest node is a tenth of this.
const INPUT_MAX: u64 = 4 << 20;

/// The response to the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The document for standard output, if there is one.
    pub document: Option<Value>,
    /// Whether the call succeeded: the exit status.
    pub succeeded: bool,
}

/// Serves one call. `input` is standard input, which is read to its end or to 4 MiB.
pub fn run(environment: &Environment, input: impl Read) -> Response {
    // Until the version of the configuration is known, errors have the newest format.
    let mut version = SpecVersion::LATEST;
    match serve(environment, input, &mut version) {
        Ok(document) => Response { document, succeeded: true },
        Err(error) => {
            tracing::error!(%error, details = error.details(), "failed");
            Response { document: Some(error_to_json(&error, version)), succeeded: false }
        }
    }
}

fn serve(
    environment: &Environment,
    input: impl Read,
    version: &mut SpecVersion,
) -> Result<Option<Value>, Error> {
    let command = environment.command()?;
    let document = read(input).and_then(|bytes| Document::decode(&bytes));
    if command == Command::Version {
        // VERSION succeeds with any input: the caller asks which versions it may use.
        let requested = document.and_then(|document| document.version());
        return Ok(Some(version_to_json(requested.unwrap_or(SpecVersion::LATEST))));
    }
    let document = document?;
    *version = document.version()?;
    if *version < command.since() {
        return Err(Error::CommandTooNew {
            command: command.as_str(),
            found: version.as_str(),
            since: command.since().as_str(),
        });
    }
    let config = document.check()?;
    log_to_stderr(config.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(run_command(command, environment, &config))
}

async fn run_command(
    command: Command,
    environment: &Environment,
    config: &NetworkConfig,
) -> Result<Option<Value>, Error> {
    match command {
        Command::Add => {
            let add = Add {
                config,
                pod: &config.for_pod()?,
                attachment: &environment.attachment()?,
                netns_path: &environment.netns()?,
                arguments: &environment.arguments()?,
            };
            let result = add.run().await?;
            return Ok(Some(result.to_json(config.version)));
        }
        Command::Del => {
            let netns = environment.optional_netns()?;
            del(config, &environment.attachment()?, netns.as_deref()).await?;
        }
        Command::Check => check(config, &environment.attachment()?, &environment.netns()?).await?,
        Command::Gc => gc(config).await?,
        Command::Status => status(config).await?,
        Command::Version => {}
    }
    Ok(None)
}

fn read(input: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    input.take(INPUT_MAX + 1).read_to_end(&mut bytes).map_err(Error::Input)?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(Error::InputTooLarge { limit: INPUT_MAX });
    }
    Ok(bytes)
}

/// Sends log lines to standard error, which runtimes keep. `WEIR_CNI_LOG` takes precedence over
/// the configuration; an unknown level is ignored.
fn log_to_stderr(level: Level) {
    let of_variable = std::env::var("WEIR_CNI_LOG").ok().and_then(|text| text.parse().ok());
    // Fails only if a test has set a subscriber before.
    let _ = tracing_subscriber::fmt()
        .with_max_level(of_variable.unwrap_or(level))
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .try_init();
}
