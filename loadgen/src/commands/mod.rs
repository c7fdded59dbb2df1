//! `loadgen commands`: broken client packets, each on a connection of its own. Each is answered with an error or the
//! connection closed, nothing of it reaches anybody else, and the neighbours go on being served.

mod cases;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use crate::Common;
use crate::clock::Clock;
use crate::probe::{Heard, Neighbours, ORGANISATIONS, Probe, Stray, head, listed, minter};
use crate::protocol::{field, is_success};
use crate::socket::Endpoint;
use cases::{Case, Expect, cases};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Topic of the good records that the neighbours live on
    #[arg(long, default_value = "transmission")]
    topic: String,
    /// Do without Kafka: that neighbours are served is then seen from their commands alone
    #[arg(long)]
    without_kafka: bool,
}

/// How long an answer may take; silence is known after that.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &Args) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_all(args))
}

async fn run_all(args: &Args) -> Result<bool> {
    let endpoint = Endpoint::parse(&args.common.url, &args.common.path)?;
    let mut neighbours = Neighbours::connect(&args.common, &args.topic, &endpoint).await?;
    let minter = minter(&args.common, Clock::start())?;
    serve(args, &mut neighbours)
        .await
        .context("before the first case")?;
    let cases = cases();
    let (count, mut wrong) = (cases.len(), 0);
    for (number, case) in cases.into_iter().enumerate() {
        // A user each: limits per user are another test's matter.
        let token = minter.dispatcher(&format!("lg-attacker-{number}"), ORGANISATIONS[0])?;
        let mut attacker = Probe::connect(&endpoint, &token)
            .await
            .with_context(|| format!("before {}", case.name))?;
        let answer = attack(&mut attacker, &case).await;
        let mut problems: Vec<String> = case.expect.objection(&answer).into_iter().collect();
        match serve(args, &mut neighbours).await {
            Ok(strays) if strays.is_empty() => {}
            Ok(strays) => problems.push(listed(&strays)),
            // Neighbours that are no longer served end the test: nothing after it would mean anything.
            Err(error) => return Err(error.context(format!("after {}", case.name))),
        }
        wrong += usize::from(!problems.is_empty());
        let verdict = if problems.is_empty() {
            "ok".to_owned()
        } else {
            format!("WRONG: {}", problems.join("; "))
        };
        show(&format!(
            "{:<40} {:<10} {:<44} {verdict}",
            case.name,
            case.expect.text(),
            answer.text()
        ));
    }
    show(&format!("{count} kinds of packet, {wrong} wrong"));
    Ok(wrong == 0)
}

async fn serve(args: &Args, neighbours: &mut Neighbours) -> Result<Vec<Stray>> {
    let mut strays = neighbours.are_served().await?;
    if !args.without_kafka {
        strays.extend(neighbours.round().await?);
    }
    Ok(strays)
}

/// What became of one packet.
#[derive(Debug)]
enum Answer {
    /// An acknowledgement that says success.
    Success,
    /// An acknowledgement with an error: its reason.
    ErrorAck(String),
    /// An acknowledgement in another shape than the contract's.
    OddAck(String),
    ErrorEvent(String),
    ConnectError(String),
    Closed(String),
    /// Nothing, and a good command was answered afterwards.
    Ignored,
    /// Nothing, and a good command was not answered either.
    Dead(String),
}

async fn attack(attacker: &mut Probe, case: &Case) -> Answer {
    for message in &case.messages {
        // A failed write shows as a closed connection below.
        if !attacker.say(message.clone()).await {
            break;
        }
    }
    let answer = listen(attacker).await;
    match answer {
        Some(closed @ Answer::Closed(_)) => closed,
        // Refused, and the connection lives on: then it must still work.
        Some(answer) => match attacker.is_served().await {
            Ok(_) => answer,
            Err(error) if case.expect.may_close_after() => {
                Answer::Closed(format!("{} and {error:#}", answer.text()))
            }
            Err(error) => Answer::Dead(format!("{} and {error:#}", answer.text())),
        },
        None => match attacker.is_served().await {
            Ok(_) => Answer::Ignored,
            Err(error) => Answer::Dead(format!("{error:#}")),
        },
    }
}

/// The first answer to the packet.
async fn listen(attacker: &mut Probe) -> Option<Answer> {
    let until = Instant::now() + ANSWER_WITHIN;
    loop {
        match attacker.hear(until).await? {
            Heard::Event(name, payload) if name == "error" => {
                return Some(Answer::ErrorEvent(
                    field(&payload, "reason").unwrap_or("no reason").to_owned(),
                ));
            }
            Heard::Event(_, _) => {}
            Heard::Ack(_, args) if is_success(&args) => return Some(Answer::Success),
            Heard::Ack(_, args) if field(&args, "status") == Some("error") => {
                return Some(field(&args, "reason").map_or_else(
                    || Answer::OddAck(head(&args, 80)),
                    |reason| Answer::ErrorAck(reason.to_owned()),
                ));
            }
            Heard::Ack(_, args) => return Some(Answer::OddAck(head(&args, 80))),
            Heard::ConnectError(text) => return Some(Answer::ConnectError(head(&text, 80))),
            Heard::Closed(text) => return Some(Answer::Closed(head(&text, 80))),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        match self {
            Self::Success => "success".to_owned(),
            Self::ErrorAck(reason) => format!("error ack: {reason}"),
            Self::OddAck(text) => format!("odd ack: {text}"),
            Self::ErrorEvent(reason) => format!("error event: {reason}"),
            Self::ConnectError(text) => format!("connect_error {text}"),
            Self::Closed(text) => format!("closed: {text}"),
            Self::Ignored => "ignored".to_owned(),
            Self::Dead(text) => format!("no answer, connection dead: {text}"),
        }
    }
}

impl Expect {
    /// What is wrong with this answer, if anything.
    fn objection(self, answer: &Answer) -> Option<String> {
        let fine = match (self, answer) {
            (_, Answer::OddAck(_) | Answer::Dead(_)) => false,
            (Self::Refusal, answer) => matches!(answer, Answer::ErrorAck(_)),
            (Self::ErrorEvent, answer) => matches!(answer, Answer::ErrorEvent(_)),
            (Self::Close, answer) => matches!(answer, Answer::Closed(_)),
            (Self::Answered, answer) => matches!(answer, Answer::ErrorAck(_) | Answer::Success),
            (Self::Rejected, answer) => !matches!(answer, Answer::Success | Answer::Ignored),
            (Self::Harmless, answer) => !matches!(answer, Answer::Success),
        };
        (!fine).then(|| format!("wanted {}", self.text()))
    }

    /// A refused command leaves the connection alone; garbage may be answered and then closed.
    fn may_close_after(self) -> bool {
        matches!(self, Self::Rejected | Self::Harmless | Self::Close)
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn show(line: &str) {
    println!("{line}");
}
