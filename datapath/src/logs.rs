//! The programs' log lines about packets.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use weir_ebpf_common::Reason;

/// What programs log. Each level includes those before it. A level that is off costs nothing: the
/// verifier removes its code from the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Off,
    /// Dropped packets.
    Dropped,
    /// Rejected packets.
    Refused,
    /// New flows to Services.
    Opened,
}

impl LogLevel {
    /// The number that programs compare the level of a line with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Dropped => aya_log::Level::Warn as u8,
            Self::Refused => aya_log::Level::Info as u8,
            Self::Opened => aya_log::Level::Debug as u8,
        }
    }
}

/// The lines that programs have logged.
pub struct Logs(EbpfLogger<Handed>);

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Logs")
    }
}

impl Logs {
    /// `None` if the programs do not log.
    pub(crate) fn of(object: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(object, Handed).ok().map(Self)
    }

    /// Passes the lines that are there to `tracing`.
    pub fn hand_on(&mut self) {
        self.0.flush();
    }
}

/// Passes lines to `tracing`.
struct Handed;

impl Log for Handed {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let (reason, packet) = named(&line);
        match record.level() {
            Level::Error | Level::Warn => tracing::warn!(reason, packet, "dropped a packet"),
            Level::Info => tracing::info!(reason, packet, "refused a packet"),
            // Whoever asks for these lines wants to see them at the default level.
            Level::Debug | Level::Trace => tracing::info!(reason, packet, "opened a flow"),
        }
    }

    fn flush(&self) {}
}

/// Splits a line into the name of its reason, by the number that it begins with, and the packet.
fn named(line: &str) -> (&str, &str) {
    let (number, packet) = line.split_once(' ').unwrap_or(("", line));
    let reason = number.parse().ok().and_then(|number: usize| Reason::ALL.get(number));
    reason.map_or(("unknown", line), |reason| (reason.name(), packet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_reason_becomes_its_name() {
        assert_eq!(named("5 10.0.0.1 port 1"), ("dropped_fragment", "10.0.0.1 port 1"));
        assert_eq!(named("99 10.0.0.1"), ("unknown", "99 10.0.0.1"));
        assert_eq!(named("nothing"), ("unknown", "nothing"));
    }

    #[test]
    fn each_level_has_those_before_it() {
        let levels = [LogLevel::Off, LogLevel::Dropped, LogLevel::Refused, LogLevel::Opened];
        let numbers = levels.map(LogLevel::number);
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
