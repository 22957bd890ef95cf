//! Colours and weights for a terminal, which are left out elsewhere.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal, stdout};

/// Whether colours are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours for a terminal, unless `NO_COLOR` is set, see <https://no-color.org>.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { on: stdout().is_terminal() && !unwanted }
    }

    pub(crate) fn title(self, text: impl Display) -> String {
        self.style("1", text)
    }

    pub(crate) fn name(self, text: impl Display) -> String {
        self.style("36", text)
    }

    pub(crate) fn faint(self, text: impl Display) -> String {
        self.style("2", text)
    }

    /// A success.
    pub(crate) fn good(self, text: impl Display) -> String {
        format!("{} {text}", self.style("32", "✓"))
    }

    /// A failure.
    pub(crate) fn bad(self, text: impl Display) -> String {
        format!("{} {text}", self.style("31", "✗"))
    }

    fn style(self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
