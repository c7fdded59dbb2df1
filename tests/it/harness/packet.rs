//! Engine.IO and Socket.IO packets, read as a client reads them.

use fleetcast_core::domain::json;
use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// Engine.IO `0`.
    Open(Value),
    /// Engine.IO `1`: tells stock clients never to come back.
    Close,
    Ping,
    Noop,
    /// `3probe`.
    Probed,
    Connect {
        namespace: String,
    },
    /// Socket.IO `1`: tells stock clients never to come back.
    Disconnect,
    ConnectError {
        namespace: String,
        message: String,
    },
    Event(Event),
    Ack {
        namespace: String,
        id: u64,
        answer: Value,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The number under which it is to be acknowledged.
    pub(crate) ask: Option<u64>,
    pub(crate) args: Vec<Value>,
}

impl Event {
    /// The last argument, if it is a cursor.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.args
            .last()?
            .as_str()
            .filter(|text| text.starts_with("v1."))
    }
}

impl Packet {
    pub(crate) fn parse(text: &str) -> Self {
        let (kind, rest) = text.split_at(1);
        match kind {
            "0" => Self::Open(serde_json::from_str(rest).unwrap()),
            "1" => Self::Close,
            "2" => Self::Ping,
            "3" => Self::Probed,
            "4" => Self::message(rest),
            "6" => Self::Noop,
            _ => panic!("no packet of Engine.IO: {text:?}"),
        }
    }

    fn message(text: &str) -> Self {
        let (kind, mut rest) = text.split_at(1);
        let mut namespace = "/".to_owned();
        if rest.starts_with('/') {
            let (name, more) = rest.split_once(',').unwrap_or((rest, ""));
            name.clone_into(&mut namespace);
            rest = more;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, body) = rest.split_at(digits);
        // As clients do: a producer may have written half of a surrogate pair.
        let json = || json::parse(body).unwrap();
        match kind {
            "0" => Self::Connect { namespace },
            "1" => Self::Disconnect,
            "2" => {
                let Value::Array(mut args) = json() else {
                    panic!("no event: {text:?}");
                };
                let name = args.remove(0).as_str().unwrap().to_owned();
                Self::Event(Event {
                    namespace,
                    name,
                    ask: id.parse().ok(),
                    args,
                })
            }
            "3" => Self::Ack {
                namespace,
                id: id.parse().unwrap(),
                answer: json()[0].take(),
            },
            "4" => Self::ConnectError {
                namespace,
                message: json()["message"].as_str().unwrap().to_owned(),
            },
            _ => panic!("no packet of Socket.IO: {text:?}"),
        }
    }
}
