//! HTTP requests to the agent. It may be down: most commands work without it.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An agent that needs longer counts as down.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection.
    #[error("connect to {address}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The server does not speak HTTP, or closed the connection.
    #[error("send a request to {address}")]
    Request {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: hyper::Error,
    },
    /// No response within the time limit.
    #[error("{address} does not answer within {} s", TIME_LIMIT.as_secs())]
    TimedOut {
        /// The address.
        address: SocketAddr,
    },
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// Whether its status is a success.
    pub(crate) is_ok: bool,
    /// Its body.
    pub(crate) body: String,
}

/// `GET path`.
pub(crate) async fn get(address: SocketAddr, path: &'static str) -> Result<Response, Error> {
    let response = timeout(TIME_LIMIT, exchange(address, path)).await;
    response.unwrap_or(Err(Error::TimedOut { address }))
}

async fn exchange(address: SocketAddr, path: &'static str) -> Result<Response, Error> {
    let stream =
        TcpStream::connect(address).await.map_err(|source| Error::Connect { address, source })?;
    let failed = |source| Error::Request { address, source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static(path);
    if let Ok(host) = address.to_string().try_into() {
        request.headers_mut().insert(HOST, host);
    }
    let response = async {
        let response = sender.send_request(request).await?;
        let is_ok = response.status().is_success();
        let body = response.into_body().collect().await?.to_bytes();
        // The connection ends when its sender is dropped.
        drop(sender);
        Ok(Response { is_ok, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let (response, _ended) = tokio::join!(response, connection);
    response.map_err(failed)
}
