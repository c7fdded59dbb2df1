//! `POST /api/drain`: a share of the connections is closed, so that other instances get them.
#![expect(
    unused_qualifications,
    reason = "the macro names types of parameters by their paths"
)]

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleetcast_core::domain::drain::{DEFAULT_DRAIN_SECONDS, DrainShare, parse_drain_seconds};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Endpoints;
use super::endpoints::ProblemDocument;
use super::extract::{EmptyBody, Query, bad_request};
use crate::problem::Problem;
use crate::session::DrainRefusal;

/// Who closes a share of the connections.
pub trait ShareDrainer: Send + Sync {
    /// Begins to, and gives how many connections will be closed.
    fn drain(&self, share: DrainShare, spread: Duration) -> Result<usize, DrainRefusal>;
}

pub fn drain(drainer: Arc<dyn ShareDrainer>) -> Endpoints {
    Endpoints::new()
        .with(__path_drain_share, drain_share)
        .with_state(drainer)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DrainQuery {
    /// Of the open connections: a number above 0 and at most 1; 0.5 if it is not given.
    #[param(value_type = Option<f64>)]
    share: Option<String>,
    /// Over how long they are closed: a whole number from 0 to 3600; 30 if it is not given.
    #[param(value_type = Option<u32>)]
    seconds: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DrainStarted {
    /// How many connections will be closed.
    connections: usize,
    /// Over how many seconds.
    seconds: u32,
}

/// Close a share of the connections
///
/// Of those that are open on this instance now, in random order and evenly over the time. The clients may come back at once, and do so
/// through the balancer; `/ready` stays as it is. One drain at a time.
#[utoipa::path(
    post,
    path = "/api/drain",
    params(DrainQuery),
    responses(
        (status = 202, description = "It has begun", body = DrainStarted),
        (status = 400, description = "`bad_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`drain_running`: another drain has not ended", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`draining`: the process is stopping", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn drain_share(
    State(drainer): State<Arc<dyn ShareDrainer>>,
    Query(query): Query<DrainQuery>,
    EmptyBody: EmptyBody,
) -> Result<(StatusCode, Json<DrainStarted>), Problem> {
    let share = match query.share.as_deref().map(DrainShare::parse) {
        None => DrainShare::HALF,
        Some(share) => share.map_err(|why| bad_request(&format_args!("share: {why}")))?,
    };
    let seconds = match query.seconds.as_deref().map(parse_drain_seconds) {
        None => DEFAULT_DRAIN_SECONDS,
        Some(seconds) => seconds.map_err(|why| bad_request(&format_args!("seconds: {why}")))?,
    };
    let spread = Duration::from_secs(u64::from(seconds));
    let connections = drainer.drain(share, spread).map_err(refused)?;
    let started = DrainStarted {
        connections,
        seconds,
    };
    Ok((StatusCode::ACCEPTED, Json(started)))
}

fn refused(why: DrainRefusal) -> Problem {
    match why {
        DrainRefusal::Running => Problem::new(
            StatusCode::CONFLICT,
            "drain_running",
            "another drain has not ended; one runs at a time",
        ),
        DrainRefusal::Stopping => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "the process is stopping, which closes all connections",
        ),
    }
}
