//! Other programs: where they are, and running them with errors that say what went wrong.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::console;

/// The file that the shell would start for `program`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Cargo of the toolchain that runs this task, also after `cargo +nightly xtask`: rustup passes its
/// choice on to what cargo starts.
pub fn cargo() -> Command {
    Command::new("cargo")
}

/// Shows the command and runs it. Its output goes where the task's own goes.
///
/// # Errors
/// When it does not start, or fails.
pub fn run(command: &mut Command) -> Result<()> {
    console::echo(command);
    let name = name(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("start {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

/// Runs the command silently and gives its standard output.
///
/// # Errors
/// When it does not start, or fails; the error holds its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let name = name(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed: {}\n{}", output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of {name} is not UTF-8"))
}

/// The program with its first argument: `cargo build`, `apt-get install`.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let verb = command.get_args().next().unwrap_or_default();
    format!("{} {}", program.display(), verb.display()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_command_its_verb_and_its_standard_error() {
        let mut command = Command::new("/bin/sh");
        let error = output(command.args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c failed: exit status: 3\nno such thing");
    }

    #[test]
    fn a_program_is_found_as_the_shell_finds_it() {
        assert!(find("sh").is_some_and(|file| file.is_absolute()));
        assert_eq!(find("no-program-has-this-name"), None);
    }
}
