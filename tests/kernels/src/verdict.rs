//! How the suites ended on one kernel, read from what init wrote.

use crate::suites::Suite;

pub(crate) const RUN: &str = "weir-guest: run ";
pub(crate) const END: &str = "weir-guest: end ";

/// How a suite ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With this exit status.
    Failed(String),
    /// The kernel or the time came to an end before the suite did.
    Unfinished,
}

/// The outcome of a suite.
pub(crate) fn of(suite: &Suite, log: &str) -> Outcome {
    let mut ends =
        log.lines().filter_map(|line| line.trim_end().strip_prefix(END)?.split_once(' '));
    match ends.find(|(name, _)| *name == suite.name) {
        Some((_, "0")) => Outcome::Passed,
        Some((_, status)) => Outcome::Failed(status.to_owned()),
        None => Outcome::Unfinished,
    }
}

/// What a suite wrote, up to its end if it came to one.
pub(crate) fn output<'a>(suite: &Suite, log: &'a str) -> Vec<&'a str> {
    let is = |line: &str, marker: &str| {
        line.strip_prefix(marker).is_some_and(|name| name.split(' ').next() == Some(suite.name))
    };
    let lines = log.lines().map(str::trim_end);
    let lines = lines.skip_while(|line| !is(line, RUN)).skip(1);
    lines.take_while(|line| !is(line, END)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::SUITES;

    #[test]
    fn a_suite_without_an_end_has_not_passed() {
        let [first, second] = [&SUITES[0], &SUITES[1]];
        let log = format!(
            "{RUN}{0}\r\none\r\n{END}{0} 0\r\n{RUN}{1}\r\ntwo\r\n",
            first.name, second.name
        );
        assert_eq!(of(first, &log), Outcome::Passed);
        assert_eq!(of(second, &log), Outcome::Unfinished);
        assert_eq!(output(first, &log), ["one"]);
        assert_eq!(output(second, &log), ["two"]);
    }

    #[test]
    fn a_failed_suite_has_its_exit_status() {
        let log = format!("{END}{} 101\n", SUITES[0].name);
        assert_eq!(of(&SUITES[0], &log), Outcome::Failed("101".to_owned()));
    }
}
