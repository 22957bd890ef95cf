//! What a task shows while it runs: steps, commands, durations, and the error at the end.

use std::borrow::Cow;
use std::env;
use std::io::{IsTerminal, stderr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use clap::builder::styling::{AnsiColor, Style};

const STEP: Style = AnsiColor::Green.on_default().bold();
const FAILURE: Style = AnsiColor::Red.on_default().bold();
const ASIDE: Style = Style::new().dimmed();

/// The steps of one task, with the time that each took.
#[derive(Debug, Default)]
pub struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Does one step.
    ///
    /// # Errors
    /// That of `work`, with the title of the step.
    pub fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        announce(title);
        let start = Instant::now();
        let result = work().with_context(|| format!("step '{title}' failed"))?;
        let took = start.elapsed();
        if took >= Duration::from_secs(1) {
            aside(&readable(took));
        }
        self.done.push((title.to_owned(), took));
        Ok(result)
    }

    /// Shows how long each step took.
    pub fn summary(&self) {
        announce("Done");
        let width = self.done.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
        for (title, took) in &self.done {
            note(&format!("{title:width$}  {:>12}", readable(*took)));
        }
    }
}

/// The title of a step.
pub fn announce(title: &str) {
    eprintln!("{} {title}", styled("==>", STEP));
}

/// A line below a step.
pub fn note(line: &str) {
    eprintln!("    {line}");
}

/// A less important line below a step.
pub fn aside(line: &str) {
    eprintln!("    {}", styled(line, ASIDE));
}

/// The command that is about to run, as it could be typed into a shell.
pub fn echo(command: &Command) {
    aside(&format!("$ {}", shell(command)));
}

/// The error that ended the task, with its causes.
pub fn failure(error: &Error) {
    eprintln!("{} {error}", styled("error:", FAILURE));
    for cause in error.chain().skip(1) {
        for line in cause.to_string().lines() {
            note(line);
        }
    }
}

fn styled(text: &str, style: Style) -> Cow<'_, str> {
    if stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
        Cow::Owned(format!("{style}{text}{style:#}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A duration, in the unit that is easiest to read.
pub fn readable(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A number of bytes, in the unit that is easiest to read.
pub fn size(bytes: usize) -> String {
    let kib = bytes.div_ceil(1024);
    if kib < 10_000 { format!("{kib} KiB") } else { format!("{} MiB", kib.div_ceil(1024)) }
}

fn shell(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        // A changed search path is long, and rarely of interest.
        if let Some(value) = value.filter(|_| name != "PATH") {
            words.push(format!("{}={}", name.display(), quoted(&value.to_string_lossy())));
        }
    }
    words.push(quoted(&command.get_program().to_string_lossy()).into_owned());
    words.extend(command.get_args().map(|word| quoted(&word.to_string_lossy()).into_owned()));
    words.join(" ")
}

fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_could_be_typed() {
        let mut command = Command::new("cargo");
        command
            .args(["test", "--", "it's here"])
            .env("WEIR_BIN_DIR", "/a b")
            .env("PATH", "/bin")
            .env_remove("CI");
        assert_eq!(shell(&command), r"WEIR_BIN_DIR='/a b' cargo test -- 'it'\''s here'");
    }

    #[test]
    fn an_error_names_the_step_before_its_cause() {
        let mut steps = Steps::default();
        let error = steps.step::<()>("build", || anyhow::bail!("no compiler")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step 'build' failed: no compiler");
    }

    #[test]
    fn sizes_are_in_the_unit_that_is_easiest_to_read() {
        assert_eq!(size(1), "1 KiB");
        assert_eq!(size(1_048_576), "1024 KiB");
        assert_eq!(size(20 * 1_048_576), "20 MiB");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(readable(Duration::from_millis(1_234)), "1.2 s");
        assert_eq!(readable(Duration::from_secs(125)), "2 min 05 s");
    }
}
