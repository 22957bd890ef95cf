//! Things with a network stack: code and programs run inside of them.

use anyhow::Result;

use super::namespaces::Namespaces;
use super::tool::Tool;

/// Something with a network stack of its own in which code and programs can run.
pub trait Stack: Sync + Sized {
    /// Its namespaces.
    ///
    /// # Errors
    /// When they have been removed.
    fn namespaces(&self) -> Result<&Namespaces>;

    /// Runs `work` inside, see [`Namespaces::run`].
    ///
    /// # Errors
    /// What `work` returned, or that the namespaces could not be entered.
    fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        self.namespaces()?.run(work)
    }

    /// Prepares a program to run inside, see [`Tool`].
    ///
    /// # Errors
    /// When the namespaces have been removed.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Tool> {
        Ok(Tool::new(self.namespaces()?.clone(), program))
    }

    /// Runs `line`, split at white space, and returns standard output, such as `ip link show`.
    ///
    /// # Errors
    /// When the program is missing or fails; the error holds what it printed.
    fn sh(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        self.command(words.next().unwrap_or_default())?.args(words).stdout()
    }
}
