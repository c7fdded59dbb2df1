//! `POST /api/users/{id}/grants`: rooms that a user may join beyond the token.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fleetcast_core::domain::grants::{GrantedRoom, MAX_GRANTS, MAX_ROOMS_OF_USER};
use fleetcast_core::domain::id::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Endpoints;
use super::answers::RETRY_AFTER;
use super::at_most::AtMost;
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, PathOf, WrittenId, bad_request};
use crate::problem::Problem;

/// Rooms of one request, granted and withdrawn together.
const MAX_ROOMS: usize = 100;

/// Why grants are not changed, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantFailure {
    NoTopic,
    /// What is granted already is not known yet; why.
    Starting(String),
    /// The profile has no rooms of this kind; the room as it was written.
    UnknownKind(String),
    /// So many rooms are granted, to the user or to all, that no more are taken.
    Full,
    NotWritten(String),
}

/// Who changes grants.
pub trait RoomGranter: Send + Sync {
    /// True: it is in force on this instance. False: it is in the topic, and will be.
    fn change(
        &self,
        grant: Vec<GrantedRoom>,
        withdraw: Vec<GrantedRoom>,
    ) -> Pin<Box<dyn Future<Output = Result<bool, GrantFailure>> + Send + '_>>;
}

pub fn grants(granter: Arc<dyn RoomGranter>) -> Endpoints {
    Endpoints::new()
        .with(__path_change, change)
        .with_state(granter)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GrantBody {
    organization_id: WrittenId,
    /// Rooms of the organisation, such as `channel:7`.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    grant: AtMost<String, MAX_ROOMS>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    withdraw: AtMost<String, MAX_ROOMS>,
}

#[derive(Debug, Serialize, ToSchema)]
struct GrantAnswer {
    organization_id: String,
    user_id: String,
    granted: Vec<String>,
    withdrawn: Vec<String>,
    /// Whether the instance that was asked has applied it; the others do so within the second.
    effective: bool,
}

/// Grant and withdraw rooms
///
/// A user may join the granted rooms beyond what the token says, on every instance, until they are withdrawn. Connections receive
/// `room_granted` and join by `subscribe`; those that hold a room only by a grant that is withdrawn leave it (`room_revoked`).
#[utoipa::path(
    post,
    path = "/api/users/{id}/grants",
    params(("id" = String, Path, description = "The user's id, percent-encoded")),
    request_body = GrantBody,
    responses(
        (status = 200, description = "It is written, and in force", body = GrantAnswer),
        (status = 202, description = "It is written, and not in force here yet", body = GrantAnswer),
        (status = 400, description = "`bad_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`no_grants_topic`: GRANTS_TOPIC is not set", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`not_written`: the brokers have not confirmed all of it. `starting`: the topic is not read yet, and nothing was changed. Ask again", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`full`: so many rooms are granted that no more are taken", body = ProblemDocument, content_type = "application/problem+json")
    )
)]
async fn change(
    State(granter): State<Arc<dyn RoomGranter>>,
    PathOf(user): PathOf<WrittenId>,
    JsonBody(body): JsonBody<GrantBody>,
) -> Result<Response, Problem> {
    let user = user.user_in_path()?;
    let (grant, withdraw) = rooms(&user, &body)?;
    let organisation = grant.iter().chain(&withdraw).next();
    let organization_id = organisation
        .map(|one| one.organisation().to_string())
        .unwrap_or_default();
    let names = |rooms: &[GrantedRoom]| rooms.iter().map(GrantedRoom::short_name).collect();
    let mut answer = GrantAnswer {
        organization_id,
        user_id: user.to_string(),
        granted: names(&grant),
        withdrawn: names(&withdraw),
        effective: false,
    };
    let changed = granter.change(grant, withdraw).await;
    answer.effective = changed.map_err(|failure| problem(&failure))?;
    let status = if answer.effective {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(answer)).into_response())
}

/// What is to be granted and what is to be withdrawn, each room once.
fn rooms(user: &UserId, body: &GrantBody) -> Result<(Vec<GrantedRoom>, Vec<GrantedRoom>), Problem> {
    let organisation = body.organization_id.organisation()?;
    let (AtMost(grant), AtMost(withdraw)) = (&body.grant, &body.withdraw);
    let count = grant.len() + withdraw.len();
    if count == 0 {
        return Err(bad_request("grant and withdraw name no room"));
    }
    if count > MAX_ROOMS {
        let why = format_args!("grant and withdraw name more than {MAX_ROOMS} rooms");
        return Err(bad_request(&why));
    }
    let mut seen = BTreeSet::new();
    let mut read = |names: &[String]| {
        let mut rooms = Vec::with_capacity(names.len());
        for name in names {
            let room = GrantedRoom::new(&organisation, user, name);
            let room = room.map_err(|error| bad_request(&format_args!("{name}: {error}")))?;
            if !seen.insert(room.short_name()) {
                return Err(bad_request(&format_args!("{name} is named twice")));
            }
            rooms.push(room);
        }
        Ok(rooms)
    };
    Ok((read(grant)?, read(withdraw)?))
}

fn problem(failure: &GrantFailure) -> Problem {
    match failure {
        GrantFailure::NoTopic => Problem::new(
            StatusCode::CONFLICT,
            "no_grants_topic",
            "grants are kept in a topic, and GRANTS_TOPIC is not set: nothing was changed",
        ),
        GrantFailure::Starting(why) => {
            let detail = format!("{why}: nothing was changed, ask again");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail)
                .retry_after(RETRY_AFTER)
        }
        GrantFailure::UnknownKind(room) => bad_request(&format_args!(
            "{room}: the profile has no rooms of this kind"
        )),
        GrantFailure::Full => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "full",
            format!(
                "limit of {MAX_ROOMS_OF_USER} granted rooms per user or {MAX_GRANTS} in total: nothing was changed"
            ),
        ),
        GrantFailure::NotWritten(why) => {
            let detail = format!(
                "the brokers have not confirmed all of it ({why}), so some of it may hold and some not: ask again"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_written", detail)
                .retry_after(RETRY_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::tests::hostile::{long_list, takes_little_memory};

    #[test]
    fn a_body_names_each_room_once_and_rooms_that_can_be_granted() {
        let user = UserId::parse("u1").expect("a user");
        let many: Vec<String> = (0..101).map(|nth| format!("channel:{nth}")).collect();
        for (grant, withdraw, expected) in [
            (json!(["channel:7"]), json!([]), true),
            (
                json!(["channel:7"]),
                json!(["channel:8", "incident:7"]),
                true,
            ),
            (json!([]), json!(["channel:7"]), true),
            (json!([]), json!([]), false),
            (json!(["channel:7"]), json!(["channel:7"]), false),
            (json!(["channel:7", "channel:7"]), json!([]), false),
            (json!(["channel:*"]), json!([]), false),
            (json!(["org:o1"]), json!([]), false),
            (json!([]), json!(["user:u1"]), false),
            (json!(["channel:7:org:o2"]), json!([]), false),
            (json!(many), json!([]), false),
        ] {
            let body = json!({"organization_id": "o1", "grant": grant, "withdraw": withdraw});
            let parsed: GrantBody = serde_json::from_value(body.clone()).expect("a body");
            assert_eq!(rooms(&user, &parsed).is_ok(), expected, "{body}");
        }
        let wrong: GrantBody =
            serde_json::from_value(json!({"organization_id": "o 1", "grant": ["channel:7"]}))
                .expect("a body");
        assert!(rooms(&user, &wrong).is_err());
    }

    #[test]
    fn a_hostile_body_takes_little_memory() {
        for name in ["organization_id", "grant", "withdraw", "a"] {
            for element in [r#"{"":0}"#, r#""""#] {
                let body = long_list(&format!(r#"{{"{name}":"#), element, "}");
                takes_little_memory::<GrantBody>(&body);
            }
        }
    }
}
