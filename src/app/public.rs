//! The public listener: Socket.IO, probes, and the QA page where it is wanted.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::demo_people::DemoPeople;
use super::origins::Origins;
use crate::api::publish::Publishing;
use crate::api::{self, Probes};
use crate::problem::Problem;
use crate::settings::Listen;
use crate::socketio::{self, Engine};
use crate::telemetry::labels::{Component, RejectReason};
use crate::telemetry::{Metrics, events};

/// assets/README.md says why it is enough.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const QA_PAGE: &str = include_str!("../../assets/qa.html");

const PEOPLE: &str = "/demo/people.json";

/// The mark of a page that runs in the demo, so that the page requests this path only there.
const PEOPLE_META: &str = r#"<meta name="fleetcast-people" content="/demo/people.json">"#;

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// File, content type and bytes of what the QA page loads, below `/assets/`.
const ASSETS: [(&str, &str, &[u8]); 7] = [
    ("qa.css", CSS, include_bytes!("../../assets/qa.css")),
    ("qa.js", JAVASCRIPT, include_bytes!("../../assets/qa.js")),
    (
        "qa-counts.js",
        JAVASCRIPT,
        include_bytes!("../../assets/qa-counts.js"),
    ),
    (
        "qa-events.js",
        JAVASCRIPT,
        include_bytes!("../../assets/qa-events.js"),
    ),
    (
        "qa-parts.js",
        JAVASCRIPT,
        include_bytes!("../../assets/qa-parts.js"),
    ),
    (
        "qa-rooms.js",
        JAVASCRIPT,
        include_bytes!("../../assets/qa-rooms.js"),
    ),
    (
        "socket.io.min.js",
        JAVASCRIPT,
        include_bytes!("../../assets/socket.io.min.js"),
    ),
];

/// What its paths lead to.
pub(super) struct PublicRoutes<'a> {
    pub(super) listen: &'a Listen,
    pub(super) origins: &'a Arc<ArcSwap<Origins>>,
    pub(super) engine: &'a Arc<Engine>,
    pub(super) probes: &'a Probes,
    pub(super) publishing: &'a Publishing,
    pub(super) people: Option<&'a Arc<DemoPeople>>,
    pub(super) metrics: &'a Metrics,
}

impl PublicRoutes<'_> {
    pub(super) fn router(&self) -> Router {
        let mut router = self.sockets().merge(api::probes(self.probes));
        if self.listen.qa_page {
            let html = qa_page(self.people.is_some());
            let answer = move || async move { page("text/html; charset=utf-8", html) };
            router = router.route("/", get(answer));
            for (name, content_type, bytes) in ASSETS {
                let answer = move || async move { page(content_type, bytes) };
                router = router.route(&format!("/assets/{name}"), get(answer));
            }
        }
        if let Some(people) = self.people {
            let (people, metrics) = (people.clone(), self.metrics.clone());
            let answer = move || async move { fresh_tokens(&people, &metrics) };
            router = router.route(PEOPLE, get(answer));
        }
        router
            .fallback(api::not_found)
            .method_not_allowed_fallback(api::method_not_allowed)
    }

    fn sockets(&self) -> Router {
        let mut router = Router::new();
        for path in socketio::PATHS {
            let engine = self.engine.clone();
            let handle = move |request: Request<Body>| engine.handle(request);
            router = router.route(path, any(handle));
        }
        if self.listen.public_api {
            router = router.merge(api::publish::public(self.publishing, self.metrics));
        }
        let (origins, metrics) = (self.origins.clone(), self.metrics.clone());
        let guard = move |request: Request<Body>, next: Next| {
            let (origins, metrics) = (origins.clone(), metrics.clone());
            async move {
                if origins.load().admit(request.headers()) {
                    let is_preflight = request.method() == Method::OPTIONS;
                    let mut response = next.run(request).await;
                    if is_preflight && response.status() == StatusCode::OK {
                        *response.status_mut() = StatusCode::NO_CONTENT;
                    }
                    return response;
                }
                refuse_origin(&metrics)
            }
        };
        // The outermost layer comes last: a foreign page is refused before CORS answers its preflight.
        router
            .layer(cors(self.origins.clone(), self.listen.cors_headers.clone()))
            .layer(middleware::from_fn(guard))
    }
}

fn cors(origins: Arc<ArcSwap<Origins>>, headers: Vec<HeaderName>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(
            move |origin: &HeaderValue, request| origins.load().allow(origin, &request.headers),
        ))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(headers)
}

fn refuse_origin(metrics: &Metrics) -> Response {
    let why = "a page of this origin may not connect";
    events::refused(metrics, RejectReason::Origin, why);
    let detail = "this origin may not connect";
    Problem::new(StatusCode::FORBIDDEN, "origin", detail).into_response()
}

/// Signed again for each request: a client asks at each connect, and may do so for longer than a token holds.
fn fresh_tokens(people: &DemoPeople, metrics: &Metrics) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    match people.json() {
        Ok(json) => (headers, json).into_response(),
        Err(error) => {
            let context = "cannot answer /demo/people.json";
            events::fault(metrics, Component::Demo, context, &format!("{error:#}"));
            let detail = "the tokens could not be made";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
        }
    }
}

fn qa_page(in_demo: bool) -> String {
    let people = if in_demo { PEOPLE_META } else { "" };
    QA_PAGE.replacen("<!-- people -->", people, 1)
}

fn page(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}
