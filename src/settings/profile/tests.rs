//! Profile files: how they are named, what they may say, and their mistakes.

use fleetcast_core::domain::record::Record;
use fleetcast_core::domain::route::Skip;

use super::*;

const DISPATCH: &str = include_str!("../../../profiles/dispatch.toml");

#[test]
fn a_topic_is_a_name_a_list_of_names_or_a_pattern() {
    let load = |topics: &str| {
        let old = "  [\"alert\", \"alerts\"],\n";
        let text = DISPATCH.replacen(old, topics, 1);
        Profile::parse(
            &text,
            "my.toml",
            "city.",
            1000,
            &["city.unit.log".to_owned()],
        )
    };
    let profile = load("  \"alert\",\n  { pattern = 'unit\\..*' },\n").expect("good");
    for (topic, wanted) in [
        ("city.alert", true),
        ("city.alerts", false),
        ("city.unit.moved", true),
        ("city.unit.log", false),
        ("city.unit.moved.dlq", false),
    ] {
        assert_eq!(profile.routes.wants(topic), wanted, "{topic}");
    }
    let before = DISPATCH
        .split("  [\"alert\", \"alerts\"]")
        .next()
        .expect("it is there");
    let line = before.matches('\n').count() + 1;
    for (topics, words) in [
        ("  { pattern = '(' },\n", "not a regular expression"),
        ("  { patern = 'x' },\n", "unknown field `patern`"),
        ("  7,\n", "a topic's name, a list of its names"),
    ] {
        let errors = load(topics).expect_err(topics).to_string();
        let place = format!("my.toml:{line}: ");
        assert!(
            errors.contains(&place) && errors.contains(words),
            "{errors}"
        );
    }
}

/// The dispatch profile with one text replaced, and what is complained of.
fn complaints(from: &str, to: &str) -> Vec<String> {
    assert!(DISPATCH.contains(from), "{from}");
    Profile::parse(&DISPATCH.replacen(from, to, 1), "my.toml", "", 1000, &[])
        .map_or_else(|errors| errors.0, |_| vec![])
}

#[test]
fn mistakes_are_reported_with_file_and_line() {
    let line = |text: &str| {
        let before = DISPATCH.split(text).next().unwrap_or_default();
        before.matches('\n').count() + 1
    };
    let routes = "events = [\"alert_created\"]";
    for (from, to, at, words) in [
        ("name =", "nmae =", "name =", "nmae"),
        (
            "class = \"latest\"",
            "class = \"newest\"",
            "class = \"latest\"",
            "newest",
        ),
        (
            "{ kind = \"org\" }",
            "{ kind = \"org\", template = \"x\" }",
            "{ kind = \"org\" }",
            "template",
        ),
        (
            "events = [\"alert_created\"]",
            "events = [\"connect\"]",
            routes,
            "route of connect: event \"connect\" is reserved",
        ),
        (
            "[\"alert_created\"]",
            "[\"task_updated\"]",
            routes,
            "routed twice",
        ),
        (
            "[\"alert\", \"alerts\"]",
            "[\"alert\", \"task\"]",
            "[\"alert\", \"alerts\"]",
            "\"task\" is listed twice",
        ),
        (
            "[aliases]",
            "[aliases]\nx = \"y\"",
            "[aliases]\n",
            "alias \"x\" stands for \"y\"",
        ),
        (
            "{ field_unit = \"assets\" }",
            "{ field_unit = \"exp\" }",
            "[policy.asset]",
            "claim \"exp\", which has another meaning",
        ),
        (
            "[policy.asset]",
            "[policy.assets]",
            "[policy.asset]",
            "policy of assets: no route",
        ),
        (
            "[policy.asset]",
            "[policy.assets]",
            "[[routes]]\n",
            "kind asset, which no policy",
        ),
        (
            "fields = [\"organization_id\"]",
            "fields = [\"data\"]",
            "fields = [\"organization_id\"]",
            "organisation: \"data\"",
        ),
    ] {
        let found = complaints(from, to);
        let place = if words.starts_with("alias") {
            line(at) + 1
        } else {
            line(at)
        };
        let expected = format!("my.toml:{place}: ");
        assert!(
            found
                .iter()
                .any(|message| message.starts_with(&expected) && message.contains(words)),
            "{expected}{words}: {found:#?}"
        );
    }
}

#[test]
fn a_default_organisation_yields_to_the_one_that_a_record_names() {
    let old = DISPATCH.find("[organisation]").expect("there");
    let end = DISPATCH.find("# Other names that").expect("there");
    let text = format!(
        "organisation = \"acme\"\n{}{}",
        &DISPATCH[..old],
        &DISPATCH[end..]
    );
    let profile = Profile::parse(&text, "my.toml", "", 1000, &[]).expect("good");
    let outcome = |value: &str| {
        let record = Record {
            topic: "alert",
            partition: 0,
            offset: 0,
            timestamp: None,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[("event_type", b"alert_created")],
        };
        let routed = profile.routes.route(&record, &Arc::from("alert"));
        routed.map(|publication| publication.organisation.to_string())
    };
    assert_eq!(outcome("{}"), Ok("acme".to_owned()));
    assert_eq!(
        outcome(r#"{"organization_id":null}"#),
        Ok("acme".to_owned())
    );
    assert_eq!(
        outcome(r#"{"data":{"organization_id":"o2"}}"#),
        Ok("o2".to_owned())
    );
    assert_eq!(
        outcome(r#"{"organization_id":"a b"}"#),
        Err(Skip::BadOrganisation)
    );
    let wrong = text.replace("\"acme\"", "\"a c\"");
    let errors = Profile::parse(&wrong, "my.toml", "", 1000, &[]).expect_err("no organisation");
    assert!(
        errors
            .to_string()
            .starts_with("my.toml:1: organisation: \"a c\""),
        "{errors}"
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_file_order() {
    let text = DISPATCH
        .replace("[\"alert_acknowledged\"]", "[\"error\"]")
        .replace("[\"task\", \"tasks\"]", "[\"a/b\"]")
        .replace("\"channels\"", "\"the channels\"");
    let errors = Profile::parse(&text, "my.toml", "", 1000, &[]).expect_err("three mistakes");
    let text = errors.to_string();
    let positions: Vec<_> = ["a/b", "error", "the channels"]
        .iter()
        .map(|word| text.find(word))
        .collect();
    assert!(
        positions.iter().all(Option::is_some) && positions.is_sorted(),
        "{text}"
    );
    assert_eq!(errors.0.len(), 3, "{text}");
}

#[test]
fn a_profile_is_a_built_in_name_or_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.toml");
    std::fs::write(
        &path,
        DISPATCH.replace("name = \"dispatch\"", "name = \"mine\""),
    )
    .expect("written");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(
        Profile::load(path, "", 1000, &[]).expect("good").name,
        "mine"
    );
    assert_eq!(
        Profile::load("dispatch", "", 1000, &[]).expect("good").name,
        "dispatch"
    );
    for wrong in [
        "dispatsh",
        "/dev/zero",
        folder.path().to_str().expect("UTF-8"),
    ] {
        let message = Profile::load(wrong, "", 1000, &[])
            .expect_err(wrong)
            .to_string();
        assert!(message.contains(wrong), "{message}");
    }
    assert!(
        Profile::builtin("none", "", 1000)
            .expect_err("unknown")
            .to_string()
            .contains("dispatch")
    );
    assert!(Profile::load("dispatch", "bad prefix/", 1000, &[]).is_err());
}

#[test]
fn a_role_is_renamed_to_one_that_a_policy_knows() {
    let with = |roles: &str| {
        let text = format!("{DISPATCH}\n[roles]\n{roles}\n");
        Profile::parse(&text, "my.toml", "", 1000, &[])
    };
    let good = with("\"realm-dispatcher\" = \"dispatcher\"\nchief = \"admin\"");
    let renamed = good.expect("good").claim_rules().renamed;
    assert_eq!(renamed["realm-dispatcher"], "dispatcher");
    assert_eq!(renamed["chief"], "admin");
    let line = DISPATCH.matches('\n').count() + 3;
    for (roles, problem) in [
        (
            "chief = \"admn\"",
            "role chief is renamed to admn, which no policy knows",
        ),
        ("chief = 7", "invalid type: integer `7`, expected a string"),
    ] {
        let errors = with(roles).expect_err(roles);
        assert_eq!(errors.0, [format!("my.toml:{line}: {problem}")]);
    }
}
