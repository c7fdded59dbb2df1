//! The token that the head of a request carries.

use axum::http::{HeaderMap, header};
use secrecy::SecretString;

/// Of the one `Authorization: Bearer …`. Two are none: what stands before this server may have judged the other one.
pub fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer")).then(|| SecretString::from(token.trim()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn only_a_single_header_of_the_scheme_has_a_token() {
        for (sent, expected) in [
            (&[][..], None),
            (&["Bearer abc"], Some("abc")),
            (&["bEARER   abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["Bearer"], None),
            (&["abc"], None),
            (&["Bearer abc", "Bearer abc"], None),
            (&["Basic abc", "Bearer abc"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            let found = bearer(&headers);
            let found = found.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!(found, expected, "{sent:?}");
        }
    }
}
