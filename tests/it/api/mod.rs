//! The internal API as an operator, a page in a browser and another machine see it.

mod connections;
mod dismissal;
mod drain;
mod guards;
mod public;
mod publish;
mod retries;

use serde_json::Value;

use crate::harness::{Answer, TestApp, request};

/// Asks the internal listener; a body is sent as JSON.
pub(crate) async fn ask(app: &TestApp, method: &str, target: &str, body: Option<&Value>) -> Answer {
    let text = body.map(Value::to_string).unwrap_or_default();
    let headers: &[(&str, &str)] = match body {
        Some(_) => &[("Content-Type", "application/json")],
        None => &[],
    };
    request(app.internal, method, target, headers, &text)
        .await
        .unwrap()
}

/// An error is a problem document of this status and code.
#[track_caller]
pub(crate) fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&code.into(), &status.into())
    );
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.len() > 10)
    );
}
