//! The HTTP server for probes and metrics.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, time::sleep};
use tracing::{info, warn};

use super::state::Health;
use crate::metrics;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Serves HTTP on `address` as long as the agent runs.
///
/// An address that cannot be bound is logged and retried: the node's network does not depend on this
/// server.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> Infallible {
    let mut pause = FIRST_RETRY;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "serving health and metrics");
                pause = FIRST_RETRY;
                if let Err(error) = axum::serve(listener, router(Arc::clone(&health))).await {
                    warn!(%address, %error, "the health server ended");
                }
            }
            Err(error) => warn!(
                %address,
                %error,
                retry_in = ?pause,
                "cannot serve health and metrics: choose another --health-address, or stop the \
                 program that uses this one",
            ),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/healthz", get(async |State(health): State<Arc<Health>>| probe(health.liveness())))
        .route("/readyz", get(async |State(health): State<Arc<Health>>| probe(health.readiness())))
        .route("/metrics", get(async |State(health): State<Arc<Health>>| scrape(&health)))
        .route(
            "/concerns",
            get(async |State(health): State<Arc<Health>>| json(health.concerns().map(Some))),
        )
        .route("/services", get(async |State(health): State<Arc<Health>>| json(health.services())))
        .with_state(health)
}

fn json(outcome: serde_json::Result<Option<String>>) -> Response {
    match outcome {
        Ok(Some(text)) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(None) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn probe(outcome: Result<String, String>) -> Response {
    match outcome {
        Ok(text) => text.into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}

fn scrape(health: &Health) -> Response {
    match health.scrape() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
