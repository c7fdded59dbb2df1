//! Handlers with what the OpenAPI document says of them: what is served is described, and what is described is served, because
//! both come from one call.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{self, Request, State};
use axum::handler::Handler;
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
/// Schemas that the description of a path refers to. (The library has no other name for it; its own router for axum uses this one.)
use utoipa::__dev::SchemaReferences;
use utoipa::openapi::path::{HttpMethod, Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, Path, ToSchema};

use super::extract::bad_request;

/// Some paths of the API. Each resource makes its own, and they are merged.
///
/// ```text
/// pub fn endpoints(rooms: Arc<dyn Rooms>) -> Endpoints {
///     Endpoints::new().with(__path_list, list).with_state(rooms)
/// }
///
/// #[utoipa::path(get, path = "/api/rooms", params(RoomQuery), responses(…))]
/// async fn list(State(rooms): State<Arc<dyn Rooms>>, Query(query): Query<RoomQuery>) -> Result<Json<RoomPage>, Problem>
/// ```
pub struct Endpoints<S = ()> {
    router: Router<S>,
    document: OpenApi,
}

impl<S: Clone + Send + Sync + 'static> Endpoints<S> {
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            document: OpenApi::default(),
        }
    }

    /// Adds a handler at the path and by the method of its `utoipa::path`, whose name is `__path_` and the handler's.
    #[must_use]
    pub fn with<P, H, T>(mut self, _described: P, handler: H) -> Self
    where
        P: Path + SchemaReferences,
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = P::methods()
            .into_iter()
            .map(|method| filter(&method))
            .reduce(MethodFilter::or)
            .expect("a path of utoipa has a method");
        let operation = P::operation();
        let described: Arc<[String]> = query_parameters(&operation).collect();
        let check = move |request, next| only_described(described.clone(), request, next);
        let handler = on(filter, handler).route_layer(middleware::from_fn(check));
        self.router = self.router.route(&P::path(), handler);
        let paths = &mut self.document.paths;
        paths.add_path_operation(P::path(), P::methods(), operation);
        let mut schemas = Vec::new();
        P::schemas(&mut schemas);
        let components = self.document.components.get_or_insert_default();
        components.schemas.extend(schemas);
        self
    }

    /// What the handlers ask.
    pub fn with_state(self, state: S) -> Endpoints {
        Endpoints {
            router: self.router.with_state(state),
            document: self.document,
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Endpoints<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl Endpoints {
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.document.merge(other.document);
        self
    }

    /// With the document of all of them, which is served as well.
    pub(super) fn finish(self) -> Router {
        let text = Arc::new(OnceLock::new());
        let own = Endpoints::new()
            .with(__path_openapi, openapi)
            .with_state(text.clone());
        let Endpoints { router, document } = self.merge(own);
        let document = described(document).to_json();
        text.get_or_init(|| document.expect("the document is plain data"));
        router
    }
}

/// The names of an operation's parameters in the query.
fn query_parameters(operation: &Operation) -> impl Iterator<Item = String> + '_ {
    let parameters = operation.parameters.iter().flatten();
    let in_query = parameters.filter(|one| matches!(one.parameter_in, ParameterIn::Query));
    in_query.map(|one| one.name.clone())
}

/// Refuses a parameter that the operation does not describe, also where the handler looks at none: it may be meant for the body.
async fn only_described(described: Arc<[String]>, request: Request, next: Next) -> Response {
    let given = extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let problem = match given {
        Ok(extract::Query(given)) => {
            let unknown = given.iter().find(|(name, _)| !described.contains(name));
            unknown.map(|(name, _)| bad_request(&format_args!("unknown parameter `{name}`")))
        }
        Err(rejection) => Some(bad_request(&rejection.body_text())),
    };
    match problem {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

/// This document
///
/// The OpenAPI document of this server's internal API.
#[utoipa::path(get, path = "/api/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
async fn openapi(State(text): State<Arc<OnceLock<String>>>) -> Response {
    let text = text.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// With what is true of all paths.
fn described(paths: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Fleetcast")
        .description(Some(
            "The internal API. Errors are `application/problem+json`, of the schema `Problem`.",
        ))
        .version(env!("CARGO_PKG_VERSION"));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("`INTERNAL_TOKEN`, where it is set"))
        .build();
    let components = ComponentsBuilder::new()
        .schema("Problem", ProblemDocument::schema())
        .security_scheme(INTERNAL_TOKEN, SecurityScheme::Http(bearer));
    let nothing: [&str; 0] = [];
    // On loopback none may be set.
    let security = [
        SecurityRequirement::new(INTERNAL_TOKEN, nothing),
        SecurityRequirement::default(),
    ];
    let mut document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components.build()))
        .security(Some(security))
        .build();
    document.merge(paths);
    document
}

/// Name of the scheme in the document.
const INTERNAL_TOKEN: &str = "internal_token";

/// What an error looks like, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `crate::problem::Problem`")]
pub(super) struct ProblemDocument {
    r#type: String,
    title: String,
    status: u16,
    /// Stable, for programs.
    code: String,
    /// A sentence for people.
    detail: String,
}

fn filter(method: &HttpMethod) -> MethodFilter {
    match method {
        HttpMethod::Get => MethodFilter::GET,
        HttpMethod::Post => MethodFilter::POST,
        HttpMethod::Put => MethodFilter::PUT,
        HttpMethod::Delete => MethodFilter::DELETE,
        HttpMethod::Options => MethodFilter::OPTIONS,
        HttpMethod::Head => MethodFilter::HEAD,
        HttpMethod::Patch => MethodFilter::PATCH,
        HttpMethod::Trace => MethodFilter::TRACE,
    }
}
