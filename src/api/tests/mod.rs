//! The document against what is served; `bodies`: those that are refused; `publishing`: what becomes of what is published; `hostile`: bodies that would take much memory.

mod bodies;
pub(in crate::api) mod hostile;
mod publishing;

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Extensions, HeaderMap, Request};
use fleetcast_core::domain::claims::Claims;
use fleetcast_core::domain::client_address::AddressBlock;
use fleetcast_core::domain::drain::DrainShare;
use fleetcast_core::domain::id::{Id, UserId};
use fleetcast_core::domain::publication::Ephemeral;
use fleetcast_core::domain::publish_rights::MayNotPublish;
use fleetcast_core::domain::published::Message;
use fleetcast_core::domain::room::Room;
use fleetcast_core::domain::room_operation::RoomOperation;
use secrecy::SecretString;
use serde_json::Value;
use tower::ServiceExt;

use super::connections::{
    ConnectionPlace, ConnectionSlice, Connections, ConnectionsWanted, Ending, FoundConnection,
    Lookup, Unreached, UserDisconnected,
};
use super::publish::{
    Authenticated, PublishRules, Publisher, Publishing, Unavailable, WriteReports,
};
use super::*;
use crate::session::DrainRefusal;
use crate::telemetry::Metrics;
use crate::telemetry::labels::RejectReason;
use publishing::ScriptedLog;

/// Nothing is connected.
struct NoConnections;

impl Connections for NoConnections {
    fn following<'a>(
        &'a self,
        _: ConnectionsWanted<'a>,
        _: Option<&'a ConnectionPlace>,
    ) -> Lookup<'a, ConnectionSlice> {
        Box::pin(ready(ConnectionSlice::default()))
    }

    fn find<'a>(&'a self, _: &'a str) -> Lookup<'a, Result<Option<FoundConnection>, Unreached>> {
        Box::pin(ready(Ok(None)))
    }

    fn close<'a>(&'a self, _: &'a str, _: Ending) -> Lookup<'a, Result<bool, Unreached>> {
        Box::pin(ready(Ok(false)))
    }

    fn knows_kind(&self, _: &Room) -> bool {
        false
    }

    fn disconnect<'a>(
        &'a self,
        _: &'a Id,
        _: &'a UserId,
        _: Ending,
    ) -> Lookup<'a, UserDisconnected> {
        Box::pin(ready(UserDisconnected {
            connections: 0,
            everywhere: false,
        }))
    }
}

impl ShareDrainer for NoConnections {
    fn drain(&self, _: DrainShare, _: Duration) -> Result<usize, DrainRefusal> {
        Ok(0)
    }
}

impl RoomOperator for NoConnections {
    fn operate(&self, _: RoomOperation) -> Lookup<'_, Result<OperatedRooms, UnknownRoomKind>> {
        Box::pin(ready(Err(UnknownRoomKind("channel:7".to_owned()))))
    }
}

/// Everything that the application mounts, over parts that know nothing.
fn everything() -> Endpoints {
    Endpoints::new()
        .merge(connections::endpoints(Arc::new(NoConnections)))
        .merge(drain(Arc::new(NoConnections)))
        .merge(rooms::endpoints(Arc::new(NoConnections)))
        .merge(publish::endpoints(Publishing::new(Arc::new(
            ScriptedLog::none(),
        ))))
        .merge(revocations(Arc::new(Unused)))
        .merge(grants(Arc::new(Unused)))
        .merge(user_rooms(Arc::new(NoConnections)))
}

/// Is never asked.
struct Unused;

impl RoomGranter for Unused {
    fn change(
        &self,
        _: Vec<fleetcast_core::domain::grants::GrantedRoom>,
        _: Vec<fleetcast_core::domain::grants::GrantedRoom>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<bool, GrantFailure>> + Send + '_>> {
        Box::pin(ready(Err(GrantFailure::NoTopic)))
    }
}

impl TokenRevoker for Unused {
    fn revoke(
        &self,
        _: fleetcast_core::domain::revocation::RevocationTarget,
        _: Option<u64>,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<RevocationDone, RevocationFailure>> + Send + '_>,
    > {
        Box::pin(ready(Err(RevocationFailure::Full)))
    }
}

/// Method and path of all that is promised.
const PROMISED: &[(&str, &str)] = &[
    ("get", "/api/openapi.json"),
    ("get", "/api/connections"),
    ("get", "/api/connections/{id}"),
    ("delete", "/api/connections/{id}"),
    ("post", "/api/users/{id}/disconnect"),
    ("post", "/api/drain"),
    ("get", "/api/rooms"),
    ("post", "/api/revocations"),
    ("post", "/api/publish"),
    ("post", "/ws/broadcast"),
    ("post", "/api/users/{id}/grants"),
    ("post", "/api/users/{id}/rooms"),
];

fn router() -> Router {
    serving(everything())
}

fn serving(endpoints: Endpoints) -> Router {
    let probes = Probes {
        ready: Arc::new(|| ReadyReport {
            status: ReadyStatus::Ready,
            components: Vec::new(),
        }),
        stats: Arc::new(|| json!({})),
        metrics: Arc::new(String::new),
    };
    let access = Access {
        token: None,
        on_loopback: true,
        names: Vec::new(),
        metrics: Metrics::new(),
    };
    internal(&probes, access, endpoints)
}

async fn ask(method: &str, path: &str) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method.to_ascii_uppercase().as_str())
        .uri(path)
        .header(header::HOST, "localhost")
        .body(Body::empty())
        .unwrap();
    let response = router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn document() -> Value {
    let (status, document) = ask("get", "/api/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    document
}

/// Method, path and operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operation = |path: &String, item: &Value| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter()
            .map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths
        .iter()
        .flat_map(|(path, item)| operation(path, item))
        .collect()
}

#[tokio::test]
async fn every_operation_refuses_a_parameter_that_it_does_not_describe() {
    for (method, path, _) in operations(&document().await) {
        let path = path.replace("{id}", "x");
        for (query, name) in [("limt=1", "limt"), ("%72econect=", "reconect"), ("b", "b")] {
            let (status, problem) = ask(&method, &format!("{path}?{query}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}?{query}");
            assert_eq!(problem["code"], "bad_request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(&format!("`{name}`")), "{detail}");
        }
    }
    // Known elsewhere, and not here: the body says it.
    let (status, problem) = ask("post", "/api/users/u1/disconnect?reconnect=false").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`reconnect`"), "{detail}");
    let (status, _) = ask("delete", "/api/connections/x?reconnect=false").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_document_has_all_that_is_promised_and_no_more() {
    let document = document().await;
    let operations = operations(&document);
    let described: BTreeSet<(&str, &str)> = operations
        .iter()
        .map(|(method, path, _)| (method.as_str(), path.as_str()))
        .collect();
    assert_eq!(described, PROMISED.iter().copied().collect());
}

#[tokio::test]
async fn every_path_of_the_document_is_served() {
    let document = document().await;
    for (method, path, _) in operations(&document) {
        let target = path.replace(['{', '}'], "");
        let (status, answer) = ask(&method, &target).await;
        assert_ne!(answer["code"], "bad_method", "{method} {path}");
        let nothing = answer["code"] == "not_found" && answer["detail"] == "there is nothing here";
        assert!(!nothing, "{method} {path}: {status}");
        let (status, answer) = ask("PATCH", &target).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer["code"], "bad_method");
    }
}

/// What OpenAPI 3.1 asks of a document, as far as ours could get it wrong.
#[tokio::test]
async fn the_document_is_well_formed() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let about = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect(&about);
        assert!(ids.insert(id.to_owned()), "{about}: {id} is taken");
        assert!(operation["summary"].is_string(), "{about} has a summary");
        assert!(!operation["responses"].as_object().unwrap().is_empty());
        let named: BTreeSet<&str> = (path.split('{').skip(1))
            .map(|part| part.split('}').next().unwrap())
            .collect();
        let parameters = operation["parameters"].as_array().cloned();
        let parameters = parameters.unwrap_or_default();
        let in_path = parameters.iter().filter(|one| one["in"] == "path");
        let declared: BTreeSet<&str> = in_path.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(declared, named, "{about}");
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn ids_in_bodies_are_strings_or_integers() {
    let document = document().await;
    for (body, member) in [
        ("PublishRequest", "organization_id"),
        ("PublishRequest", "user_id"),
        ("MessageRequest", "organization_id"),
        ("MessageRequest", "user_id"),
        ("RevocationBody", "organization_id"),
        ("RevocationBody", "user_id"),
        ("RevocationBody", "until"),
        ("GrantBody", "organization_id"),
        ("DisconnectUser", "organization_id"),
    ] {
        let schemas = &document["components"]["schemas"];
        let mut schema = &schemas[body]["properties"][member];
        // What may be left out is null, or what it refers to; and a reference may lead to another.
        if let Some(either) = schema["oneOf"].as_array() {
            assert_eq!(either[0]["type"], "null", "{body}.{member}");
            schema = &either[1];
        }
        while let Some(reference) = schema["$ref"].as_str() {
            schema = document.pointer(&reference[1..]).unwrap();
        }
        let types = &schema["type"];
        assert_eq!(types, &json!(["string", "integer"]), "{body}.{member}");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                found.push(reference.to_owned());
            }
            members
                .values()
                .for_each(|member| collect_references(member, found));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
