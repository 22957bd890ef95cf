//! What programs write about packets, on its way into the log.

use std::time::Duration;

use weir_datapath::Logs;

/// How long a line waits at most. The ring that it waits in has room for some thousands.
const PAUSE: Duration = Duration::from_millis(100);

/// Hands on what is written from now on, until the process ends.
pub(super) fn follow(mut logs: Logs) {
    tokio::spawn(async move {
        let mut pauses = tokio::time::interval(PAUSE);
        loop {
            pauses.tick().await;
            logs.hand_on();
        }
    });
}
