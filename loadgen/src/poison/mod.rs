//! `loadgen poison`: broken records between good ones, in one partition. The good ones arrive, in order, at their own
//! organisation; a broken one reaches no client, and the server counts it.

mod cases;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::Common;
use crate::metrics::{Counters, label};
use crate::probe::{Neighbours, ORGANISATIONS, Stray, listed};
use crate::producer::create_topic;
use crate::socket::Endpoint;
use cases::{Case, Expect, cases};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Topic to produce to; no other program may use it meanwhile, or the counts do not add up
    #[arg(long, default_value = "transmission")]
    topic: String,
    /// Make the topic with so many partitions if it is not there
    #[arg(long, value_name = "PARTITIONS")]
    create_topic: Option<i32>,
    /// Internal listener of the server: without it, counting is not checked
    #[arg(long, value_name = "URL")]
    internal: Option<String>,
}

const RECORDS: &str = "fleetcast_records_total";

pub(crate) fn run(args: &Args) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_all(args))
}

async fn run_all(args: &Args) -> Result<bool> {
    if let Some(partitions) = args.create_topic {
        create_topic(&args.common.brokers, &args.topic, partitions, &[]).await?;
    }
    let endpoint = Endpoint::parse(&args.common.url, &args.common.path)?;
    let mut neighbours = Neighbours::connect(&args.common, &args.topic, &endpoint).await?;
    let before = fetch(args)?;
    let strays = neighbours.round().await.context("the first good records")?;
    let good_outcome = good_outcome(&growth(fetch(args)?.as_ref(), before.as_ref()));
    let mut wrong = strays.len();
    show(&format!(
        "good records count as {}; unexplained events at the start: {}",
        good_outcome.as_deref().unwrap_or("nothing"),
        strays.len()
    ));

    let cases = cases();
    let count = cases.len();
    for case in cases {
        let row = try_case(args, &mut neighbours, &case, good_outcome.as_deref()).await?;
        wrong += usize::from(!row.problems.is_empty());
        show(&row.text(&case));
    }
    show(&format!("{count} kinds of record, {wrong} wrong"));
    Ok(wrong == 0)
}

/// What happened to one record.
#[derive(Debug, Default)]
struct Row {
    refused: Option<String>,
    reached: Vec<Stray>,
    /// Outcome label -> growth, without the good records.
    outcomes: BTreeMap<String, f64>,
    problems: Vec<String>,
}

async fn try_case(
    args: &Args,
    neighbours: &mut Neighbours,
    case: &Case,
    good: Option<&str>,
) -> Result<Row> {
    let before = fetch(args)?;
    let refused = neighbours
        .produce(&case.record)
        .await
        .err()
        .map(|error| error.to_string());
    // A good one that does not arrive any more ends the test: nothing after it would mean anything.
    let reached = neighbours
        .round()
        .await
        .with_context(|| format!("after {}", case.name))?;
    let mut outcomes = growth(fetch(args)?.as_ref(), before.as_ref());
    if let Some(count) = good.and_then(|good| outcomes.get_mut(good)) {
        *count -= 2.0;
    }
    outcomes.retain(|_, count| *count != 0.0);
    let mut row = Row {
        refused,
        reached,
        outcomes,
        problems: Vec::new(),
    };
    if row.refused.is_none() {
        row.problems = problems(case, &row, good, args.internal.is_some());
    }
    Ok(row)
}

fn problems(case: &Case, row: &Row, good: Option<&str>, counted: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let may = match case.expect {
        Expect::Skipped | Expect::NoClient => None,
        Expect::Delivered(side) | Expect::MayReach(side) => Some(side),
    };
    if row.reached.iter().any(|stray| Some(stray.side) != may) || row.reached.len() > 1 {
        problems.push(listed(&row.reached));
    }
    if matches!(case.expect, Expect::Delivered(_)) && row.reached.is_empty() {
        problems.push("did not arrive".to_owned());
    }
    if counted {
        let total: f64 = row.outcomes.values().sum();
        if (total - 1.0).abs() > f64::EPSILON {
            problems.push(format!("counted {total} times"));
        }
        if case.expect == Expect::Skipped
            && good.is_some_and(|good| row.outcomes.contains_key(good))
        {
            problems.push("counted as a good record".to_owned());
        }
    }
    problems
}

impl Row {
    fn text(&self, case: &Case) -> String {
        let outcome = match (&self.refused, self.outcomes.is_empty()) {
            (Some(why), _) => format!("refused by the broker: {why}"),
            (None, true) => "-".to_owned(),
            (None, false) => self.outcomes.keys().cloned().collect::<Vec<_>>().join("+"),
        };
        let reached: Vec<&str> = self
            .reached
            .iter()
            .map(|stray| ORGANISATIONS[stray.side])
            .collect();
        let reached = if reached.is_empty() {
            "no client".to_owned()
        } else {
            reached.join("+")
        };
        let verdict = if self.problems.is_empty() {
            "ok".to_owned()
        } else {
            format!("WRONG: {}", self.problems.join("; "))
        };
        format!(
            "{:<38} {:<14} {:<8} {:<22} {verdict}",
            case.name,
            case.expect.text(),
            reached,
            outcome
        )
    }
}

fn fetch(args: &Args) -> Result<Option<Counters>> {
    args.internal.as_deref().map(Counters::fetch).transpose()
}

/// Growth of the record counter by outcome, over all topics.
fn growth(after: Option<&Counters>, before: Option<&Counters>) -> BTreeMap<String, f64> {
    let mut outcomes = BTreeMap::new();
    if let Some((after, before)) = after.zip(before) {
        for (series, growth) in after.since(before) {
            if series.starts_with(RECORDS) {
                *outcomes
                    .entry(label(&series, "outcome").unwrap_or("none").to_owned())
                    .or_default() += growth;
            }
        }
    }
    outcomes
}

/// The label under which two good records were counted.
fn good_outcome(outcomes: &BTreeMap<String, f64>) -> Option<String> {
    outcomes
        .iter()
        .find(|(_, growth)| (**growth - 2.0).abs() < f64::EPSILON)
        .map(|(outcome, _)| outcome.clone())
}

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn show(line: &str) {
    println!("{line}");
}
