//! What is counted by parts that know nothing of metrics, shown on request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use fleetcast_core::domain::protocol::ResyncReason;
use fleetcast_core::domain::route::RouteTable;
use fleetcast_core::hub::resume::Resumption;
use fleetcast_core::hub::{HubStatistics, OTHER_EVENTS};
use serde_json::{Value, json};

use super::log_reader::LogReader;
use crate::clock;
use crate::lifecycle::resident_bytes;
use crate::net::{ConnectionTable, NetStats};
use crate::session::{Sessions, SharedHub};
use crate::telemetry::labels::{Component, Label, RejectReason, Undelivered};
use crate::telemetry::metrics::EventMetrics;
use crate::telemetry::{Metrics, render_lag};

/// The counters of the profile's events, and of all others together. Records cannot add to them; only a profile names events.
pub(super) struct EventCounters {
    metrics: Metrics,
    hub: Arc<SharedHub>,
    by_event: ArcSwap<BTreeMap<String, EventMetrics>>,
}

impl EventCounters {
    pub(super) fn new(metrics: &Metrics, hub: &Arc<SharedHub>, routes: &RouteTable) -> Arc<Self> {
        let others = (OTHER_EVENTS.to_owned(), metrics.other_events());
        let counters = Self {
            metrics: metrics.clone(),
            hub: hub.clone(),
            by_event: ArcSwap::from_pointee(BTreeMap::from([others])),
        };
        counters.learn(routes);
        Arc::new(counters)
    }

    /// Adds the events of another profile. Those of the one before may still come: the window has them.
    pub(super) fn learn(&self, routes: &RouteTable) {
        self.hub.with(|hub, _| hub.name_events(routes.events()));
        let mut by_event = BTreeMap::clone(&self.by_event.load());
        for event in routes.events() {
            if !by_event.contains_key(event) {
                by_event.insert(event.to_owned(), self.metrics.event(event));
            }
        }
        self.by_event.store(Arc::new(by_event));
    }
}

/// The parts whose numbers are shown.
pub(super) struct ScrapeSources {
    pub(super) metrics: Metrics,
    pub(super) hub: Arc<SharedHub>,
    pub(super) log: Arc<LogReader>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) events: Arc<EventCounters>,
}

pub(super) struct Scrape {
    sources: ScrapeSources,
    /// Of both listeners, with what was shown of each already.
    tables: Mutex<Vec<(Arc<ConnectionTable>, NetStats)>>,
    started_ms: u64,
}

impl Scrape {
    pub(super) fn new(sources: ScrapeSources, tables: [Arc<ConnectionTable>; 2]) -> Self {
        let tables = tables.map(|table| (table, NetStats::default()));
        Self {
            sources,
            tables: Mutex::new(tables.into()),
            started_ms: clock::monotonic_ms(),
        }
    }

    /// `/metrics`, in Prometheus' text format.
    pub(super) fn render(&self) -> String {
        let ScrapeSources {
            metrics,
            hub,
            log,
            sessions,
            events,
        } = &self.sources;
        let snapshot = hub.with(|hub, now| hub.statistics(now));
        let events = events.by_event.load();
        for (event, count) in &snapshot.counts.deliveries {
            if let Some(metrics) = events.get(&**event) {
                metrics.deliveries.absolute(*count);
            }
        }
        let behind = snapshot.counts.resyncs[ResyncReason::Evicted as usize];
        metrics
            .undelivered
            .absolute(Undelivered::BehindWindow, behind);
        metrics
            .undelivered
            .absolute(Undelivered::Conflated, snapshot.counts.conflated);
        metrics
            .undelivered
            .absolute(Undelivered::Volatile, snapshot.counts.volatile_dropped);
        metrics.lagging.set(to_f64(snapshot.lagging));
        metrics.window_seconds.set(seconds(snapshot.window_age_ms));
        metrics.window_bytes.set(to_f64(snapshot.window_bytes));
        let limit = to_f64(snapshot.window_limit);
        metrics.window_limit_bytes.set(limit);
        if let Ok(resident) = resident_bytes() {
            let resident = usize::try_from(resident).unwrap_or(usize::MAX);
            metrics.resident_bytes.set(to_f64(resident));
        }
        metrics.grants.set(to_f64(sessions.grants()));
        metrics.revocations.set(to_f64(sessions.revocations()));
        metrics.latest_bytes.set(to_f64(snapshot.latest_bytes));
        metrics.latest_records.set(to_f64(snapshot.latest_records));
        metrics
            .latest_evicted
            .absolute(snapshot.counts.latest_evicted);
        let status = log.status();
        metrics.kafka_up.set(if status.contact { 1.0 } else { 0.0 });
        let lag = render_lag(status.partitions.iter().map(|partition| {
            let records = usize::try_from(partition.lag).unwrap_or(usize::MAX);
            (&*partition.topic, partition.number, to_f64(records))
        }));
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for (table, shown) in tables.iter_mut() {
            let stats = table.stats();
            show_refusals(metrics, shown, &stats);
            metrics
                .lane_writes
                .increment(stats.lane_writes - shown.lane_writes);
            *shown = stats;
        }
        drop(tables);
        metrics.render() + &lag
    }

    /// `/stats`: a superset of what the neighbouring services show.
    pub(super) fn stats(&self) -> Value {
        let ScrapeSources {
            metrics,
            hub,
            log,
            sessions,
            ..
        } = &self.sources;
        let snapshot = hub.with(|hub, now| hub.statistics(now));
        let (status, routes) = (log.status(), log.routes());
        let partitions: Vec<Value> = status
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "topic": &*partition.topic,
                    "partition": partition.number,
                    "position": partition.position,
                    "high": partition.high,
                    "lag": partition.lag,
                })
            })
            .collect();
        let emitted = snapshot.counts.deliveries.values().sum::<u64>();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": clock::monotonic_ms().saturating_sub(self.started_ms) / 1000,
            "connections": snapshot.connections,
            "sessions": sessions.admitted(),
            "lagging": snapshot.lagging,
            "organizations": snapshot.organisations,
            "rooms": rooms(&snapshot),
            "records_published": snapshot.counts.publications,
            "events_emitted": emitted,
            "active_connections": snapshot.connections,
            "total_connections": metrics.total_connects(),
            "total_disconnections": metrics.disconnects.total(),
            "total_rooms": snapshot.rooms.values().map(|count| count.rooms).sum::<usize>(),
            "messages_sent": emitted,
            "messages_received": metrics.commands.total(),
            "deliveries": snapshot.counts.deliveries.iter().filter(|(_, count)| **count > 0).map(|(event, count)| (event.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "starts": Resumption::NAMES.iter().zip(snapshot.counts.starts).map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "resyncs": ResyncReason::ALL.iter().map(|reason| (reason.as_str().to_owned(), json!(snapshot.counts.resyncs[*reason as usize]))).collect::<serde_json::Map<_, _>>(),
            "window": {
                "seconds": snapshot.window_age_ms / 1000,
                "bytes": snapshot.window_bytes,
                "publications": snapshot.window_entries,
                "limit_bytes": snapshot.window_limit,
                "evicted_early": snapshot.counts.evicted_early,
            },
            "latest": {
                "bytes": snapshot.latest_bytes,
                "records": snapshot.latest_records,
                "evicted": snapshot.counts.latest_evicted,
                "conflated": snapshot.counts.conflated,
            },
            "kafka": {
                "connected": status.contact,
                "caught_up": status.caught_up,
                "restarts": status.restarts,
                "lag": status.partitions.iter().map(|partition| partition.lag).sum::<u64>(),
                "missing_topics": status.missing_of(routes.topic_groups()),
                "partitions": partitions,
            },
        })
    }
}

/// Connections that ended by what their requests were like. Added to what others count under the same reasons, so by
/// the difference to the scrape before.
fn show_refusals(metrics: &Metrics, before: &NetStats, now: &NetStats) {
    let closed = |stats: &NetStats, label| stats.closed.get(label).copied().unwrap_or(0);
    let refused = &metrics.refused;
    for reason in [
        RejectReason::HeaderTimeout,
        RejectReason::HeaderLimit,
        RejectReason::BadHttp,
        RejectReason::BadUpgrade,
        RejectReason::BodyTimeout,
        RejectReason::ProxyPreamble,
    ] {
        let label = reason.as_str();
        refused.add(reason, closed(now, label) - closed(before, label));
    }
    refused.add(RejectReason::MaxConnections, now.refused - before.refused);
    let of_peers = now.refused_peers - before.refused_peers;
    refused.add(RejectReason::IpLimit, of_peers);
    let accept = now.accept_errors - before.accept_errors;
    refused.add(RejectReason::Accept, accept);
    metrics.errors.add(Component::Net, accept);
}

/// By kind, as people look for them: `{"channel:*": {"rooms": 3, "members": 12}}`.
fn rooms(snapshot: &HubStatistics) -> Value {
    let rooms = snapshot.rooms.iter().map(|(kind, count)| {
        (
            format!("{kind}:*"),
            json!({ "rooms": count.rooms, "members": count.members }),
        )
    });
    Value::Object(rooms.collect())
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_listeners_are_added_once() {
        let metrics = Metrics::new();
        metrics.refused.increment(RejectReason::MaxConnections);
        let first = NetStats {
            refused: 3,
            refused_peers: 6,
            accept_errors: 2,
            closed: BTreeMap::from([("header_timeout", 5), ("bad_http", 1), ("peer", 9)]),
            ..NetStats::default()
        };
        let mut second = first.clone();
        second.refused = 4;
        second.closed.insert("header_limit", 7);
        show_refusals(&metrics, &NetStats::default(), &first);
        show_refusals(&metrics, &first, &first);
        show_refusals(&metrics, &first, &second);
        let text = metrics.render();
        for line in [
            r#"fleetcast_refused_total{reason="max_connections"} 5"#,
            r#"fleetcast_refused_total{reason="ip_limit"} 6"#,
            r#"fleetcast_refused_total{reason="header_timeout"} 5"#,
            r#"fleetcast_refused_total{reason="header_limit"} 7"#,
            r#"fleetcast_refused_total{reason="bad_http"} 1"#,
            r#"fleetcast_refused_total{reason="accept"} 2"#,
            r#"fleetcast_errors_total{component="net"} 2"#,
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_listener_names_its_reasons_as_the_metrics_do() {
        use crate::net::ConnectionEnd;
        for (close, refused) in [
            (ConnectionEnd::HeaderTimeout, RejectReason::HeaderTimeout),
            (ConnectionEnd::HeaderLimit, RejectReason::HeaderLimit),
            (ConnectionEnd::BadHttp, RejectReason::BadHttp),
            (ConnectionEnd::BadUpgrade, RejectReason::BadUpgrade),
            (ConnectionEnd::BodyTimeout, RejectReason::BodyTimeout),
            (ConnectionEnd::ProxyPreamble, RejectReason::ProxyPreamble),
        ] {
            assert_eq!(close.label(), refused.as_str());
        }
    }
}
