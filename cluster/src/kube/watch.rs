//! One watch of one kind, for as long as its client serves.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use kube::api::ListParams;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::desk::Outbox;
use super::feed::Feed;
use super::followed::Followed;
use super::trouble::Kind;

/// How often one looks whether all is well, and how often while it is not.
const CHECK: Duration = Duration::from_secs(5);
const TROUBLED_CHECK: Duration = Duration::from_millis(500);

/// How long the API server may take to answer whether it is there.
const PROBE: Duration = Duration::from_secs(3);

/// The server ends a watch after this time, and it is renewed: it is also how late one notices that
/// the other end has vanished without a word.
const WATCH_SECONDS: u32 = 110;

/// A list that is streamed begins at once, also if it is long. Servers before Kubernetes 1.27 take
/// the request for an ordinary watch, which never says that the list is complete.
const STREAM_BEGINS: Duration = Duration::from_secs(30);

/// Objects in one answer, where the list is not streamed: of Nodes some 5 MiB.
const PAGE: u32 = 500;

/// How the first list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitialList {
    /// As a watch that starts with everything: object by object.
    Streamed,
    /// In pages.
    Paged,
}

/// Why following ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A new client is needed.
    Client,
    /// Nobody reads what is published.
    NobodyListens,
}

/// Why a watch ended although its client still serves.
enum Turn {
    Again,
    End(End),
}

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

impl<K: Followed> Feed<K> {
    /// Follows the objects until a new client is needed.
    pub(super) async fn follow(
        &mut self,
        client: Client,
        address: &str,
        outbox: &Outbox<'_>,
    ) -> End {
        let api = Api::<K>::all(client);
        loop {
            let events = Box::pin(watcher(api.clone(), config::<K>(self.initial_list)));
            if let Turn::End(end) = self.follow_once(&api, events, address, outbox).await {
                return end;
            }
        }
    }

    async fn follow_once(
        &mut self,
        api: &Api<K>,
        mut events: Events<K>,
        address: &str,
        outbox: &Outbox<'_>,
    ) -> Turn {
        let verb = match self.initial_list {
            InitialList::Streamed => "watch",
            InitialList::Paged => "list",
        };
        let started = Instant::now();
        let mut listed = false;
        // What was looked at ahead of time, and is still to be dealt with.
        let mut ahead = None;
        loop {
            let event = match ahead.take() {
                Some(event) => event,
                None => tokio::select! {
                    event = events.next() => event,
                    () = sleep(self.pause()) => {
                        if !listed && self.trouble.is_none() && started.elapsed() > STREAM_BEGINS {
                            if self.ask_for_pages() {
                                return Turn::Again;
                            }
                        } else if self.check(api, address, listed, outbox).await
                            == Server::Another
                        {
                            self.inventory.forget_versions();
                            return Turn::Again;
                        }
                        continue;
                    }
                    () = outbox.closed() => return Turn::End(End::NobodyListens),
                },
            };
            match event {
                Some(Ok(event)) => {
                    listed |= self.take(event);
                    // What has arrived at the same time makes one snapshot.
                    ahead = loop {
                        match events.next().now_or_never() {
                            Some(Some(Ok(event))) => listed |= self.take(event),
                            other => break other,
                        }
                    };
                    if listed && ahead.is_none() {
                        self.be_in_step(outbox);
                    }
                }
                Some(Err(error)) => {
                    if !listed && is_unknown_request(&error) && self.ask_for_pages() {
                        return Turn::Again;
                    }
                    self.suffer(Kind::of(&error, (verb, K::RESOURCE), address), outbox).await;
                    if self.needs_new_client() {
                        return Turn::End(End::Client);
                    }
                    if is_too_old(&error) {
                        return Turn::Again;
                    }
                }
                None => return Turn::Again,
            }
        }
    }

    /// Takes an event in, and tells whether it completed the list.
    fn take(&mut self, event: Event<K>) -> bool {
        let completes = matches!(event, Event::InitDone);
        self.inventory.handle(event);
        completes
    }

    /// Turns from a streamed list to one in pages, if that has not been done.
    fn ask_for_pages(&mut self) -> bool {
        let turned = self.initial_list == InitialList::Streamed;
        if turned {
            tracing::info!("the API server streams no list: asking for pages");
            self.initial_list = InitialList::Paged;
        }
        turned
    }

    fn pause(&self) -> Duration {
        if self.trouble.is_some() { TROUBLED_CHECK } else { CHECK }
    }

    /// A watch is silent while nothing changes, and also when it has just been renewed after
    /// trouble: ask whether the server is there, and whether it is the one that we know.
    async fn check(
        &mut self,
        api: &Api<K>,
        address: &str,
        listed: bool,
        outbox: &Outbox<'_>,
    ) -> Server {
        if self.trouble.is_none() {
            if listed {
                self.be_in_step(outbox);
            }
            return Server::Same;
        }
        match timeout(PROBE, api.list(&probe::<K>())).await {
            Ok(Ok(list)) => {
                let version = list.metadata.resource_version.and_then(|text| text.parse().ok());
                // Counted from a backup, versions are lower than those that we have seen, and the
                // watch would wait for the count to get there.
                if version.is_some_and(|now: u64| now < self.inventory.newest_version()) {
                    tracing::warn!("the API server's state is older than what it said before");
                    return Server::Another;
                }
                if listed {
                    self.be_in_step(outbox);
                }
            }
            Ok(Err(error)) => {
                self.suffer(Kind::of_client(&error, ("list", K::RESOURCE), address), outbox).await;
            }
            Err(_) => {}
        }
        Server::Same
    }
}

/// Whether the API server still counts versions as it did.
#[derive(Debug, PartialEq, Eq)]
enum Server {
    Same,
    Another,
}

fn config<K: Followed>(initial_list: InitialList) -> Config {
    let mut config = Config::default().timeout(WATCH_SECONDS);
    if let Some(selector) = K::SELECTOR {
        config = config.labels(selector);
    }
    match initial_list {
        InitialList::Streamed => config.streaming_lists(),
        InitialList::Paged => config.page_size(PAGE),
    }
}

fn probe<K: Followed>() -> ListParams {
    let probe = ListParams::default().limit(1);
    match K::SELECTOR {
        Some(selector) => probe.labels(selector),
        None => probe,
    }
}

fn status(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Where streaming is turned off, the request for it is invalid.
fn is_unknown_request(error: &watcher::Error) -> bool {
    matches!(status(error), Some(400 | 422))
}

fn is_too_old(error: &watcher::Error) -> bool {
    status(error) == Some(410)
}
