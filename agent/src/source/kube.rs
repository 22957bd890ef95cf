//! Cluster state from the Kubernetes API: a list of the Nodes, and a watch from there on.
//!
//! Nothing is ever written. A new list replaces the world when it is complete, and not before. When
//! the API server is away the last world stays; the watch goes on where it stopped, and lists anew
//! only if the server does not remember that far.

pub(crate) mod backoff;
mod connect;
mod desk;
mod feed;
mod followed;
mod inventory;
mod object;
mod trouble;
mod watch;

use std::sync::Mutex;

use super::{Publisher, Source};
use desk::{Desk, Outbox};
use feed::Feed;
use object::NodeObject;
use trouble::Kind;
use watch::End;

pub use connect::{ConnectError, Connection};

/// The source that watches the Kubernetes API.
#[derive(Debug)]
pub struct KubernetesSource {
    connection: Connection,
    nodes: Feed<NodeObject>,
}

impl KubernetesSource {
    /// A source that connects in this way.
    pub fn new(connection: Connection) -> Self {
        Self { connection, nodes: Feed::default() }
    }
}

impl Source for KubernetesSource {
    async fn run(self, publisher: Publisher) {
        let Self { connection, mut nodes } = self;
        let desk = Mutex::new(Desk::default());
        let outbox = Outbox::new(&desk, &publisher);
        while !publisher.is_closed() {
            match connection.connect().await {
                Ok((client, address)) => {
                    tracing::info!(address, "connecting to the API server");
                    if nodes.follow(client, &address, &outbox).await == End::NobodyListens {
                        return;
                    }
                }
                Err(error) => {
                    let kind = Kind::NoClient(connect::with_causes(&error));
                    nodes.suffer(kind, &outbox).await;
                }
            }
        }
    }
}
