//! `weir completion` and `weir man`: generated from the definition of the command line.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_complete::Shell;

/// Options of `weir completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

/// Options of `weir man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Directory for the pages, with a file for each command
    dir: PathBuf,
}

/// Prints the completion script of a shell.
pub(crate) fn complete(mut command: Command, options: &Completion) -> Result<()> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    match io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write to standard output"),
    }
}

/// Writes the pages.
pub(crate) fn write_man(command: Command, options: &Man) -> Result<()> {
    let dir = &options.dir;
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    clap_mangen::generate_to(command, dir)
        .with_context(|| format!("write pages to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let options = Man { dir: dir.path().join("man1") };
        let command = crate::Cli::command();
        let names: Vec<_> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        write_man(command, &options).unwrap();
        for name in names {
            let page = fs::read_to_string(options.dir.join(format!("weir-{name}.1"))).unwrap();
            assert!(page.contains(&format!("weir\\-{name}")), "{page}");
        }
        let page = fs::read_to_string(options.dir.join("weir.1")).unwrap();
        assert!(page.contains("Exit codes"), "{page}");
    }
}
