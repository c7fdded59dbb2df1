//! Reads the server's Prometheus text: a black box may look at what operators look at.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::http;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Counters only (`…_total`), by series: name and labels as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// `internal`: `http://host:port` of the internal listener. Blocks for a few milliseconds.
    pub(crate) fn fetch(internal: &str) -> Result<Self> {
        let authority = internal
            .strip_prefix("http://")
            .context("the internal address must start with http://")?;
        let authority = authority.trim_end_matches('/');
        let address = authority
            .to_socket_addrs()?
            .next()
            .with_context(|| format!("{authority:?} has no address"))?;
        let (status, body) =
            http::get(address, "/metrics", TIMEOUT).context("cannot read the metrics")?;
        if status != 200 {
            bail!("/metrics answered {status}");
        }
        Ok(Self::parse(&body))
    }

    pub(crate) fn parse(body: &str) -> Self {
        let series = body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let name = series.split('{').next()?;
                Some((series.to_owned(), value.parse().ok()?)).filter(|_| name.ends_with("_total"))
            });
        Self(series.collect())
    }

    /// What has grown since `before`.
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<String, f64> {
        let grown = |series: &String, now: f64| now - before.0.get(series).copied().unwrap_or(0.0);
        self.0
            .iter()
            .map(|(series, now)| (series.clone(), grown(series, *now)))
            .filter(|(_, growth)| *growth != 0.0)
            .collect()
    }
}

/// The value of a label in a series name.
pub(crate) fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let labels = series.split_once('{')?.1;
    labels.split(',').find_map(|label| {
        label
            .strip_prefix(name)?
            .strip_prefix("=\"")?
            .split('"')
            .next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_compared_by_series() {
        let before = Counters::parse("# HELP x\na_total{outcome=\"ok\"} 1\nb 7\n");
        let after = Counters::parse(
            "a_total{outcome=\"ok\"} 3\na_total{topic=\"t\",outcome=\"bad\"} 1\nb 9\nc_total 0\n",
        );
        let grown = after.since(&before);
        let expected = [
            ("a_total{outcome=\"ok\"}", 2.0),
            ("a_total{topic=\"t\",outcome=\"bad\"}", 1.0),
        ];
        assert_eq!(
            grown,
            expected
                .map(|(series, value)| (series.to_owned(), value))
                .into()
        );
        assert_eq!(
            label("a_total{topic=\"t\",outcome=\"bad\"}", "outcome"),
            Some("bad")
        );
        assert_eq!(label("a_total", "outcome"), None);
    }
}
