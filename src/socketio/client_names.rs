//! What clients call themselves, for operators: the `User-Agent` of the request that began the session, cleaned and shortened.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};

/// In bytes. Browsers have some hundred, and what tells them apart is in these.
const LONGEST: usize = 160;
/// Names that are shared. Most clients have one of a few.
const SHARED: usize = 512;

/// Equal names take memory once, as far as there are few: beyond that each client has its own copy.
#[derive(Default)]
pub(super) struct ClientNames(Mutex<HashSet<Arc<str>>>);

impl ClientNames {
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let name = cleaned(headers.get(header::USER_AGENT)?.as_bytes())?;
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = shared.get(name.as_str()) {
            return Some(name.clone());
        }
        let name: Arc<str> = name.into();
        if shared.len() >= SHARED {
            shared.retain(|name| Arc::strong_count(name) > 1);
        }
        if shared.len() < SHARED {
            shared.insert(name.clone());
        }
        Some(name)
    }
}

/// Without what a terminal or a page could take for something else.
fn cleaned(bytes: &[u8]) -> Option<String> {
    let visible = bytes.iter().copied().map(char::from);
    let visible = visible.filter(|one| one.is_ascii_graphic() || *one == ' ');
    let text: String = visible.take(LONGEST).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn named(names: &ClientNames, text: &[u8]) -> Option<Arc<str>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_bytes(text).unwrap());
        names.of(&headers)
    }

    #[test]
    fn a_name_is_cleaned_shortened_and_kept_once() {
        let names = ClientNames::default();
        assert_eq!(names.of(&HeaderMap::new()), None);
        let one = named(&names, b"radio/1.2 (Android 15)").unwrap();
        assert_eq!(&*one, "radio/1.2 (Android 15)");
        let other = named(&names, b"radio/1.2 (Android 15)").unwrap();
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(named(&names, b" \xff\x80\t ").as_deref(), None);
        assert_eq!(named(&names, b"a\tb\xffc").as_deref(), Some("abc"));
        let long = named(&names, &[b'x'; 5_000]).unwrap();
        assert_eq!(long.len(), LONGEST);
    }

    #[test]
    fn others_are_not_kept_when_nobody_has_them() {
        let names = ClientNames::default();
        let held: Vec<_> = (0..SHARED / 2)
            .map(|number| named(&names, number.to_string().as_bytes()))
            .collect();
        for number in 0..10_000 {
            named(&names, format!("other-{number}").as_bytes()).unwrap();
            assert!(names.0.lock().unwrap().len() <= SHARED);
        }
        let again = named(&names, b"0");
        assert!(Arc::ptr_eq(&again.unwrap(), held[0].as_ref().unwrap()));
    }
}
