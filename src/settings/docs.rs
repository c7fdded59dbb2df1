//! docs/configuration.md, written from the table.

use std::fmt::Write;

use super::table::{Fallback, Later, Status, VARIABLES, Variable};

const HEAD: &str = "\
# Configuration

<!-- Written by `fleetcast config doc` from src/settings/table.rs; a test compares. Change the table, not this page. -->

Fleetcast is configured by environment variables, by a TOML file, or by both. They are read at the start, and again on SIGHUP.

- Each plain name also works with `FLEETCAST_` in front, and that one wins: `FLEETCAST_PORT` over `PORT`.
- The file is named by `--config FILE` or `FLEETCAST_CONFIG`. `fleetcast config example` prints one with every setting; the tables below
  give both spellings of each. A key is the variable's name in lower case without `FLEETCAST_`; what begins with `INTERNAL_`, `JWT_`,
  `KAFKA_`, `LOG_` or `TLS_` stands in a table of that name: `KAFKA_GROUP_ID` is `group_id` in `[kafka]`.
- The environment wins over the file, so one file can serve several instances that differ in a few variables. `--config` wins over
  `FLEETCAST_CONFIG`. Paths in the file are relative to the working directory, as in the environment.
- An empty value counts as not set (docker compose passes every variable that it lists).
- A wrong value, a missing required one, an unknown key in the file, or an unknown name that begins with `FLEETCAST_` stops the start
  with exit code 78. All problems are reported at once, those of the file with its lines, slips with what was probably meant. A plain
  name in the environment within two letters of one of ours (one letter for names of up to five) is a warning, told beside the
  problems too. Of a file that cannot be read only that is told.
- Secrets may stand in the file; a warning says so if everybody on the machine may read it (`chmod 640`). It does not stop the start,
  because secrets that Kubernetes mounts are readable by all, and only the container sees them.
- `fleetcast check` reads the settings, asks Kafka and Redis (`--offline`: nobody) and starts nothing; `fleetcast check --show` also
  prints each one as it holds, secrets masked, and where it comes from: variable, file and line, `--config`, or default.
- SIGHUP applies changes of {reloadable}, of the profile's file and of key
  files ([operations.md](operations.md#reloading)). The rest takes a restart.
- What Kubernetes sets for a Service whose name begins with `fleetcast` (`FLEETCAST_SERVICE_HOST`, `FLEETCAST_PORT=tcp://…`,
  `FLEETCAST_PORT_8001_TCP_ADDR`, …) is ignored.
- Times are seconds, or have a unit: `30`, `30s`, `500ms`, `5m`, `1h`. Sizes are bytes, or have a unit: `1000000`, `64KiB`,
  `256MiB`, `1MB`. Switches are `true` or `false`; `yes`, `on`, `1` and `no`, `off`, `0` are taken too. In the file, what has a unit is text in quotes, and lists may be lists:
  `cors_origins = [\"https://a.example\", \"https://b.example\"]`.
";

const TAIL: &str = "
## Keys

All sources count together. A token that names a key (`kid`) is checked with the keys of that name; one that names none, or none
that is known, with the keys that have no name (secrets and PEM), in turn. What a key may be used for is fixed by its type, never
by the token.

Keys change without a restart: files are read again within 2 s of a change, the key server is asked before its answer grows stale
and at once when a token names an unknown key (at most every 10 s). To rotate a secret, put the new one first in
`JWT_SECRET_FILE`, and take the old one out when its last token has expired. A file that has become unusable, or a key server that
is away, changes nothing: the keys from before hold, `/ready` says `degraded` with the reason in `keys`, and
`fleetcast_errors_total{component=\"keys\"}` counts. A bad file stops the start; a key server that is away does not, but nobody is
let in (503) until it has answered once.

A token with an unknown key is refused for good only when every file and the key server, asked after the token first came, do not
know it. Until then the connection is closed without an answer, so that stock clients try again
(`fleetcast_refused_total{reason=\"keys_pending\"}`).

The key server is asked with a limit of 5 s and 256 KiB; redirects are not followed. `HTTPS_PROXY` and `NO_PROXY` of the
environment are honoured for it, and its certificate is checked against the system's authorities (or `SSL_CERT_FILE`).

## Properties of librdkafka

`KAFKA_PROPERTIES_<NAME_WITH_UNDERSCORES>` passes a property through: `KAFKA_PROPERTIES_SECURITY_PROTOCOL=SASL_SSL` sets
`security.protocol`. For a cluster with SASL over TLS:

```
KAFKA_PROPERTIES_SECURITY_PROTOCOL=SASL_SSL
KAFKA_PROPERTIES_SASL_MECHANISM=SCRAM-SHA-512
KAFKA_PROPERTIES_SASL_USERNAME=fleetcast
KAFKA_PROPERTIES_SASL_PASSWORD=…
KAFKA_PROPERTIES_SSL_CA_LOCATION=/etc/kafka/ca.pem
```

In the file they stand in a table of their own, by their own names:

```toml
[kafka.properties]
\"security.protocol\" = \"SASL_SSL\"
\"sasl.mechanism\" = \"SCRAM-SHA-512\"
```

Properties that would break a promise stop the start: the group (`KAFKA_GROUP_ID` sets it), commits and stored offsets,
`auto.offset.reset` (a hole in the log is told to clients, not skipped), `enable.partition.eof`, an `isolation.level` other than
`read_committed`, and a few more; the message says why. So do names and values that librdkafka does not know.

## Known, but not in this version

These names belong to parts that come later. Where somebody may rely on one for safety, asking for it stops the start; for the
others a warning at the start says that it has no effect yet.
";

/// The page.
pub fn markdown() -> String {
    let reloadable: Vec<String> = VARIABLES
        .iter()
        .filter(|variable| variable.on_reload)
        .map(|variable| format!("`{}`", variable.name))
        .collect();
    let mut page = HEAD.replace("{reloadable}", &reloadable.join(", "));
    let mut section = "";
    for variable in served() {
        if variable.section != section {
            section = variable.section;
            push(
                &mut page,
                format_args!(
                    "\n## {section}\n\n| variable | in the file | value | default | meaning |\n|---|---|---|---|---|\n"
                ),
            );
        }
        row(&mut page, variable);
    }
    page.push_str(TAIL);
    page.push_str(
        "\n| variable | in the file | asking for it | default | meaning |\n|---|---|---|---|---|\n",
    );
    for variable in VARIABLES {
        if let Status::Later(what) = variable.status {
            let answer = match what {
                Later::Stops => "stops the start",
                Later::Warns => "is a warning",
            };
            let (names, key, default) = (names(variable), key(variable), default(variable));
            push(
                &mut page,
                format_args!(
                    "| {names} | {key} | {answer} | {default} | {} |\n",
                    variable.meaning
                ),
            );
        }
    }
    page
}

fn served() -> impl Iterator<Item = &'static Variable> {
    VARIABLES
        .iter()
        .filter(|variable| variable.status == Status::Served)
}

fn row(page: &mut String, variable: &Variable) {
    let (names, key, default) = (names(variable), key(variable), default(variable));
    let (form, meaning) = (variable.kind.form(), variable.meaning);
    push(
        page,
        format_args!("| {names} | {key} | {form} | {default} | {meaning} |\n"),
    );
}

fn names(variable: &Variable) -> String {
    match variable.alias {
        Some(alias) => format!("`{}` (or `{alias}`)", variable.name),
        None => format!("`{}`", variable.name),
    }
}

fn key(variable: &Variable) -> String {
    variable
        .key()
        .map_or("-".to_owned(), |key| format!("`{key}`"))
}

fn default(variable: &Variable) -> String {
    match variable.default {
        Fallback::Required => "required".to_owned(),
        Fallback::Unset => "-".to_owned(),
        Fallback::Value("") => "empty".to_owned(),
        Fallback::Value(text) => format!("`{text}`"),
    }
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text)
        .expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_repository_is_the_one_that_the_table_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == markdown(),
            "write it anew: cargo run -- config doc > docs/configuration.md"
        );
    }
}
