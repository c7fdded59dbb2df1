//! Bodies that are JSON, and not as the document says.

use super::*;

async fn send(path: &str, body: &str) -> (StatusCode, String) {
    let request = Request::post(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body.to_owned()))
        .unwrap();
    let response = router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let detail = answer["detail"].as_str().unwrap_or_default();
    (status, detail.to_owned())
}

/// The members of each body in the order of its type, as good ones: a list of them would be taken for the object.
#[tokio::test]
async fn a_list_is_no_body() {
    let bodies = [
        (
            "/api/publish",
            r#"[null,"a","o1",["channel:7"],null,null,{},null,null,null]"#,
        ),
        ("/api/revocations", r#"["harbor",null,null,null,null]"#),
        ("/api/users/{id}/disconnect", r#"["o1",null]"#),
        ("/api/users/{id}/grants", r#"["o1",["channel:7"],[]]"#),
        ("/api/users/{id}/rooms", r#"["o1",["channel:7"],[]]"#),
    ];
    for (method, path, _) in operations(&document().await) {
        // Of the first the body is the data, which may be a list; the second has none.
        if method != "post" || ["/ws/broadcast", "/api/drain"].contains(&path.as_str()) {
            continue;
        }
        let (_, list) = (bodies.iter().find(|(known, _)| *known == path)).expect(&path);
        for body in [list, " []", "null", "7"] {
            let (status, detail) = send(&path.replace("{id}", "u1"), body).await;
            assert_eq!(
                (status, detail.as_str()),
                (StatusCode::BAD_REQUEST, "the body is a JSON object"),
                "{path} {body}"
            );
        }
    }
    let (status, _) = send("/ws/broadcast?event_type=a", "[1]").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "there is no log");
}

/// It would be ignored, and the defaults taken for what it says.
#[tokio::test]
async fn a_drain_refuses_every_body() {
    for body in [r#"{"share":0.1}"#, "{}", "[]", "share=0.1", " "] {
        let (status, detail) = send("/api/drain", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body:?}");
        assert!(detail.starts_with("there is no body here"), "{detail}");
    }
    let (status, _) = send("/api/drain", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_with_the_place_of_the_member() {
    let good = r#"{"event":"a","rooms":["channel:7"],"data":{}"#;
    let in_batch = |third: &str| format!(r#"{{"messages":[{good}}},{good}}},{third}]}}"#);
    for (wrong, said) in [
        (
            r#""volatile":"yes""#,
            r#"volatile: invalid type: string "yes", expected a boolean"#,
        ),
        (
            r#""key":7"#,
            "key: invalid type: integer `7`, expected a string",
        ),
        (
            r#""all":[]"#,
            "all: invalid type: sequence, expected a boolean",
        ),
    ] {
        let message = format!("{good},{wrong}}}");
        let (status, detail) = send("/api/publish", &message).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(detail.starts_with(said), "{detail}");
        let (status, detail) = send("/api/publish", &in_batch(&message)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(
            detail.starts_with(&format!("messages[2].{said}")),
            "{detail}"
        );
    }
    let list = r#"["a",null,["channel:7"],null,null,{},null,null,null]"#;
    for (third, said) in [
        (list, "invalid type: sequence, expected an object"),
        ("null", "invalid type: null, expected an object"),
        (r#"{"event":"a"}"#, "missing field `data`"),
    ] {
        let (status, detail) = send("/api/publish", &in_batch(third)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let said = format!("messages[2]: {said}");
        assert!(detail.starts_with(&said), "{detail}");
    }
    for (path, body, said) in [
        ("/api/publish", r#"{"event":7}"#, "event: invalid type"),
        (
            "/api/publish",
            r#"{"rooms":"channel:7"}"#,
            r#"rooms: invalid type: string "channel:7", expected a sequence"#,
        ),
        (
            "/api/publish",
            r#"{"messages":[{"rooms":["channel:7",8]}]}"#,
            "messages[0].rooms[1]: invalid type: integer `8`",
        ),
        (
            "/api/users/u1/disconnect",
            r#"{"organization_id":"o1","reconnect":"no"}"#,
            "reconnect: invalid type",
        ),
        (
            "/api/users/u1/grants",
            r#"{"organization_id":"o1","grant":"channel:7"}"#,
            "grant: invalid type",
        ),
        (
            "/api/users/u1/rooms",
            r#"{"organization_id":"o1","leave":"channel:7"}"#,
            "leave: invalid type",
        ),
        (
            "/api/users/u1/rooms",
            r#"{"organization_id":"o1"}"#,
            "join and leave name no room",
        ),
        (
            "/api/users/u1/rooms",
            r#"{"organization_id":"o1","leave":["user:u1"]}"#,
            "user:u1: every connection is in",
        ),
        (
            "/api/users/u1/rooms",
            r#"{"organization_id":"o1","join":["channel:7"]}"#,
            "channel:7: the profile has no rooms of this kind",
        ),
    ] {
        let (status, detail) = send(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(detail.starts_with(said), "{path} {body}: {detail}");
    }
}

#[tokio::test]
async fn a_limit_that_is_none_is_said_in_one_sentence() {
    for path in ["/api/connections", "/api/rooms"] {
        for limit in ["0", "1001", "ten", "-1", ""] {
            let (status, problem) = ask("get", &format!("{path}?limit={limit}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {limit}");
            assert_eq!(problem["detail"], "limit is a number from 1 to 1000");
        }
        let (status, _) = ask("get", &format!("{path}?limit=1000")).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}
