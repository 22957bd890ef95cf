//! Asking the agent, over HTTP. It may be down: most of what the tool does works without.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An agent that takes longer is as good as none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody listens.
    #[error("connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody listens who speaks no HTTP, or ends in the middle.
    #[error("ask {address}")]
    Ask {
        /// Whom.
        address: SocketAddr,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{address} does not answer within {} s", PATIENCE.as_secs())]
    TimedOut {
        /// Who.
        address: SocketAddr,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether it is a success.
    pub(crate) is_ok: bool,
    /// What came with it.
    pub(crate) body: String,
}

/// `GET path`.
pub(crate) async fn get(address: SocketAddr, path: &'static str) -> Result<Answer, Error> {
    let answer = timeout(PATIENCE, exchange(address, path)).await;
    answer.unwrap_or(Err(Error::TimedOut { address }))
}

async fn exchange(address: SocketAddr, path: &'static str) -> Result<Answer, Error> {
    let stream =
        TcpStream::connect(address).await.map_err(|source| Error::Connect { address, source })?;
    let ask = |source| Error::Ask { address, source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ask)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static(path);
    if let Ok(host) = address.to_string().try_into() {
        request.headers_mut().insert(HOST, host);
    }
    let answer = async {
        let answer = sender.send_request(request).await?;
        let is_ok = answer.status().is_success();
        let body = answer.into_body().collect().await?.to_bytes();
        // The connection ends when nobody can use it any more.
        drop(sender);
        Ok(Answer { is_ok, body: String::from_utf8_lossy(&body).into_owned() })
    };
    let (answer, _ended) = tokio::join!(answer, connection);
    answer.map_err(ask)
}
