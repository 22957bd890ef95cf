//! Cluster state from the Kubernetes API: a list of the Nodes, of the Services and of the
//! EndpointSlices, and a watch of each from there on.
//!
//! Nothing is ever written. There is no snapshot before all lists are complete, and a new list of one
//! kind takes the place of the old one when it is complete, and not before. When
//! the API server is away the last snapshot stays; the watch goes on where it stopped, and lists anew
//! only if the server does not remember that far.

mod connect;
mod desk;
mod feed;
mod followed;
mod inventory;
mod object;
mod trouble;
mod watch;

use std::sync::Mutex;

use kube::Client;

use super::service::ServiceObject;
use super::slice::SliceObject;
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
    with_services: bool,
    feeds: Feeds,
}

#[derive(Debug, Default)]
struct Feeds {
    nodes: Feed<NodeObject>,
    services: Feed<ServiceObject>,
    slices: Feed<SliceObject>,
}

impl KubernetesSource {
    /// A source that connects in this way, and follows the Nodes.
    pub fn new(connection: Connection) -> Self {
        Self { connection, with_services: false, feeds: Feeds::default() }
    }

    /// Whether to follow Services and EndpointSlices too, which needs the right to.
    #[must_use]
    pub fn with_services(self, with_services: bool) -> Self {
        Self { with_services, ..self }
    }
}

impl Feeds {
    /// Follows each kind, until the first of them needs a new client.
    async fn follow(
        &mut self,
        client: &Client,
        address: &str,
        with_services: bool,
        outbox: &Outbox<'_>,
    ) -> End {
        let Self { nodes, services, slices } = self;
        let nodes = nodes.follow(client.clone(), address, outbox);
        if !with_services {
            return nodes.await;
        }
        tokio::select! {
            end = nodes => end,
            end = services.follow(client.clone(), address, outbox) => end,
            end = slices.follow(client.clone(), address, outbox) => end,
        }
    }
}

impl Source for KubernetesSource {
    async fn run(self, publisher: Publisher) {
        let Self { connection, with_services, mut feeds } = self;
        let desk = Mutex::new(Desk::new(with_services));
        let outbox = Outbox::new(&desk, &publisher);
        while !publisher.is_closed() {
            match connection.connect().await {
                Ok((client, address)) => {
                    tracing::info!(address, "connecting to the API server");
                    let end = feeds.follow(&client, &address, with_services, &outbox).await;
                    if end == End::NobodyListens {
                        return;
                    }
                }
                Err(error) => {
                    let kind = Kind::NoClient(connect::with_causes(&error));
                    feeds.nodes.suffer(kind, &outbox).await;
                }
            }
        }
    }
}
