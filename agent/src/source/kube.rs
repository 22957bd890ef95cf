//! Cluster state from the Kubernetes API: a list of the Nodes, and a watch from there on.
//!
//! Nothing is ever written. A new list replaces the world when it is complete, and not before. When
//! the API server is away the last world stays; the watch goes on where it stopped, and lists anew
//! only if the server does not remember that far.

pub(crate) mod backoff;
mod connect;
mod inventory;
mod object;
mod trouble;
mod watch;

use std::time::{Duration, Instant, SystemTime};

use super::publication::publish;
use super::{Publisher, Source, SourceStatus};
use backoff::Backoff;
use inventory::Inventory;
use trouble::{Kind, Trouble};
use watch::{End, InitialList};

pub use connect::{ConnectError, Connection};

/// With trouble that lasts this long, everything is set up anew: the API server may have moved.
const MOVED: Duration = Duration::from_secs(60);

/// The source that watches the Kubernetes API.
#[derive(Debug)]
pub struct KubernetesSource {
    connection: Connection,
    inventory: Inventory,
    trouble: Option<Trouble>,
    in_step: Option<Instant>,
    backoff: Backoff,
    initial_list: InitialList,
}

impl KubernetesSource {
    /// A source that connects in this way.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            inventory: Inventory::default(),
            trouble: None,
            in_step: None,
            backoff: Backoff::default(),
            initial_list: InitialList::Streamed,
        }
    }

    /// Notes trouble, says so, and waits before the next attempt.
    async fn suffer(&mut self, kind: Kind, publisher: &Publisher) {
        let before = self.trouble.take();
        if before.is_none() {
            // Until now there was none.
            self.backoff.reset();
        }
        self.trouble = Some(Trouble::next(before.as_ref(), kind, SystemTime::now()));
        self.publish(publisher);
        tokio::time::sleep(self.backoff.next()).await;
    }

    /// Notes that what is known is what the API server knows.
    fn be_in_step(&mut self, publisher: &Publisher) {
        self.trouble = None;
        if self.inventory.world().is_some() {
            self.in_step = Some(Instant::now());
        }
        self.publish(publisher);
    }

    fn needs_new_client(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| {
            trouble.wants_new_client() || trouble.lasts(SystemTime::now()) > MOVED
        })
    }

    fn publish(&self, publisher: &Publisher) {
        let trouble = self.trouble.iter().map(Trouble::text);
        let problems = trouble.chain(self.inventory.problems()).collect();
        let status = SourceStatus { in_step: self.in_step, problems };
        publish(publisher, self.inventory.world(), status);
    }
}

impl Source for KubernetesSource {
    async fn run(mut self, publisher: Publisher) {
        while !publisher.is_closed() {
            match self.connection.connect().await {
                Ok((client, address)) => {
                    tracing::info!(address, "connecting to the API server");
                    if self.follow(client, &address, &publisher).await == End::NobodyListens {
                        return;
                    }
                }
                Err(error) => {
                    let kind = Kind::NoClient(connect::with_causes(&error));
                    self.suffer(kind, &publisher).await;
                }
            }
        }
    }
}
