//! What is too weak to sign tokens with.

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

/// An HS256 secret. The reasons never quote it.
pub fn jwt_secret(text: &str) -> Result<(), String> {
    if text.len() < SHORTEST_SECRET {
        let length = text.len();
        return Err(format!(
            "it has {length} bytes, at least {SHORTEST_SECRET} are needed (try: openssl rand -base64 48)"
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
    fn placeholders_and_short_secrets_are_no_secrets() {
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
}
