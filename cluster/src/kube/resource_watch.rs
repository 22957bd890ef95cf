//! The watch of one kind of object.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use kube::api::ListParams;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

use super::output::Output;
use super::watch_error::{Failure, WatchError};
use crate::backoff::Backoff;
use crate::kinds::{DecodedObject, KindVisitor, ListedKind};
use crate::resource_state::SourceError;
use crate::state_assembler::ResourceEvent;

/// How often the state is confirmed, and how often the API server is asked after an error.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const CHECK_INTERVAL_AFTER_ERROR: Duration = Duration::from_millis(500);

/// How long the API server may take to answer such a question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// After errors for this long, a new client is made: the API server may have moved.
const RECONNECT_AFTER: Duration = Duration::from_secs(60);

/// The server ends a watch after this time, and it is renewed. A connection that was lost without
/// notice is thus noticed after this time too.
const WATCH_SECONDS: u32 = 110;

/// A streamed list begins at once, however long it is. Servers before Kubernetes 1.27 take the request
/// for an ordinary watch, which never reports that the list is complete.
const STREAM_BEGINS: Duration = Duration::from_secs(30);

/// Objects in one page, where the list is not streamed: some 5 MiB of Nodes.
const PAGE: u32 = 500;

/// How the first list is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InitialList {
    /// As a watch that begins with all objects, one by one.
    Streamed,
    /// In pages.
    Paged,
}

/// Why following ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A new client is needed.
    Client,
    /// The publisher has no readers.
    NoReaders,
}

/// Why a watch ended.
enum WatchEnd {
    /// A new watch with the same client is needed.
    Restart,
    End(End),
}

/// Whether the API server still counts versions as it did.
#[derive(Debug, PartialEq, Eq)]
enum Server {
    Same,
    Restored,
}

/// A connection to the API server.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) address: String,
}

/// The watch of a kind that the type does not name.
pub(super) trait AnyWatch: Send {
    /// Follows the objects until a new client is needed.
    fn follow<'a>(
        &'a mut self,
        server: &'a Connected,
        output: &'a Output<'_>,
    ) -> BoxFuture<'a, End>;

    /// Records and publishes an error, and waits before the next attempt.
    fn record_failure<'a>(
        &'a mut self,
        failure: Failure,
        output: &'a Output<'_>,
    ) -> BoxFuture<'a, ()>;
}

/// Makes the watch of a kind.
pub(super) struct MakeWatch;

impl KindVisitor for MakeWatch {
    type Output = Box<dyn AnyWatch>;

    fn visit<K: ListedKind>(self) -> Self::Output {
        Box::new(ResourceWatch::<K>::new())
    }
}

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

/// The watch of one kind of object.
struct ResourceWatch<K> {
    kind: PhantomData<fn() -> K>,
    error: Option<WatchError>,
    initial_list: InitialList,
    /// The newest version of any object that has been received. Versions count the changes of the
    /// whole cluster.
    newest_version: u64,
    backoff: Backoff,
}

impl<K: ListedKind> AnyWatch for ResourceWatch<K> {
    fn follow<'a>(
        &'a mut self,
        server: &'a Connected,
        output: &'a Output<'_>,
    ) -> BoxFuture<'a, End> {
        async move {
            let api = Api::<K>::all(server.client.clone());
            loop {
                let events = Box::pin(watcher(api.clone(), config::<K>(self.initial_list)));
                if let WatchEnd::End(end) =
                    self.follow_once(&api, events, &server.address, output).await
                {
                    return end;
                }
            }
        }
        .boxed()
    }

    fn record_failure<'a>(
        &'a mut self,
        failure: Failure,
        output: &'a Output<'_>,
    ) -> BoxFuture<'a, ()> {
        async move {
            if self.error.is_none() {
                self.backoff.reset();
            }
            let error = WatchError::after(self.error.as_ref(), failure, SystemTime::now());
            let (text, affects_all) = (error.text(), error.affects_all());
            self.error = Some(error);
            output.record_error(K::ID, SourceError { text, affects_all });
            sleep(self.backoff.next_wait()).await;
        }
        .boxed()
    }
}

impl<K: ListedKind> ResourceWatch<K> {
    fn new() -> Self {
        Self {
            kind: PhantomData,
            error: None,
            initial_list: InitialList::Streamed,
            newest_version: 0,
            backoff: Backoff::default(),
        }
    }

    async fn follow_once(
        &mut self,
        api: &Api<K>,
        mut events: Events<K>,
        address: &str,
        output: &Output<'_>,
    ) -> WatchEnd {
        let verb = match self.initial_list {
            InitialList::Streamed => "watch",
            InitialList::Paged => "list",
        };
        let started = Instant::now();
        let mut listed = false;
        // An item of the stream that was received but not handled yet.
        let mut ahead = None;
        loop {
            let event = match ahead.take() {
                Some(event) => event,
                None => tokio::select! {
                    event = events.next() => event,
                    () = sleep(self.pause()) => {
                        if !listed && self.error.is_none() && started.elapsed() > STREAM_BEGINS {
                            if self.ask_for_pages() {
                                return WatchEnd::Restart;
                            }
                        } else if self.check(api, address, listed, output).await
                            == Server::Restored
                        {
                            // The versions to come are of another count.
                            self.newest_version = 0;
                            return WatchEnd::Restart;
                        }
                        continue;
                    }
                    () = output.closed() => return WatchEnd::End(End::NoReaders),
                },
            };
            match event {
                Some(Ok(event)) => {
                    listed |= self.take(&event, output);
                    // All events that have arrived make one snapshot.
                    ahead = loop {
                        match events.next().now_or_never() {
                            Some(Some(Ok(event))) => listed |= self.take(&event, output),
                            other => break other,
                        }
                    };
                    if listed && ahead.is_none() {
                        self.mark_synced(output);
                    }
                }
                Some(Err(error)) => {
                    if !listed && is_unknown_request(&error) && self.ask_for_pages() {
                        return WatchEnd::Restart;
                    }
                    self.record_failure(
                        Failure::of(&error, (verb, K::URL_PATH_SEGMENT), address),
                        output,
                    )
                    .await;
                    if self.needs_new_client() {
                        return WatchEnd::End(End::Client);
                    }
                    if is_too_old(&error) {
                        return WatchEnd::Restart;
                    }
                }
                None => return WatchEnd::Restart,
            }
        }
    }

    /// Takes in an event. Returns whether it completed the list.
    fn take(&mut self, event: &Event<K>, output: &Output<'_>) -> bool {
        if let Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) = event {
            let version = object.metadata().resource_version.as_deref();
            let version = version.and_then(|text| text.parse().ok()).unwrap_or(0);
            self.newest_version = self.newest_version.max(version);
        }
        let event = resource_event(event);
        let completes = matches!(event, ResourceEvent::ListComplete);
        output.handle(K::ID, event);
        completes
    }

    /// Records and publishes that the state is that of the API server.
    fn mark_synced(&mut self, output: &Output<'_>) {
        self.error = None;
        output.mark_synced(K::ID);
    }

    fn needs_new_client(&self) -> bool {
        self.error.as_ref().is_some_and(|error| {
            error.wants_new_client()
                || (error.may_have_moved() && error.duration(SystemTime::now()) > RECONNECT_AFTER)
        })
    }

    /// Switches from a streamed list to one in pages. Returns false if it is in pages already.
    fn ask_for_pages(&mut self) -> bool {
        let switched = self.initial_list == InitialList::Streamed;
        if switched {
            tracing::info!("the API server does not stream lists: asking for pages");
            self.initial_list = InitialList::Paged;
        }
        switched
    }

    fn pause(&self) -> Duration {
        if self.error.is_some() { CHECK_INTERVAL_AFTER_ERROR } else { CHECK_INTERVAL }
    }

    /// A watch is silent while nothing changes, and also when it has just been renewed after an error.
    /// Asks whether the server is there, and whether its state has been restored from a backup.
    async fn check(
        &mut self,
        api: &Api<K>,
        address: &str,
        listed: bool,
        output: &Output<'_>,
    ) -> Server {
        if self.error.is_none() {
            if listed {
                self.mark_synced(output);
            }
            return Server::Same;
        }
        match timeout(PROBE_TIMEOUT, api.list(&probe::<K>())).await {
            Ok(Ok(list)) => {
                let version = list.metadata.resource_version.and_then(|text| text.parse().ok());
                // After a restore, versions are lower than those that have been received, and the watch
                // would wait until the count has caught up.
                if version.is_some_and(|now: u64| now < self.newest_version) {
                    tracing::warn!("the API server's state is older than before");
                    return Server::Restored;
                }
                if listed {
                    self.mark_synced(output);
                }
            }
            Ok(Err(error)) => {
                self.record_failure(
                    Failure::of_client(&error, ("list", K::URL_PATH_SEGMENT), address),
                    output,
                )
                .await;
            }
            Err(_) => {}
        }
        Server::Same
    }
}

fn resource_event<K: ListedKind>(event: &Event<K>) -> ResourceEvent {
    match event {
        Event::Init => ResourceEvent::ListBegun,
        Event::InitApply(object) => ResourceEvent::Listed(DecodedObject::of(object)),
        Event::InitDone => ResourceEvent::ListComplete,
        Event::Apply(object) => ResourceEvent::Applied(DecodedObject::of(object)),
        Event::Delete(object) => ResourceEvent::Deleted(DecodedObject::of(object)),
    }
}

fn config<K: ListedKind>(initial_list: InitialList) -> Config {
    let mut config = Config::default().timeout(WATCH_SECONDS);
    if let Some(selector) = K::SELECTOR {
        config = config.labels(selector);
    }
    match initial_list {
        InitialList::Streamed => config.streaming_lists(),
        InitialList::Paged => config.page_size(PAGE),
    }
}

fn probe<K: ListedKind>() -> ListParams {
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

#[cfg(test)]
mod tests;
