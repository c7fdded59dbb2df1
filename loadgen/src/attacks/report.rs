//! The tables of `loadgen attacks`, and what must not be.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::kind::Attack;
use super::trial::{Felt, Trial};
use crate::bench::tally::Faults;

/// One attack on both servers.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    #[serde(serialize_with = "name_of")]
    pub(super) attack: Attack,
    /// `None`: the limit has no setting.
    pub(super) unlimited: Option<Trial>,
    pub(super) limited: Trial,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn name_of<S: serde::Serializer>(attack: &Attack, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(attack.name())
}

impl Outcome {
    /// What has broken a promise, or shows that nothing was put to the test.
    pub(super) fn objections(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (trial, what) in self.trials() {
            let named = |text: &str| format!("{} {what}: {text}", self.attack.name());
            if trial.faults != Faults::default() {
                all.push(named(&format!("neighbours had {:?}", trial.faults)));
            }
            // One that is cut before the attack says nothing of the attack.
            if trial.attackers.sent == 0 && trial.cut.is_none() {
                all.push(named("nothing attacked"));
            }
        }
        let (limited, what) = (&self.limited, "with limits");
        let named = |text: String| format!("{} {what}: {text}", self.attack.name());
        // Without limits a server may fail its clients; this is what limits are for.
        if let Some(cut) = &limited.cut {
            all.push(named(format!("a neighbour was cut: {cut}")));
        }
        if let Some(first) = limited.turned_away.first() {
            let count = limited.turned_away.len();
            all.push(named(format!(
                "{count} good clients could not connect, the first: {first}"
            )));
        }
        let refused = |reason: &&str| limited.refused.contains_key(*reason);
        if !self.attack.reasons().iter().any(refused) {
            let reasons = self.attack.reasons().join(", ");
            all.push(named(format!("nothing was refused for {reasons}")));
        }
        all
    }

    fn trials(&self) -> impl Iterator<Item = (&Trial, &'static str)> {
        let unlimited = self.unlimited.iter().map(|trial| (trial, "without limits"));
        unlimited.chain([(&self.limited, "with limits")])
    }
}

impl Trial {
    /// Disconnects without those by which clients of this tool have left.
    fn by_the_server(&self) -> BTreeMap<&str, f64> {
        let counts = self
            .disconnected
            .iter()
            .map(|(reason, count)| (reason.as_str(), *count));
        let left = ["client_left", "transport_error"];
        counts
            .filter(|(reason, _)| !left.contains(reason))
            .collect()
    }
}

/// Over all trials.
pub(super) fn mean(outcomes: &[Outcome], of: fn(&Trial) -> f64) -> f64 {
    let trials = outcomes.iter().flat_map(Outcome::trials);
    let all: Vec<f64> = trials.map(|(trial, _)| of(trial)).collect();
    all.iter().sum::<f64>() / crate::latency::ratio(all.len().max(1) as u64, 1)
}

/// In Markdown.
pub(super) fn tables(outcomes: &[Outcome]) -> String {
    let mut text = "Append to client of the neighbours, p99 in ms, and how long a good client took to connect, p99 in ms:\n\n\
        | | attack | calm | attack, no limits | attack, limits | after, limits | connect, calm | attack, no limits | attack, limits |\n\
        |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for outcome in outcomes {
        let of =
            |trial: Option<&Trial>, felt: fn(&Trial) -> Option<Felt>, value: fn(Felt) -> f64| {
                let Some(trial) = trial else {
                    return "-".to_owned();
                };
                felt(trial).map_or_else(
                    || "**cut**".to_owned(),
                    |felt| format!("{:.1}", value(felt)),
                )
            };
        let (without, with) = (outcome.unlimited.as_ref(), Some(&outcome.limited));
        let (p99, connect) = (|felt: Felt| felt.p99, |felt: Felt| felt.connect_p99);
        push(
            &mut text,
            &[
                outcome.attack.name().to_owned(),
                outcome.attack.title().to_owned(),
                of(with, |trial| trial.calm, p99),
                of(without, |trial| trial.under_attack, p99),
                of(with, |trial| trial.under_attack, p99),
                of(with, |trial| trial.after, p99),
                of(with, |trial| trial.calm, connect),
                of(without, |trial| trial.under_attack, connect),
                of(with, |trial| trial.under_attack, connect),
            ],
        );
    }
    text.push_str(
        "\nWhat the attackers did, what it cost, and what was refused:\n\n\
         | | limits | sent, 1/s | answers, by HTTP status | closed | silent | server busy, % | RSS, MiB | refused | ended by the server |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in outcomes {
        for (trial, what) in outcome.trials() {
            let spoils = &trial.attackers;
            let per_second = crate::latency::ratio(spoils.sent, 1) / trial.attack_seconds.max(0.1);
            push(
                &mut text,
                &[
                    outcome.attack.name().to_owned(),
                    if what == "with limits" { "yes" } else { "no" }.to_owned(),
                    format!("{per_second:.0} {}", outcome.attack.unit()),
                    listed(&spoils.statuses),
                    spoils.closed.to_string(),
                    spoils.silent.to_string(),
                    format!("{:.0}", 100.0 * trial.server_busy),
                    format!("+{:.1}", trial.rss_growth_mib),
                    listed(&trial.refused),
                    listed(&trial.by_the_server()),
                ],
            );
        }
    }
    text
}

fn push(text: &mut String, cells: &[String]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a String does not fail");
}

fn listed<K: std::fmt::Display, V: std::fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    let each = counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::attacker::Spoils;
    use super::*;

    fn trial(p99: f64) -> Trial {
        let felt = Felt {
            p50: 1.0,
            p99,
            connect_p99: 3.0,
            deliveries: 10_000.0,
        };
        Trial {
            calm: Some(felt),
            under_attack: Some(felt),
            after: Some(felt),
            attack_seconds: 10.0,
            attackers: Spoils {
                sent: 5_000,
                statuses: [(101, 60), (503, 4_940)].into(),
                ..Spoils::default()
            },
            ..Trial::default()
        }
    }

    fn outcome() -> Outcome {
        let mut limited = trial(4.0);
        limited.refused.insert("handshake_rate".to_owned(), 4_940.0);
        Outcome {
            attack: Attack::Churn,
            unlimited: Some(trial(40.0)),
            limited,
        }
    }

    #[test]
    fn an_attack_that_only_the_attackers_notice_has_no_objection() {
        assert_eq!(outcome().objections(), Vec::<String>::new());
    }

    #[test]
    fn what_neighbours_lose_is_an_objection_with_limits_or_without() {
        let faults = Faults {
            lost: 1,
            ..Faults::default()
        };
        let mut without = outcome();
        without.unlimited.as_mut().expect("there").faults = faults;
        let mut with = outcome();
        with.limited.faults = faults;
        for lost in [without, with] {
            assert_eq!(lost.objections().len(), 1, "{:?}", lost.objections());
        }
    }

    #[test]
    fn cut_neighbours_and_clients_turned_away_are_objections_with_limits_only() {
        type Change = fn(&mut Trial);
        let changes: [Change; 2] = [
            |trial| trial.cut = Some("client 7".to_owned()),
            |trial| trial.turned_away.push("status 503".to_owned()),
        ];
        for change in changes {
            let mut without = outcome();
            change(without.unlimited.as_mut().expect("there"));
            assert_eq!(without.objections(), Vec::<String>::new());
            let mut with = outcome();
            change(&mut with.limited);
            assert_eq!(with.objections().len(), 1, "{:?}", with.objections());
        }
    }

    #[test]
    fn a_limit_that_refused_nothing_and_an_attack_that_was_none_are_objections() {
        let mut unlimited = outcome();
        unlimited.limited.refused = [("ip_limit".to_owned(), 1.0)].into();
        let objections = unlimited.objections();
        assert_eq!(objections.len(), 1, "{objections:?}");
        assert!(objections[0].contains("handshake_rate"), "{objections:?}");
        let mut idle = outcome();
        idle.unlimited.as_mut().expect("there").attackers.sent = 0;
        assert_eq!(idle.objections().len(), 1, "{:?}", idle.objections());
    }

    #[test]
    fn the_tables_show_each_attack_with_limits_and_without() {
        let mut slow = outcome();
        slow.attack = Attack::SlowBodies;
        slow.unlimited = None;
        slow.limited.after = None;
        slow.limited.disconnected = [
            ("client_left".to_owned(), 7.0),
            ("msg_rate".to_owned(), 2.0),
        ]
        .into();
        let text = tables(&[outcome(), slow]);
        for row in [
            "| a10 | 500 WebSockets a second of one address, opened and closed | 4.0 | 40.0 | 4.0 | 4.0 | 3.0 | 3.0 | 3.0 |",
            "| slow-bodies | 500 request bodies at 100 bytes a second | 4.0 | - | 4.0 | **cut** | 3.0 | - | 3.0 |",
            "| a10 | no | 500 connections | 101: 60, 503: 4940 | 0 | 0 | 0 | +0.0 |  |  |",
            "| a10 | yes | 500 connections | 101: 60, 503: 4940 | 0 | 0 | 0 | +0.0 | handshake_rate: 4940 |  |",
            "| slow-bodies | yes | 500 bodies | 101: 60, 503: 4940 | 0 | 0 | 0 | +0.0 | handshake_rate: 4940 | msg_rate: 2 |",
        ] {
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
    }
}
