//! Copying the eBPF programs' log lines to the agent's log.

use std::time::Duration;

use weir_datapath::Logs;

/// The longest delay of a line. The ring buffer has room for some thousands.
const PAUSE: Duration = Duration::from_millis(100);

/// Copies all further lines, until the process ends.
pub(super) fn follow(mut logs: Logs) {
    tokio::spawn(async move {
        let mut pauses = tokio::time::interval(PAUSE);
        loop {
            pauses.tick().await;
            logs.hand_on();
        }
    });
}
