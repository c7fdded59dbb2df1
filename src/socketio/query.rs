//! The query of an Engine.IO request, as far as we look at it before the library does.

/// What the parameters say. The first of a repeated one counts, as in the library.
#[derive(Default)]
pub(super) struct EngineQuery {
    pub(super) sid: Option<String>,
    pub(super) websocket: bool,
    /// `?token=`, percent-decoded.
    pub(super) token: Option<String>,
}

impl EngineQuery {
    pub(super) fn parse(query: &str) -> Self {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        Self {
            sid: value("sid").map(str::to_owned),
            websocket: value("transport") == Some("websocket"),
            token: value("token").map(percent_decode),
        }
    }

    /// The query without any token, for everything that keeps or logs it.
    pub(super) fn without_token(query: &str) -> String {
        let kept: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.starts_with("token="))
            .collect();
        kept.join("&")
    }
}

/// A token needs no escapes, but a client library may escape its dots all the same. What is no escape stays as it is.
fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_and_tokens_are_decoded() {
        let query = EngineQuery::parse("EIO=4&transport=websocket&sid=a&sid=b&token=x%2Ey");
        assert_eq!(query.sid.as_deref(), Some("a"));
        assert_eq!(query.token.as_deref(), Some("x.y"));
        assert!(query.websocket);
    }

    #[test]
    fn no_token_is_kept() {
        let query = "EIO=4&token=secret&t=1&token=other";
        assert_eq!(EngineQuery::without_token(query), "EIO=4&t=1");
    }
}
