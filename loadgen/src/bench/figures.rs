//! Figures by name, their medians, and the table that compares them with what must be reached.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::rows::{Goal, ROWS, Row};
use super::server::ServerKind;

/// How much of the server's core processes took that do not belong to the run, in percent.
pub(crate) const OTHERS: &str = "others_percent";
/// How much of it other virtual machines took, in percent.
pub(crate) const STOLEN: &str = "stolen_percent";

/// What one case has measured. A name is `measurement.figure`: a case may make several measurements.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Takes over another's figures under the name of a measurement.
    pub(crate) fn add(&mut self, measurement: &str, other: Self) {
        let named = other
            .0
            .into_iter()
            .map(|(name, value)| (format!("{measurement}.{name}"), value));
        self.0.extend(named);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// All rounds of all servers.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By label and name.
    all: BTreeMap<(String, String), Vec<f64>>,
    /// In the order of their first result.
    servers: Vec<(String, ServerKind)>,
}

impl Results {
    pub(crate) fn add(&mut self, label: &str, kind: ServerKind, figures: &Figures) {
        if !self.servers.iter().any(|(known, _)| known == label) {
            self.servers.push((label.to_owned(), kind));
        }
        for (name, value) in figures.iter() {
            let key = (label.to_owned(), name.to_owned());
            self.all.entry(key).or_default().push(value);
        }
    }

    pub(crate) fn median(&self, label: &str, name: &str) -> Option<f64> {
        let values = self.all.get(&(label.to_owned(), name.to_owned()))?;
        median(values)
    }

    fn of_kind(&self, kind: ServerKind) -> impl Iterator<Item = &str> {
        let servers = self.servers.iter().filter(move |(_, other)| *other == kind);
        servers.map(|(label, _)| label.as_str())
    }

    /// The median of a peer.
    fn peer(&self, kind: ServerKind, name: &str) -> Option<f64> {
        self.of_kind(kind)
            .find_map(|label| self.median(label, name))
    }

    /// How much of the servers' core others took, in percent: the mean over all measurements of [`OTHERS`] or [`STOLEN`].
    pub(crate) fn mean(&self, figure: &str) -> f64 {
        let named = self
            .all
            .iter()
            .filter(|((_, name), _)| name.ends_with(figure));
        let values: Vec<f64> = named.flat_map(|(_, values)| values).copied().collect();
        values.iter().sum::<f64>() / crate::latency::ratio(values.len().max(1) as u64, 1)
    }

    /// A table in Markdown for each Fleetcast, and how many of its goals were missed.
    pub(crate) fn tables(&self) -> (String, usize) {
        let (mut text, mut missed) = (String::new(), 0);
        let labels: Vec<&str> = self.of_kind(ServerKind::Fleetcast).collect();
        for label in &labels {
            if labels.len() > 1 {
                text.extend(["Fleetcast `", label, "`:\n\n"]);
            }
            let title = if labels.len() > 1 { label } else { "Fleetcast" };
            text.extend([
                "| | unit | ",
                title,
                " | bare writer | Node | x bare | x Node | must reach | |\n",
                "|---|---|---|---|---|---|---|---|---|\n",
            ]);
            for row in ROWS {
                missed += usize::from(self.push_row(&mut text, row, label) == Some(false));
            }
            text.push('\n');
        }
        (text, missed)
    }

    /// Rows that no server has a figure for: a name that no case sets, or a metric that the server lacks.
    pub(crate) fn empty_rows(&self) -> Vec<&'static str> {
        let names = ROWS.iter().map(|row| row.name);
        let is_measured = |wanted: &str| self.all.keys().any(|(_, name)| name == wanted);
        names.filter(|name| !is_measured(name)).collect()
    }

    /// Whether the goals were reached; `None`: there is none, or it was not measured.
    fn push_row(&self, text: &mut String, row: &Row, label: &str) -> Option<bool> {
        let own = self.median(label, row.name);
        let bare = self.peer(ServerKind::Bare, row.name);
        let node = self.peer(ServerKind::Node, row.name);
        own.or(bare).or(node)?;
        let over = |peer: Option<f64>| {
            own.zip(peer)
                .filter(|(_, peer)| *peer > 0.0)
                .map(|(own, peer)| own / peer)
        };
        let reached = row.goals.iter().filter_map(|goal| {
            Some(match goal {
                Goal::AtMost(limit) => own? <= *limit,
                Goal::AtLeast(limit) => own? >= *limit,
                Goal::OfBare(limit) => over(bare)? <= *limit,
                Goal::OfNode(limit) => over(node)? <= *limit,
            })
        });
        let reached = reached.reduce(|all, one| all && one);
        let goals: Vec<String> = row.goals.iter().map(Goal::text).collect();
        let verdict = match reached {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let cell =
            |value: Option<f64>| value.map_or_else(String::new, |value| number(value, row.digits));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {verdict} |",
            row.title,
            row.unit,
            cell(own),
            cell(bare),
            cell(node),
            over(bare).map_or_else(String::new, |value| number(value, 2)),
            over(node).map_or_else(String::new, |value| number(value, 2)),
            goals.join(", ")
        )
        .expect("writing to a String does not fail");
        reached
    }

    /// Every value of every round.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut servers = serde_json::Map::new();
        for ((label, name), values) in &self.all {
            let server = servers
                .entry(label.clone())
                .or_insert_with(|| serde_json::json!({}));
            server[name.as_str()] =
                serde_json::json!({ "median": median(values), "rounds": values });
        }
        servers.into()
    }
}

/// The lower of the two in the middle, where there are two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

fn number(value: f64, digits: usize) -> String {
    if value.is_infinite() {
        return "more".to_owned();
    }
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(own: &[f64], bare: f64, node: f64) -> Results {
        let mut results = Results::default();
        let figures = |value: f64| {
            let mut inner = Figures::default();
            inner.set("cpu_us", value);
            let mut figures = Figures::default();
            figures.add("fan_out", inner);
            figures
        };
        for value in own {
            results.add("main", ServerKind::Fleetcast, &figures(*value));
        }
        results.add("bare", ServerKind::Bare, &figures(bare));
        results.add("node", ServerKind::Node, &figures(node));
        results
    }

    #[test]
    fn medians_are_compared_with_both_peers() {
        let (text, missed) = results(&[9.0, 6.0, 5.0], 5.5, 12.0).tables();
        assert_eq!(missed, 0, "{text}");
        assert!(
            text.contains("| 6.00 | 5.50 | 12.00 | 1.09 | 0.50 |"),
            "{text}"
        );
        let (text, missed) = results(&[9.0, 6.0, 5.0], 4.0, 12.0).tables();
        assert_eq!(missed, 1, "{text}");
    }

    #[test]
    fn rows_without_a_figure_are_named() {
        let empty = results(&[9.0], 5.5, 12.0).empty_rows();
        assert_eq!(empty.len(), ROWS.len() - 1);
        assert!(!empty.contains(&"fan_out.cpu_us"), "{empty:?}");
    }

    #[test]
    fn names_of_rows_are_told_apart() {
        for row in ROWS {
            let same = ROWS.iter().filter(|other| other.name == row.name);
            assert_eq!(same.count(), 1, "{}", row.name);
        }
    }
}
