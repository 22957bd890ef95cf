//! The agent's health, asked from inside of its node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::namespaces::Stack;

/// Where agents answer unless they are told otherwise.
const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9470);
const DEADLINE: Duration = Duration::from_secs(5);

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// What came with it.
    pub body: String,
}

/// `GET path` of the agent.
pub(super) fn get(node: &impl Stack, path: &str) -> Result<Answer> {
    let mut stream =
        node.run(|| TcpStream::connect_timeout(&ADDRESS, DEADLINE).context("connect"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("read the answer to {path}"))?;
    parse(&answer).with_context(|| format!("not an answer of HTTP: {answer:?}"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

impl Answer {
    /// That it is a success.
    ///
    /// # Errors
    /// When it is not; the error has what came with it.
    pub fn ok(&self) -> Result<()> {
        ensure!(self.status == 200, "{}: {}", self.status, self.body.trim());
        Ok(())
    }

    /// The sum of all series of a metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        let of_name =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let values = self.body.lines().filter(of_name).filter_map(|line| {
            let (_, value) = line.rsplit_once(' ')?;
            value.parse::<f64>().ok()
        });
        values.reduce(|sum, value| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno world").unwrap();
        assert_eq!((answer.status, &*answer.body), (503, "no world"));
        assert!(answer.ok().is_err() && parse("nonsense").is_none());
    }

    #[test]
    fn the_series_of_a_metric_are_added_up() {
        let body = "# TYPE a counter\na_total{kind=\"x\"} 2\na_total{kind=\"y z\"} 3\na_totals 9\n";
        let answer = Answer { status: 200, body: body.to_owned() };
        assert_eq!(answer.metric("a_total"), Some(5.0));
        assert_eq!(answer.metric("b_total"), None);
    }
}
