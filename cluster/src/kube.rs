//! The state of the cluster from the Kubernetes API: a list of the objects of each kind, and a watch
//! from there on.
//!
//! This source never writes. There is no snapshot before all lists are complete, and a new list of one
//! kind replaces the old one only when it is complete. While the API server is unreachable the last
//! snapshot stays. The watch continues where it stopped, and lists again only if the server does not
//! remember that version.

mod connect;
mod output;
mod resource_watch;
mod watch_error;

use futures_util::future::select_all;

use super::{Publisher, Source};
use crate::kinds::Kind;
use crate::state_assembler::StateAssembler;
use output::Output;
use resource_watch::{AnyWatch, Connected, End, MakeWatch};
use watch_error::Failure;

pub use connect::{ConnectError, Connection};

/// The source that watches the Kubernetes API.
#[derive(Debug)]
pub struct KubernetesSource {
    connection: Connection,
    with_services: bool,
}

impl KubernetesSource {
    /// A source that connects in this way and watches the Nodes.
    pub const fn new(connection: Connection) -> Self {
        Self { connection, with_services: false }
    }

    /// Whether to watch the other kinds too, Services and EndpointSlices, which needs the right to.
    #[must_use]
    pub fn with_services(self, with_services: bool) -> Self {
        Self { with_services, ..self }
    }
}

impl Source for KubernetesSource {
    async fn run(self, publisher: Publisher) {
        let Self { connection, with_services } = self;
        let is_watched = |kind: &Kind| *kind == Kind::Node || with_services;
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(is_watched).collect();
        let output = Output::new(StateAssembler::new(kinds.iter().copied()), &publisher);
        let mut watches: Vec<Box<dyn AnyWatch>> =
            kinds.into_iter().map(|kind| kind.visit(MakeWatch)).collect();
        while !publisher.is_closed() {
            match connection.connect().await {
                Ok((client, address)) => {
                    tracing::info!(address, "connecting to the API server");
                    let server = Connected { client, address };
                    // Until the first of the watches needs a new client.
                    let watching = watches.iter_mut().map(|watch| watch.follow(&server, &output));
                    if select_all(watching).await.0 == End::NoReaders {
                        return;
                    }
                }
                Err(error) => {
                    let failure = Failure::NoClient(connect::with_causes(&error));
                    if let Some(watch) = watches.first_mut() {
                        watch.record_failure(failure, &output).await;
                    }
                }
            }
        }
    }
}
