//! What is too weak to sign tokens with, and what was not meant to be part of a secret or a key file.

/// Text that some people write where a secret belongs. Compared without case and punctuation.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "replacewith",
    "placeholder",
    "yoursecret",
    "yoursupersecret",
    "yourjwtsecret",
    "your256bitsecret",
    "secretkeyhere",
    "secrethere",
    "astringsecretatleast256bitslong",
];

/// The shortest HS256 secret, in bytes: as long as the hash (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// The longest part whose repetition is no secret, in bytes.
const LONGEST_REPEATED: usize = 8;

const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// The shortest token of the internal API, in bytes: it cannot be tried offline, as the secret of a signature can.
const SHORTEST_TOKEN: usize = 16;

/// An HS256 secret. The reasons never quote it.
pub fn jwt_secret(text: &str) -> Result<(), String> {
    strong(text, SHORTEST_SECRET)
}

/// The token of the internal API, which travels in a header. The reasons never quote it.
pub fn internal_token(text: &str) -> Result<(), String> {
    strong(text, SHORTEST_TOKEN)?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "it holds a space or a letter beyond ASCII, which a header cannot carry";
        return Err(format!("{why} (try: openssl rand -base64 48)"));
    }
    Ok(())
}

fn strong(text: &str, shortest: usize) -> Result<(), String> {
    if let Some(wrong) = invisible(text) {
        return Err(wrong);
    }
    if text.len() < shortest {
        let length = text.len();
        return Err(format!(
            "it has {length} bytes, at least {shortest} are needed (try: openssl rand -base64 48)"
        ));
    }
    let letters: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let known = PLACEHOLDERS.iter().any(|word| letters.contains(word));
    // `secret-secret-…` repeats only without its punctuation.
    let mostly_letters = letters.len() * 2 >= text.len();
    if known || repeats(text.as_bytes()) || mostly_letters && repeats(letters.as_bytes()) {
        return Err("it is a placeholder, not a secret (try: openssl rand -base64 48)".to_owned());
    }
    Ok(())
}

/// Says where a character stands that cannot be seen: the issuer's copy of the secret hardly has it, and a server that starts
/// with it refuses every token. Spaces inside are fine.
fn invisible(text: &str) -> Option<String> {
    let last = text.chars().count();
    let found = text.chars().zip(1..).find(|&(character, position)| {
        is_invisible(character) || character == ' ' && (position == 1 || position == last)
    });
    found.map(|(character, position)| {
        let name = match character {
            ' ' => "a space",
            '\t' => "a tab",
            '\n' | '\r' => "a line end",
            '\0' => "a zero byte",
            '\u{A0}' => "a no-break space",
            '\u{200B}' => "a zero-width space",
            BYTE_ORDER_MARK => "a byte order mark",
            _ => "an invisible character",
        };
        let code = u32::from(character);
        format!("character {position} of {last} is {name} (U+{code:04X}): remove it")
    })
}

fn is_invisible(character: char) -> bool {
    let blank = character.is_whitespace() && character != ' ';
    // What Unicode calls default ignorable, but for the signs that emoji are made of.
    let ignorable = matches!(character,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180E}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
        | BYTE_ORDER_MARK | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}');
    character.is_control() || blank || ignorable
}

/// The text of a key file or of a key server's answer, without a byte order mark in front.
pub(super) fn text(content: &[u8]) -> Result<&str, String> {
    const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
    let utf_16 = UTF_16.iter().any(|mark| content.starts_with(mark)) || content.contains(&0);
    if utf_16 {
        return Err("it is not text in UTF-8 but looks like UTF-16: save it as UTF-8".to_owned());
    }
    let text = str::from_utf8(content).map_err(|_| "it is not text in UTF-8".to_owned())?;
    Ok(without_mark(text))
}

/// Without the byte order mark that some editors put in front of a text.
pub(super) fn without_mark(text: &str) -> &str {
    text.trim_start_matches(BYTE_ORDER_MARK)
}

/// `secretsecretsecret…`, `aaaa…`: one short part, over and over.
fn repeats(text: &[u8]) -> bool {
    (1..=LONGEST_REPEATED.min(text.len() / 2)).any(|period| {
        text.iter()
            .zip(&text[period..])
            .all(|(one, next)| one == next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_the_internal_token_is_long_enough_and_fits_into_a_header() {
        for good in ["kq3vN8xW0pZr5tYb", "dGhlIGhvdXNlIG9uIHRoZSBoaWxs+/=="] {
            assert_eq!(internal_token(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "x",
            "kq3vN8xW0pZr5tY",
            "changeme-changeme",
            "aaaaaaaaaaaaaaaaaaaa",
            "two words of a token",
            "kq3vN8xW0pZr5tYbé",
            "kq3vN8xW0pZr5tYb\n",
        ] {
            let why = internal_token(bad).unwrap_err();
            assert!(bad.is_empty() || bad == "x" || !why.contains(bad), "{why}");
        }
    }

    #[test]
    fn placeholders_and_short_secrets_are_rejected() {
        for weak in [
            "short",
            "0123456789abcdef0123456789abcde",
            "changeme-changeme-changeme-changeme",
            "please-CHANGE-ME-before-you-deploy-this",
            "your-secret-key-your-secret-key-1234",
            "your-256-bit-secret-your-256-bit-secret",
            "secretsecretsecretsecretsecretsecret",
            "secret-secret-secret-secret-secret-secret",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "................................................",
            "a-string-secret-at-least-256-bits-long",
        ] {
            let wrong = jwt_secret(weak).expect_err(weak);
            assert!(!wrong.contains(weak), "a reason must not quote the secret");
        }
        for good in [
            "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "fleetcast-tests-only-3kYbqzT0pW9sVn5x",
        ] {
            assert_eq!(jwt_secret(good), Ok(()));
        }
    }

    const GOOD: &str = "fleetcast-tests-only-3kYbqzT0pW9sVn5x";

    #[test]
    fn a_secret_may_have_spaces_inside_and_any_letters() {
        let phrase = "correct horse battery staple, läuft ❤\u{FE0F}";
        assert_eq!(jwt_secret(phrase), Ok(()));
    }

    #[test]
    fn invisible_characters_are_refused_with_name_and_place() {
        let last = GOOD.len() + 1;
        let inside = format!("{}{{}}{}", &GOOD[..5], &GOOD[5..]);
        for (character, name) in [
            ('\n', "a line end (U+000A)"),
            ('\r', "a line end (U+000D)"),
            ('\t', "a tab (U+0009)"),
            ('\0', "a zero byte (U+0000)"),
            ('\u{1B}', "an invisible character (U+001B)"),
            ('\u{7F}', "an invisible character (U+007F)"),
            ('\u{A0}', "a no-break space (U+00A0)"),
            ('\u{AD}', "an invisible character (U+00AD)"),
            ('\u{200B}', "a zero-width space (U+200B)"),
            ('\u{200D}', "an invisible character (U+200D)"),
            ('\u{2028}', "an invisible character (U+2028)"),
            ('\u{202E}', "an invisible character (U+202E)"),
            ('\u{2060}', "an invisible character (U+2060)"),
            ('\u{3000}', "an invisible character (U+3000)"),
            ('\u{FEFF}', "a byte order mark (U+FEFF)"),
            ('\u{E0041}', "an invisible character (U+E0041)"),
        ] {
            for (secret, position) in [
                (format!("{character}{GOOD}"), 1),
                (inside.replace("{}", &character.to_string()), 6),
                (format!("{GOOD}{character}"), last),
            ] {
                let wrong = jwt_secret(&secret).expect_err(name);
                let expected = format!("character {position} of {last} is {name}: remove it");
                assert_eq!(wrong, expected);
            }
        }
        for (secret, position) in [(format!(" {GOOD}"), 1), (format!("{GOOD} "), last)] {
            let wrong = jwt_secret(&secret).expect_err("a space at an end");
            assert!(
                wrong.contains(&format!("character {position} of {last} is a space")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn key_files_are_text_in_utf_8() {
        assert_eq!(text("\u{FEFF}é\r\n".as_bytes()), Ok("é\r\n"));
        assert_eq!(text(b""), Ok(""));
        for utf_16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0b\0", b"\0a\0b"] {
            assert!(
                text(utf_16).expect_err("UTF-16").contains("UTF-16"),
                "{utf_16:?}"
            );
        }
        assert!(
            text(b"\xe9")
                .expect_err("Latin-1")
                .contains("not text in UTF-8")
        );
    }
}
