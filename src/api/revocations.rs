//! `POST /api/revocations`: tokens that are good no more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleetcast_core::domain::revocation::{LATEST, MAX_REVOCATIONS, RevocationTarget};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Endpoints;
use super::answers::RETRY_AFTER;
use super::endpoints::ProblemDocument;
use super::extract::{JsonBody, WrittenId, bad_request};
use super::text_or_integer::TextOrInteger;
use crate::clock;
use crate::problem::Problem;

/// What a revocation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationDone {
    /// A token id has been given the issuer that it is taken for.
    pub target: RevocationTarget,
    /// Unix seconds; `None`: for good.
    pub until: Option<u64>,
    /// Every instance learns of it, and so does one that starts later.
    pub everywhere: bool,
    /// Closed on this instance.
    pub connections: usize,
}

/// Why a revocation does not hold, or not everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationFailure {
    /// Token ids are one name space for each issuer, and there are several.
    IssuerNeeded,
    UnknownIssuer,
    /// What is revoked already is not known yet.
    Starting,
    /// As many are known as are kept.
    Full,
    /// It holds on this instance; whether the others will read it is not known.
    NotWritten(String),
}

/// Who revokes tokens.
pub trait TokenRevoker: Send + Sync {
    /// Until a time in Unix seconds; `None`: for as long as it takes.
    fn revoke(
        &self,
        target: RevocationTarget,
        until: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = Result<RevocationDone, RevocationFailure>> + Send + '_>>;
}

pub fn revocations(revoker: Arc<dyn TokenRevoker>) -> Endpoints {
    Endpoints::new()
        .with(__path_revoke, revoke)
        .with_state(revoker)
}

/// Either `organization_id` and `user_id`, or `organization_id`, or `jti` with or without `issuer`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevocationBody {
    organization_id: Option<WrittenId>,
    user_id: Option<WrittenId>,
    /// Of one token.
    jti: Option<String>,
    /// Whose token it is. Needed where several issuers are configured, unless `JWT_SHARED_USERS` is set.
    issuer: Option<String>,
    /// RFC 3339 or Unix seconds: from then on the tokens are accepted again, if they have not expired.
    until: Option<TextOrInteger>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RevocationAnswer {
    /// As it is kept. Where one issuer alone is configured by name, a token id is that one's.
    revoked: RevokedTarget,
    /// RFC 3339; null: for good.
    until: Option<String>,
    /// `fleet`: every instance, by the topic or by Redis. `instance`: the one that was asked, until it stops.
    scope: &'static str,
    /// Closed on the instance that was asked.
    connections: usize,
}

#[derive(Debug, Serialize, ToSchema)]
struct RevokedTarget {
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
}

/// Revoke tokens
///
/// Of a user, of an organisation, or one by its id. It concerns tokens that were issued up to now, and those that do not say when they were
/// issued. Their connections are closed, and one that is shown again is refused with `token_revoked`.
#[utoipa::path(
    post,
    path = "/api/revocations",
    request_body = RevocationBody,
    responses(
        (status = 200, description = "They are revoked, as far as `scope` says", body = RevocationAnswer),
        (status = 400, description = "`bad_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`not_written`: it holds on this instance, and neither the brokers nor Redis have confirmed it. `starting`: the topic is not read yet, and nothing was revoked. Ask again", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`full`: so many are revoked that no more are taken", body = ProblemDocument, content_type = "application/problem+json")
    )
)]
async fn revoke(
    State(revoker): State<Arc<dyn TokenRevoker>>,
    JsonBody(body): JsonBody<RevocationBody>,
) -> Result<Json<RevocationAnswer>, Problem> {
    let until = until(
        body.until.as_ref().map(|until| &until.0),
        clock::wall_ms() / 1000,
    )?;
    let target = target(&body)?;
    let done = revoker.revoke(target, until).await;
    let done = done.map_err(|failure| problem(&failure))?;
    Ok(Json(RevocationAnswer {
        revoked: done.target.into(),
        until: done
            .until
            .map(|until| clock::rfc3339(until.saturating_mul(1000))),
        scope: if done.everywhere { "fleet" } else { "instance" },
        connections: done.connections,
    }))
}

fn target(body: &RevocationBody) -> Result<RevocationTarget, Problem> {
    if let Some(jti) = &body.jti {
        if body.organization_id.is_some() || body.user_id.is_some() {
            let why = "jti names one token: give neither organization_id nor user_id beside it";
            return Err(bad_request(why));
        }
        let target = RevocationTarget::token(body.issuer.as_deref(), jti);
        return target
            .ok_or_else(|| bad_request("jti and issuer are texts of 1 to 1024 bytes each"));
    }
    if body.issuer.is_some() {
        return Err(bad_request("issuer goes with jti"));
    }
    let Some(organisation) = &body.organization_id else {
        let why = "give organization_id and user_id, or organization_id, or jti";
        return Err(bad_request(why));
    };
    let organisation = organisation.organisation()?;
    Ok(match &body.user_id {
        None => RevocationTarget::Organisation(organisation),
        Some(user) => RevocationTarget::User(organisation, user.user()?),
    })
}

/// In Unix seconds, after `now`.
fn until(given: Option<&Value>, now: u64) -> Result<Option<u64>, Problem> {
    let until = match given {
        None => return Ok(None),
        Some(Value::String(text)) => rfc3339(text),
        Some(value) => value.as_u64(),
    };
    let until = until.filter(|until| *until <= LATEST).ok_or_else(|| {
        bad_request("until is a time in RFC 3339 (2026-12-01T08:00:00Z) or whole Unix seconds")
    })?;
    if until <= now {
        return Err(bad_request("until is in the past"));
    }
    Ok(Some(until))
}

/// In Unix seconds, rounded up.
fn rfc3339(text: &str) -> Option<u64> {
    // The library reads UTC alone.
    let (utc, ahead) = if text.ends_with(['Z', 'z']) {
        (text.to_ascii_uppercase(), 0)
    } else {
        let (time, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let (sign, zone) = zone.split_at_checked(1)?;
        let (hours, minutes) = zone.split_once(':')?;
        let digits = |part: &str| {
            let is_number = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| is_number)
        };
        let seconds = digits(hours)? * 3600 + digits(minutes)? * 60;
        let ahead = match sign {
            "+" => seconds,
            "-" => -seconds,
            _ => return None,
        };
        (format!("{}Z", time.to_ascii_uppercase()), ahead)
    };
    let time = humantime::parse_rfc3339(&utc).ok()?;
    let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
    let seconds = (since_epoch + Duration::from_nanos(999_999_999)).as_secs();
    seconds.checked_add_signed(-ahead)
}

fn problem(failure: &RevocationFailure) -> Problem {
    match failure {
        RevocationFailure::IssuerNeeded => bad_request(
            "several issuers are configured, and a token id means one token of one issuer: give issuer",
        ),
        RevocationFailure::UnknownIssuer => bad_request("issuer is none of those configured"),
        RevocationFailure::Starting => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            "the topic of revocations is not read to its end yet: nothing was revoked, ask again",
        )
        .retry_after(RETRY_AFTER),
        RevocationFailure::Full => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "full",
            format!("limit of {MAX_REVOCATIONS} revocations: nothing was revoked"),
        ),
        RevocationFailure::NotWritten(why) => {
            let detail = format!(
                "it holds on this instance, but that it is kept has not been confirmed ({why}), so other instances may not know: ask again"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_written", detail)
                .retry_after(RETRY_AFTER)
        }
    }
}

impl From<RevocationTarget> for RevokedTarget {
    fn from(target: RevocationTarget) -> Self {
        let mut shown = Self {
            organization_id: None,
            user_id: None,
            jti: None,
            issuer: None,
        };
        match target {
            RevocationTarget::Organisation(organisation) => {
                shown.organization_id = Some(organisation.to_string());
            }
            RevocationTarget::User(organisation, user) => {
                shown.organization_id = Some(organisation.to_string());
                shown.user_id = Some(user.to_string());
            }
            RevocationTarget::Token { issuer, jti } => {
                shown.jti = Some(jti.to_string());
                shown.issuer = issuer.map(|issuer| issuer.to_string());
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::tests::hostile::{long_list, takes_little_memory};

    #[test]
    fn until_is_a_time_to_come() {
        const NOW: u64 = 1_795_000_000;
        for (given, expected) in [
            (json!(null), Err(())),
            (json!(NOW + 1), Ok(NOW + 1)),
            (json!("2026-11-18T11:06:40Z"), Err(())),
            (json!("2030-01-01T00:00:00Z"), Ok(1_893_456_000)),
            (json!("2030-01-01t00:00:00z"), Ok(1_893_456_000)),
            (json!("2030-01-01T00:00:00.001Z"), Ok(1_893_456_001)),
            (json!("2030-01-01T02:30:00+02:30"), Ok(1_893_456_000)),
            (json!("2029-12-31T23:00:00-01:00"), Ok(1_893_456_000)),
            (json!(NOW), Err(())),
            (json!(-1), Err(())),
            (json!(1.5), Err(())),
            (json!(1_795_000_000_000_u64), Err(())),
            (json!("tomorrow"), Err(())),
            (json!(""), Err(())),
            (json!("é:00"), Err(())),
            (json!("2030-01-01T00:00:00"), Err(())),
            (json!("2030-01-01T00:00:00+2:00"), Err(())),
            (json!(true), Err(())),
        ] {
            let found = until(Some(&given), NOW).map_err(|_| ());
            assert_eq!(found, expected.map(Some), "{given}");
        }
        assert!(matches!(until(None, NOW), Ok(None)));
    }

    #[test]
    fn a_body_names_one_target() {
        for (body, key) in [
            (json!({"organization_id": "o1"}), Some("organization/o1")),
            (json!({"organization_id": 7}), Some("organization/7")),
            (
                json!({"organization_id": "o1", "user_id": "auth0|5f"}),
                Some("user/o1/auth0%7C5f"),
            ),
            (
                json!({"organization_id": "o1", "user_id": null}),
                Some("organization/o1"),
            ),
            (json!({"jti": "t1"}), Some("token//t1")),
            (
                json!({"jti": "t1", "issuer": "https://a"}),
                Some("token/https%3A%2F%2Fa/t1"),
            ),
            (json!({}), None),
            (json!({"user_id": "u1"}), None),
            (json!({"organization_id": "o 1"}), None),
            (json!({"organization_id": "o1", "user_id": ""}), None),
            (json!({"organization_id": "o1", "user_id": 1.5}), None),
            (json!({"organization_id": "o1", "issuer": "a"}), None),
            (json!({"organization_id": "o1", "jti": "t1"}), None),
            (json!({"jti": ""}), None),
            (json!({"jti": "t1", "issuer": ""}), None),
        ] {
            let parsed: RevocationBody = serde_json::from_value(body.clone()).expect("a body");
            let found = target(&parsed).ok().map(|target| target.to_string());
            assert_eq!(found.as_deref(), key, "{body}");
        }
    }

    #[test]
    fn a_hostile_body_takes_little_memory() {
        for name in ["user_id", "organization_id", "until", "jti", "issuer", "a"] {
            for element in [r#"{"":0}"#, r#""""#] {
                let body = long_list(&format!(r#"{{"{name}":"#), element, "}");
                takes_little_memory::<RevocationBody>(&body);
            }
        }
    }
}
