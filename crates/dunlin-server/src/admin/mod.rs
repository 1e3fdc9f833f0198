//! The admin HTTP: `nodetool`'s JSON, `/metrics`, probes, and the status page.
//!
//! | path | what |
//! |---|---|
//! | `GET /health/live` | 200 while the process answers |
//! | `GET /health/ready` | 200 when the node is part of a cluster and serves clients; 503 and why otherwise |
//! | `GET /metrics` | Prometheus text |
//! | `GET /api/v1/VERB?name=value` | what the verb shows, as JSON |
//! | `POST /api/v1/VERB?name=value` | does it; the answer comes when it is done, or (repair) when it has begun |
//! | `GET /` | the status page, one self-contained file |
//!
//! Tokens are text, and so is any whole number that a reader of JSON may round ([`exact`]).
//!
//! An error is `{"error": "..."}` with status 400 (wrong question), 404 (no such verb), 409 (cannot be done now) or 500.
//! What the verbs say is the node's affair: [`AdminBackend`].

#![allow(
    clippy::disallowed_methods,
    reason = "an edge: admin HTTP stands on tokio's sockets and never runs in the simulator"
)]

mod exact;

use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use dunlin_types::runtime::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Longest time an answer may take: a flush or a drain of much data.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);
/// Requests carry no bodies worth the name.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Name-value pairs of a query.
pub type Params = BTreeMap<String, String>;

/// Why an admin request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The question is wrong; the text says what to ask.
    #[error("{0}")]
    Wrong(String),
    /// There is no such verb.
    #[error("no such verb: {0}")]
    Unknown(String),
    /// Not now: starting, draining, or something in the way.
    #[error("{0}")]
    Conflict(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}

/// What the admin HTTP asks of the node.
pub trait AdminBackend: Send + Sync {
    /// Whether clients are served, or why not.
    fn ready(&self) -> Result<(), String>;

    /// The node's metrics in Prometheus text.
    fn metrics(&self) -> String;

    /// What a verb shows. Must not block.
    fn show(&self, verb: &str, params: &Params) -> Result<Value, AdminError>;

    /// Does what a verb says.
    fn act(&self, verb: String, params: Params) -> BoxFuture<'static, Result<Value, AdminError>>;
}

struct Admin {
    backend: Arc<dyn AdminBackend>,
    places: Semaphore,
}

/// Serves until the future is dropped. `requests_max` requests are worked on at a time; more are told to come again.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn AdminBackend>,
    requests_max: usize,
) -> std::io::Result<()> {
    let admin = Arc::new(Admin { backend, places: Semaphore::new(requests_max) });
    let app = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/api/v1/{verb}", get(show).post(act))
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), bounded))
        // Probes are answered however busy the rest is.
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin);
    axum::serve(listener, app).await
}

/// Bounds how many requests are worked on, and for how long.
async fn bounded(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Ok(_place) = admin.places.try_acquire() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many admin requests at once; come again");
    };
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "no answer in time; the work may go on"),
    }
}

async fn page() -> Response {
    let headers = [(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    )];
    (headers, Html(include_str!("page.html"))).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.backend.metrics()).into_response()
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match admin.backend.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn show(
    State(admin): State<Arc<Admin>>,
    Path(verb): Path<String>,
    Query(params): Query<Params>,
) -> Response {
    answer(admin.backend.show(&verb, &params))
}

async fn act(
    State(admin): State<Arc<Admin>>,
    Path(verb): Path<String>,
    Query(params): Query<Params>,
) -> Response {
    answer(admin.backend.act(verb, params).await)
}

fn answer(result: Result<Value, AdminError>) -> Response {
    match result {
        Ok(value) => Json(exact::numbers(value)).into_response(),
        Err(error) => {
            let status = match &error {
                AdminError::Wrong(_) => StatusCode::BAD_REQUEST,
                AdminError::Unknown(_) => StatusCode::NOT_FOUND,
                AdminError::Conflict(_) => StatusCode::CONFLICT,
                AdminError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            problem(status, &error.to_string())
        }
    }
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
