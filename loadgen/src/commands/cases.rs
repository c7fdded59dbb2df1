//! The broken packets.

use tokio_tungstenite::tungstenite::Message;

/// What the contract asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// An error acknowledgement; the connection lives.
    Refusal,
    /// Without an acknowledgement id: an `error` event; the connection lives.
    ErrorEvent,
    /// The connection ends.
    Close,
    /// Either outcome is sensible, but there is one acknowledgement.
    Answered,
    /// An error acknowledgement, an `error` event, a refused namespace, or the connection ends.
    Rejected,
    /// The protocol lets a server ignore it.
    Harmless,
}

impl Expect {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Refusal => "refusal",
            Self::ErrorEvent => "error event",
            Self::Close => "close",
            Self::Answered => "an answer",
            Self::Rejected => "rejection",
            Self::Harmless => "no harm",
        }
    }
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) messages: Vec<Message>,
    pub(super) expect: Expect,
}

use Expect::{Answered, Close, ErrorEvent, Harmless, Refusal, Rejected};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    subscriptions(&mut cases);
    other_commands(&mut cases);
    names(&mut cases);
    without_acknowledgement(&mut cases);
    not_an_event(&mut cases);
    sizes(&mut cases);
    attachments(&mut cases);
    packets(&mut cases);
    cases
}

fn text(name: &str, frame: impl Into<String>, expect: Expect) -> Case {
    Case {
        name: name.to_owned(),
        messages: vec![Message::text(frame.into())],
        expect,
    }
}

/// `subscribe` with acknowledgement 7 and these arguments as JSON, each with a comma before it.
fn subscribe(arguments: &str) -> String {
    format!("427[\"subscribe\"{arguments}]")
}

fn room(room: &str) -> String {
    subscribe(&format!(",{{\"room\":\"{room}\"}}"))
}

fn subscriptions(cases: &mut Vec<Case>) {
    for (name, arguments) in [
        ("subscribe without argument", ""),
        ("subscribe null", ",null"),
        ("subscribe a number", ",5"),
        ("subscribe true", ",true"),
        ("subscribe a list", ",[]"),
        ("subscribe lists in lists", ",[[[{}]]]"),
        ("subscribe {}", ",{}"),
        ("room null", ",{\"room\":null}"),
        ("room a number", ",{\"room\":5}"),
        ("room an object", ",{\"room\":{\"type\":\"channel\"}}"),
        ("room a list", ",{\"room\":[\"channel:1\"]}"),
        ("type without id", ",{\"type\":\"channel\"}"),
        ("id without type", ",{\"id\":\"7\"}"),
        ("id null", ",{\"type\":\"channel\",\"id\":null}"),
        ("id a float", ",{\"type\":\"channel\",\"id\":1.5}"),
        ("id 1e400", ",{\"type\":\"channel\",\"id\":1e400}"),
        ("id an object", ",{\"type\":\"channel\",\"id\":{}}"),
        ("type a list", ",{\"type\":[\"channel\"],\"id\":\"7\"}"),
        ("type unknown", ",{\"type\":\"nope\",\"id\":\"7\"}"),
        ("type __proto__", ",{\"type\":\"__proto__\",\"id\":\"7\"}"),
        ("rooms a string", ",{\"rooms\":\"channel:1\"}"),
        ("rooms of numbers", ",{\"rooms\":[1,2]}"),
        (
            "rooms an object",
            ",{\"rooms\":{\"length\":1,\"0\":\"channel:1\"}}",
        ),
        ("after a number", ",{\"room\":\"channel:1\",\"after\":5}"),
        (
            "after garbage",
            ",{\"room\":\"channel:1\",\"after\":\"garbage\"}",
        ),
        (
            "after a broken cursor",
            ",{\"room\":\"channel:1\",\"after\":\"v1.!!!!\"}",
        ),
        (
            "after an empty cursor",
            ",{\"room\":\"channel:1\",\"after\":\"v1.\"}",
        ),
        (
            "rewind a string",
            ",{\"room\":\"channel:1\",\"rewind\":\"x\"}",
        ),
        (
            "rewind below zero",
            ",{\"room\":\"channel:1\",\"rewind\":-1}",
        ),
        ("rewind 1e400", ",{\"room\":\"channel:1\",\"rewind\":1e400}"),
        (
            "rewind an object",
            ",{\"room\":\"channel:1\",\"rewind\":{}}",
        ),
    ] {
        cases.push(text(name, subscribe(arguments), Refusal));
    }
    for (name, wanted) in [
        ("room empty", ""),
        ("room without id", "channel:"),
        ("room without colon", "channel"),
        ("room without type", ":7"),
        ("room with three parts", "channel:7:8"),
        ("room of another organisation", "channel:7:org:lgp1"),
        ("room with two organisations", "channel:7:org:lgp0:org:lgp1"),
        ("another organisation itself", "org:lgp1"),
        ("another user", "user:lg-neighbour"),
        ("another user in full", "user:lg-neighbour:org:lgp0"),
        ("a control room", "jti:1"),
        ("room with a path", "channel:../7"),
        ("room with a star", "channel:*"),
        ("room with a space", "channel:7 "),
        ("room with NUL", "channel:7\\u0000"),
        ("room with a line feed", "channel:7\\n"),
        ("room in wide digits", "channel:\u{ff17}"),
        ("room with a lone surrogate", "channel:\\ud800"),
        ("room with escape codes", "channel:\\u001b[31m"),
    ] {
        cases.push(text(name, room(wanted), Refusal));
    }
    cases.push(text(
        "id of 65 letters",
        room(&format!("channel:{}", "7".repeat(65))),
        Refusal,
    ));
    let many: Vec<String> = (0..201)
        .map(|number| format!("\"channel:{number}\""))
        .collect();
    cases.push(text(
        "201 rooms",
        subscribe(&format!(",{{\"rooms\":[{}]}}", many.join(","))),
        Refusal,
    ));
    let mixed = subscribe(",{\"rooms\":[\"channel:1\",\"channel:1:org:lgp1\"]}");
    cases.push(text("a foreign room among good ones", mixed, Refusal));
    for (name, arguments) in [
        ("a room as a bare string", ",\"channel:1\""),
        ("id an integer", ",{\"type\":\"channel\",\"id\":7}"),
        (
            "room twice",
            ",{\"room\":\"channel:1\",\"room\":\"channel:2\"}",
        ),
        (
            "unknown fields",
            ",{\"room\":\"channel:1\",\"__proto__\":{\"admin\":true}}",
        ),
        (
            "two arguments",
            ",{\"room\":\"channel:1\"},{\"room\":\"channel:2\"}",
        ),
        (
            "rewind a century",
            ",{\"room\":\"channel:1\",\"rewind\":3153600000}",
        ),
    ] {
        cases.push(text(name, subscribe(arguments), Answered));
    }
}

fn other_commands(cases: &mut Vec<Case>) {
    for (name, frame, expect) in [
        (
            "unsubscribe without argument",
            "427[\"unsubscribe\"]",
            Refusal,
        ),
        ("unsubscribe a list", "427[\"unsubscribe\",[1]]", Refusal),
        (
            "unsubscribe what is not held",
            "427[\"unsubscribe\",{\"room\":\"channel:404\"}]",
            Answered,
        ),
        (
            "unsubscribe the own organisation",
            "427[\"unsubscribe\",{\"room\":\"org:lgp0\"}]",
            Answered,
        ),
        (
            "auth:refresh without token",
            "427[\"auth:refresh\"]",
            Refusal,
        ),
        (
            "auth:refresh with garbage",
            "427[\"auth:refresh\",{\"token\":\"a.b.c\"}]",
            Refusal,
        ),
        (
            "auth:refresh with a number",
            "427[\"auth:refresh\",{\"token\":5}]",
            Refusal,
        ),
        ("ack without id", "427[\"ack\",{}]", Refusal),
        ("ack with a list", "427[\"ack\",[{\"id\":[]}]]", Refusal),
    ] {
        cases.push(text(name, frame, expect));
    }
}

fn names(cases: &mut Vec<Case>) {
    for name in [
        "no_such_event",
        "Subscribe",
        "incident_created",
        "alert_created",
        "transmission_started",
        "resync_required",
        "connection_established",
        "__proto__",
        "constructor",
        "toString",
    ] {
        cases.push(text(
            &format!("event {name}"),
            format!("427[\"{name}\",{{\"channel_id\":\"poison\"}}]"),
            Refusal,
        ));
    }
    // Servers after Node's model close for these, others answer.
    for name in [
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "error",
        "cursor",
        "newListener",
        "removeListener",
        "",
    ] {
        cases.push(text(
            &format!("event {name:?}"),
            format!("427[\"{name}\",\"x\"]"),
            Rejected,
        ));
    }
}

fn without_acknowledgement(cases: &mut Vec<Case>) {
    for (name, frame) in [
        ("unknown event, no ack", "42[\"no_such_event\",1]"),
        (
            "server event, no ack",
            "42[\"incident_created\",{\"organization_id\":\"lgp0\",\"incident_id\":\"1\"}]",
        ),
        ("bad subscribe, no ack", "42[\"subscribe\",{\"room\":5}]"),
        (
            "foreign subscribe, no ack",
            "42[\"subscribe\",{\"room\":\"org:lgp1\"}]",
        ),
    ] {
        cases.push(text(name, frame, ErrorEvent));
    }
}

fn not_an_event(cases: &mut Vec<Case>) {
    for (name, frame) in [
        ("no array", "427{\"a\":1}"),
        ("a string instead of an array", "427\"subscribe\""),
        ("nothing after the id", "427"),
        ("nothing at all", "42"),
        ("empty array", "42[]"),
        ("empty array with ack", "427[]"),
        ("name a number", "427[1,2]"),
        ("name null", "427[null]"),
        ("name an array", "427[[\"subscribe\"]]"),
        ("name an object", "427[{\"a\":1}]"),
        ("truncated", "427[\"subscribe\",{\"room\":\"chan"),
        ("NaN", "427[\"subscribe\",{\"room\":NaN}]"),
        ("raw NUL", "427[\"subscribe\",{\"room\":\"channel:\0\"}]"),
        (
            "trailing garbage",
            "427[\"subscribe\",{\"room\":\"channel:1\"}]]",
        ),
        ("ack id below zero", "42-1[\"rooms\"]"),
    ] {
        cases.push(text(name, frame, Rejected));
    }
}

fn sizes(cases: &mut Vec<Case>) {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    cases.push(text(
        "10,000 deep",
        subscribe(&format!(",{}", deep(10_000))),
        Rejected,
    ));
    cases.push(text(
        "30,000 deep in an unknown event",
        format!("427[\"x\",{}]", deep(30_000)),
        Rejected,
    ));
    cases.push(text(
        "30,000 brackets unclosed",
        format!("427[\"subscribe\",{}", "[".repeat(30_000)),
        Rejected,
    ));
    cases.push(text(
        "60 kB in an unknown event",
        format!("427[\"x\",\"{}\"]", "x".repeat(60_000)),
        Refusal,
    ));
    cases.push(text(
        "60 kB event name",
        format!("427[\"{}\"]", "x".repeat(60_000)),
        Refusal,
    ));
    cases.push(text(
        "60 kB id",
        room(&format!("channel:{}", "x".repeat(60_000))),
        Refusal,
    ));
    let keys: Vec<String> = (0..5_000)
        .map(|number| format!("\"k{number}\":0"))
        .collect();
    cases.push(text(
        "5,000 keys",
        subscribe(&format!(",{{{}}}", keys.join(","))),
        Refusal,
    ));
    cases.push(text(
        "70 kB",
        room(&format!("channel:{}", "x".repeat(70_000))),
        Close,
    ));
    cases.push(text(
        "1 MB",
        room(&format!("channel:{}", "x".repeat(1_000_000))),
        Close,
    ));
}

fn attachments(cases: &mut Vec<Case>) {
    cases.push(text(
        "placeholder where none is",
        subscribe(",{\"_placeholder\":true,\"num\":0}"),
        Refusal,
    ));
    for (name, number) in [
        ("-1", "-1"),
        ("1e9", "1000000000"),
        ("splice", "\"splice\""),
        ("0", "0"),
    ] {
        let header = format!("451-7[\"subscribe\",{{\"_placeholder\":true,\"num\":{number}}}]");
        let messages = vec![Message::text(header), Message::binary(b"x".to_vec())];
        cases.push(Case {
            name: format!("attachment number {name}"),
            messages,
            expect: Rejected,
        });
    }
    let header = "451-7[\"subscribe\",{\"_placeholder\":true,\"num\":0}]";
    let interrupted = vec![
        Message::text(header),
        Message::text("428[\"no_such_event\"]"),
    ];
    cases.push(Case {
        name: "text where an attachment is due".to_owned(),
        messages: interrupted,
        expect: Rejected,
    });
    let large = vec![Message::text(header), Message::binary(vec![0; 100_000])];
    cases.push(Case {
        name: "attachment of 100 kB".to_owned(),
        messages: large,
        expect: Rejected,
    });
    for (name, frame) in [
        ("attachments without count", "45-[\"x\"]"),
        ("attachment count a letter", "45a-[\"x\"]"),
        (
            "attachment count too large",
            "4599999999999999999999-[\"x\"]",
        ),
        (
            "a billion attachments",
            "45999999999-[\"x\",{\"_placeholder\":true,\"num\":0}]",
        ),
    ] {
        cases.push(text(name, frame, Rejected));
    }
    let unasked = vec![Message::binary(vec![4, 2, 0xff])];
    cases.push(Case {
        name: "unsolicited binary".to_owned(),
        messages: unasked,
        expect: Harmless,
    });
}

fn packets(cases: &mut Vec<Case>) {
    for (name, frame, expect) in [
        ("empty frame", "", Rejected),
        ("unknown Engine.IO packet", "9", Rejected),
        ("words", "hello", Rejected),
        ("message without content", "4", Rejected),
        ("unknown Socket.IO packet", "49", Rejected),
        ("non-ASCII packet type", "\u{e9}", Rejected),
        // No command of ours: the library drops events of namespaces that the session is not connected to.
        (
            "event in another namespace",
            "42/nope,[\"rooms\"]",
            Harmless,
        ),
        ("event in an endless namespace", "42/nope", Harmless),
        ("CONNECT to /admin", "40/admin,{}", Rejected),
        ("CONNECT to /../", "40/../,{}", Rejected),
        (
            "CONNECT again with a bad token",
            "40{\"token\":\"x\"}",
            Harmless,
        ),
        (
            "CONNECT_ERROR from a client",
            "44{\"message\":\"x\"}",
            Harmless,
        ),
        ("an acknowledgement never asked for", "4399[]", Harmless),
        ("an open packet", "0{}", Harmless),
        ("an upgrade packet", "5", Harmless),
        ("a probe", "2probe", Harmless),
        // Node answers it with a number of its own; others close.
        (
            "ack id beyond 64 bits",
            "4299999999999999999999999[\"rooms\"]",
            Harmless,
        ),
        ("a noop", "6", Harmless),
        ("a pong too many", "3", Harmless),
    ] {
        cases.push(text(name, frame, expect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let cases = cases();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
    }
}
