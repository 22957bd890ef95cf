//! One netlink socket in one network namespace, and the three kinds of requests on it.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_FILTERED, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::RouteNetlinkMessage,
};
use tokio::time::timeout;

use crate::{
    Netns,
    error::{Cause, Error},
};

/// How long one request may take before it is an error, unless the caller chose otherwise.
///
/// Requests take microseconds. Creating and removing devices can wait behind others that hold the
/// kernel's RTNL lock, for seconds on a node where hundreds of pods start at once.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A dump that changed under the reader is read again this many times.
const DUMP_TRIES: usize = 5;

/// `NLM_F_DUMP_INTR` of `linux/netlink.h`: the dumped table changed while it was read.
const DUMP_INTERRUPTED: u16 = 0x10;

/// A netlink socket. It stays in the network namespace in which it was opened.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
    netns: Arc<Netns>,
    time_limit: Duration,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// Must be called within a tokio runtime, which drives the socket until the last clone of the
    /// returned value is dropped.
    pub fn open() -> Result<Self, Error> {
        // Strict checking makes the kernel honour the filters of dump requests.
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|error| Error::new("open a netlink socket", error))?;
        // A response that ended can be distinguished from a driver that died.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        let netns = Arc::new(Netns::current()?);
        Ok(Self { handle, netns, time_limit: TIME_LIMIT })
    }

    /// Opens a socket in another network namespace. The calling thread is back in its own namespace
    /// when this returns.
    pub fn open_in(netns: &Netns) -> Result<Self, Error> {
        netns.run(Self::open)?
    }

    /// Runs `check` now and after each of `changes` until it returns a value.
    pub(crate) async fn wait_for_change<T>(
        &self,
        mut changes: impl Stream<Item = ()> + Unpin,
        step: impl Fn() -> String,
        check: impl AsyncFn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let wait = async {
            loop {
                if let Some(value) = check().await? {
                    return Ok(value);
                }
                if changes.next().await.is_none() {
                    return Err(Error::new(step(), Cause::Closed));
                }
            }
        };
        let limit = self.time_limit;
        let expired = |_| Err(Error::new(step(), Cause::TimedOut(limit)));
        timeout(limit, wait).await.unwrap_or_else(expired)
    }

    /// An item for each notification about links that is relevant, from now on.
    pub(crate) fn link_changes<F>(
        &self,
        is_relevant: F,
    ) -> Result<impl Stream<Item = ()> + Unpin + use<F>, Cause>
    where
        F: Fn(&RouteNetlinkMessage) -> bool,
    {
        let messages = self.subscribe(&[MulticastGroup::Link])?;
        Ok(Box::pin(messages.filter_map(move |payload| {
            let relevant = match &payload {
                NetlinkPayload::InnerMessage(message) => is_relevant(message),
                // Notifications were lost: look again.
                NetlinkPayload::Overrun(_) => true,
                _ => false,
            };
            std::future::ready(relevant.then_some(()))
        })))
    }

    /// The notifications of these groups, from now on.
    pub(crate) fn subscribe(
        &self,
        groups: &[MulticastGroup],
    ) -> Result<impl Stream<Item = NetlinkPayload<RouteNetlinkMessage>> + Send + use<>, Cause> {
        let open = || rtnetlink::new_multicast_connection(groups);
        let (connection, handle, messages) = self.netns.run(open).map_err(Error::into_cause)??;
        tokio::spawn(connection);
        Ok(messages.map(move |(message, _)| {
            // The driver ends with its handle, so the stream holds it.
            let _ = &handle;
            message.payload
        }))
    }

    /// The namespace that the socket belongs to.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The same socket with another time limit for each request.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sends a request that the kernel acknowledges, and waits for that.
    pub(crate) async fn execute(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        step: impl Fn() -> String,
    ) -> Result<(), Error> {
        let outcome = timeout(self.time_limit, self.round_trip(request, flags | NLM_F_ACK)).await;
        self.within_limit(outcome).map(|_| ()).map_err(|cause| Error::new(step(), cause))
    }

    /// Sends a request to which the kernel responds with one object.
    pub(crate) async fn get(
        &self,
        request: RouteNetlinkMessage,
        step: impl Fn() -> String,
    ) -> Result<RouteNetlinkMessage, Error> {
        let outcome = timeout(self.time_limit, self.round_trip(request, 0)).await;
        self.within_limit(outcome)
            .and_then(|response| {
                response.objects.into_iter().next().ok_or(Cause::Malformed("an object"))
            })
            .map_err(|cause| Error::new(step(), cause))
    }

    /// Reads a table. A table that changes meanwhile is read again, so that the result is a
    /// consistent snapshot.
    pub(crate) async fn dump(
        &self,
        request: RouteNetlinkMessage,
        step: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let flags = NLM_F_DUMP | NLM_F_DUMP_FILTERED;
        let mut objects = Vec::new();
        for _ in 0..DUMP_TRIES {
            let outcome = timeout(self.time_limit, self.round_trip(request.clone(), flags)).await;
            let response = self.within_limit(outcome).map_err(|cause| Error::new(step(), cause))?;
            objects = response.objects;
            if !response.interrupted {
                break;
            }
        }
        Ok(objects)
    }

    async fn round_trip(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Response, Cause> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        let mut messages = self.handle.clone().request(message).map_err(|_| Cause::Closed)?;
        let mut response = Response::default();
        while let Some(message) = messages.next().await {
            response.interrupted |= message.header.flags & DUMP_INTERRUPTED != 0;
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Cause::Kernel(error.to_io()));
                }
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => response.is_complete = true,
                NetlinkPayload::InnerMessage(object) => {
                    response.is_complete |= flags & (NLM_F_DUMP | NLM_F_ACK) == 0;
                    response.objects.push(object);
                }
                _ => {}
            }
        }
        if response.is_complete { Ok(response) } else { Err(Cause::Closed) }
    }

    fn within_limit<T>(
        &self,
        outcome: Result<Result<T, Cause>, tokio::time::error::Elapsed>,
    ) -> Result<T, Cause> {
        outcome.unwrap_or(Err(Cause::TimedOut(self.time_limit)))
    }
}

/// The response to one request.
#[derive(Default)]
struct Response {
    objects: Vec<RouteNetlinkMessage>,
    /// The acknowledgement, the one object or the end of the dump came.
    is_complete: bool,
    /// The table changed while it was dumped.
    interrupted: bool,
}
