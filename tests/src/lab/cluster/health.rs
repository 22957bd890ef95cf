//! Requests to the agent's health server, from inside of its node.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::stack::Stack;

/// The default address of the agents' health server.
const ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9470);
const DEADLINE: Duration = Duration::from_secs(5);

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code, such as 200.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends `GET path` to the agent.
pub(super) fn get(node: &impl Stack, path: &str) -> Result<HttpResponse> {
    let mut stream =
        node.run(|| TcpStream::connect_timeout(&ADDRESS, DEADLINE).context("connect"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response).with_context(|| format!("read the response to {path}"))?;
    parse(&response).with_context(|| format!("not an HTTP response: {response:?}"))
}

fn parse(response: &str) -> Option<HttpResponse> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(HttpResponse { status, body: body.to_owned() })
}

impl HttpResponse {
    /// Checks that the status is 200.
    ///
    /// # Errors
    /// When it is another; the error has the body.
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
    fn a_response_has_a_status_and_a_body() {
        let response = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nnot ready").unwrap();
        assert_eq!((response.status, &*response.body), (503, "not ready"));
        assert!(response.ok().is_err() && parse("nonsense").is_none());
    }

    #[test]
    fn the_series_of_a_metric_are_added_up() {
        let body = "# TYPE a counter\na_total{kind=\"x\"} 2\na_total{kind=\"y z\"} 3\na_totals 9\n";
        let response = HttpResponse { status: 200, body: body.to_owned() };
        assert_eq!(response.metric("a_total"), Some(5.0));
        assert_eq!(response.metric("b_total"), None);
    }
}
