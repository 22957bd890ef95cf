//! What stands between us and the API server, in an operator's words.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use kube::core::Status;
use kube::runtime::watcher;

use super::connect::with_causes;

/// A trouble, and since when there is any.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    since: SystemTime,
    kind: Kind,
}

/// What kind of trouble, with what the API server or the connection says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is not even a client.
    NoClient(String),
    /// No answer.
    Away { address: String, error: String },
    /// 401.
    Unauthorized { address: String, message: String },
    /// 403.
    Denied { tried: Attempt, message: String },
    /// Another answer than the wanted one.
    Refused { address: String, resource: &'static str, message: String },
}

/// A verb and the resource that it was tried on.
type Attempt = (&'static str, &'static str);

impl Kind {
    /// What the watch's error means. The verb is what was tried if the error does not tell.
    pub(super) fn of(error: &watcher::Error, tried: Attempt, address: &str) -> Self {
        let resource = tried.1;
        match error {
            watcher::Error::InitialListFailed(error) => {
                Self::of_client(error, ("list", resource), address)
            }
            watcher::Error::WatchStartFailed(error) => {
                Self::of_client(error, ("watch", resource), address)
            }
            watcher::Error::WatchFailed(error) => Self::of_client(error, tried, address),
            watcher::Error::WatchError(status) => Self::of_status(status, tried, address),
            watcher::Error::NoResourceVersion => {
                let (address, message) = (address.to_owned(), error.to_string());
                Self::Refused { address, resource, message }
            }
        }
    }

    /// What a request's error means.
    pub(super) fn of_client(error: &kube::Error, tried: Attempt, address: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status, tried, address),
            error => Self::Away { address: address.to_owned(), error: with_causes(error) },
        }
    }

    fn of_status(status: &Status, tried: Attempt, address: &str) -> Self {
        let (address, message) = (address.to_owned(), said(status));
        match status.code {
            401 => Self::Unauthorized { address, message },
            403 => Self::Denied { tried, message },
            _ => Self::Refused { address, resource: tried.1, message },
        }
    }

    fn wants_new_client(&self) -> bool {
        matches!(self, Self::NoClient(_) | Self::Unauthorized { .. })
    }
}

fn said(status: &Status) -> String {
    match (status.message.as_str(), status.code) {
        ("", code) => format!("code {code} {}", status.reason),
        (message, code) => format!("{message} (code {code})"),
    }
}

impl Trouble {
    /// The trouble is now of this kind; it began when the one before it did.
    pub(super) fn next(before: Option<&Self>, kind: Kind, now: SystemTime) -> Self {
        Self { since: before.map_or(now, |trouble| trouble.since), kind }
    }

    /// How long there has been trouble.
    pub(super) fn lasts(&self, now: SystemTime) -> std::time::Duration {
        now.duration_since(self.since).unwrap_or_default()
    }

    /// Whether the credentials or the address may be out of date.
    pub(super) fn wants_new_client(&self) -> bool {
        self.kind.wants_new_client()
    }

    /// Whether it is in the way of all kinds of objects alike.
    pub(super) fn concerns_all(&self) -> bool {
        matches!(self.kind, Kind::NoClient(_) | Kind::Away { .. } | Kind::Unauthorized { .. })
    }

    /// Whether the API server may have moved. One that denies something is there.
    pub(super) fn may_be_elsewhere(&self) -> bool {
        !matches!(self.kind, Kind::Denied { .. })
    }

    /// The text for people. It stays the same as long as the trouble does.
    pub(super) fn text(&self) -> String {
        let since = Timestamp::try_from(self.since).unwrap_or_default().strftime("%FT%TZ");
        match &self.kind {
            Kind::NoClient(error) => {
                format!("no connection to the API server can be made (since {since}): {error}")
            }
            Kind::Away { address, error } => format!(
                "the API server {address} has not been reachable since {since}; \
                 what it said last stays in force: {error}"
            ),
            Kind::Unauthorized { address, message } => format!(
                "the API server {address} has not accepted the credentials since {since}: {message}"
            ),
            Kind::Denied { tried: (verb, resource), message } => format!(
                "the API server has denied the verb `{verb}` on `{resource}` since {since}: {message}; \
                 the ClusterRole `weir-agent` of the shipped manifests allows it: apply them \
                 again, and see that its ClusterRoleBinding names the agent's ServiceAccount"
            ),
            Kind::Refused { address, resource, message } => format!(
                "the API server {address} has not listed {resource} since {since}: {message}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(code: u16, message: &str) -> Box<Status> {
        Status { code, ..Status::failure(message, "Reason") }.boxed()
    }

    fn text(kind: Kind) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3661);
        Trouble::next(None, kind, now).text()
    }

    #[test]
    fn a_denied_verb_is_named_with_its_resource_and_its_remedy() {
        let denied = status(403, "nodes is forbidden: User \"u\" cannot watch resource \"nodes\"");
        let error = watcher::Error::WatchStartFailed(kube::Error::Api(denied));
        let text = text(Kind::of(&error, ("list", "nodes"), "https://192.0.2.1:6443"));
        assert!(text.contains("denied the verb `watch` on `nodes` since 1970-01-01T01:01:01Z"));
        assert!(text.contains("User \"u\" cannot watch"), "{text}");
        assert!(text.contains("the ClusterRole `weir-agent`"), "{text}");
    }

    #[test]
    fn what_the_server_answers_is_told_apart() {
        let of = |code| Kind::of_status(&status(code, "m"), ("list", "nodes"), "a");
        assert!(matches!(of(401), Kind::Unauthorized { .. }) && of(401).wants_new_client());
        assert!(matches!(of(403), Kind::Denied { tried: ("list", "nodes"), .. }));
        assert!(matches!(of(500), Kind::Refused { .. }));
    }

    #[test]
    fn trouble_began_with_its_first_error() {
        let start = SystemTime::UNIX_EPOCH;
        let kind = || Kind::NoClient("x".into());
        let first = Trouble::next(None, kind(), start);
        let later = Trouble::next(Some(&first), kind(), start + Duration::from_secs(60));
        assert_eq!(first.text(), later.text());
        assert_eq!(later.lasts(start + Duration::from_secs(60)), Duration::from_secs(60));
    }
}
