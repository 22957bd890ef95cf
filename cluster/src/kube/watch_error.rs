//! Errors of watches, described for an operator.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use kube::core::Status;
use kube::runtime::watcher;

use super::connect::with_causes;

/// An error, and when the first of the errors in a row occurred.
#[derive(Debug, Clone)]
pub(super) struct WatchError {
    since: SystemTime,
    failure: Failure,
}

/// What failed, with the message of the API server or of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No client can be made.
    NoClient(String),
    /// No answer.
    Unreachable { address: String, error: String },
    /// 401.
    Unauthorized { address: String, message: String },
    /// 403.
    Denied { tried: Attempt, message: String },
    /// Any other answer that is not a list or a watch.
    Refused { address: String, resource: &'static str, message: String },
}

/// A verb and the resource that it was tried on.
type Attempt = (&'static str, &'static str);

impl Failure {
    /// The failure that an error of a watch means. `tried` is used if the error does not name a verb.
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

    /// The failure that an error of a request means.
    pub(super) fn of_client(error: &kube::Error, tried: Attempt, address: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status, tried, address),
            error => Self::Unreachable { address: address.to_owned(), error: with_causes(error) },
        }
    }

    fn of_status(status: &Status, tried: Attempt, address: &str) -> Self {
        let (address, message) = (address.to_owned(), message_of(status));
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

fn message_of(status: &Status) -> String {
    match (status.message.as_str(), status.code) {
        ("", code) => format!("code {code} {}", status.reason),
        (message, code) => format!("{message} (code {code})"),
    }
}

impl WatchError {
    /// The error after another one: the first one's time is kept.
    pub(super) fn after(before: Option<&Self>, failure: Failure, now: SystemTime) -> Self {
        Self { since: before.map_or(now, |error| error.since), failure }
    }

    /// How long ago the first error in a row occurred.
    pub(super) fn duration(&self, now: SystemTime) -> std::time::Duration {
        now.duration_since(self.since).unwrap_or_default()
    }

    /// Whether the credentials or the address may be out of date.
    pub(super) fn wants_new_client(&self) -> bool {
        self.failure.wants_new_client()
    }

    /// Whether the error affects the watches of all kinds.
    pub(super) fn affects_all(&self) -> bool {
        matches!(
            self.failure,
            Failure::NoClient(_) | Failure::Unreachable { .. } | Failure::Unauthorized { .. }
        )
    }

    /// Whether the API server may have moved. One that denies a request has not.
    pub(super) fn may_have_moved(&self) -> bool {
        !matches!(self.failure, Failure::Denied { .. })
    }

    /// Describes the error for an operator. The text stays the same as long as the failure does.
    pub(super) fn text(&self) -> String {
        let since = Timestamp::try_from(self.since).unwrap_or_default().strftime("%FT%TZ");
        match &self.failure {
            Failure::NoClient(error) => {
                format!("no connection to the API server can be made (since {since}): {error}")
            }
            Failure::Unreachable { address, error } => format!(
                "the API server {address} has not been reachable since {since}; \
                 its last known state stays in use: {error}"
            ),
            Failure::Unauthorized { address, message } => format!(
                "the API server {address} has not accepted the credentials since {since}: {message}"
            ),
            Failure::Denied { tried: (verb, resource), message } => format!(
                "the API server has denied the verb `{verb}` on `{resource}` since {since}: {message}; \
                 the ClusterRole `weir-agent` of the shipped manifests allows it: apply them \
                 again (with manifests/components/services if Weir serves Services), and see that \
                 its ClusterRoleBinding names the agent's ServiceAccount"
            ),
            Failure::Refused { address, resource, message } => format!(
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

    fn text(failure: Failure) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3661);
        WatchError::after(None, failure, now).text()
    }

    #[test]
    fn a_denied_verb_is_reported_with_its_resource_and_the_remedy() {
        let denied = status(403, "nodes is forbidden: User \"u\" cannot watch resource \"nodes\"");
        let error = watcher::Error::WatchStartFailed(kube::Error::Api(denied));
        let text = text(Failure::of(&error, ("list", "nodes"), "https://192.0.2.1:6443"));
        assert!(text.contains("denied the verb `watch` on `nodes` since 1970-01-01T01:01:01Z"));
        assert!(text.contains("User \"u\" cannot watch"), "{text}");
        assert!(text.contains("the ClusterRole `weir-agent`"), "{text}");
    }

    #[test]
    fn answers_of_the_server_are_distinguished() {
        let of = |code| Failure::of_status(&status(code, "m"), ("list", "nodes"), "a");
        assert!(matches!(of(401), Failure::Unauthorized { .. }) && of(401).wants_new_client());
        assert!(matches!(of(403), Failure::Denied { tried: ("list", "nodes"), .. }));
        assert!(matches!(of(500), Failure::Refused { .. }));
    }

    #[test]
    fn errors_in_a_row_keep_the_time_of_the_first() {
        let start = SystemTime::UNIX_EPOCH;
        let failure = || Failure::NoClient("x".into());
        let first = WatchError::after(None, failure(), start);
        let later = WatchError::after(Some(&first), failure(), start + Duration::from_secs(60));
        assert_eq!(first.text(), later.text());
        assert_eq!(later.duration(start + Duration::from_secs(60)), Duration::from_secs(60));
    }
}
