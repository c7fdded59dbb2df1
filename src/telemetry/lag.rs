//! The lag of the partitions that are read now, rendered from nothing else: a recorder keeps every series for ever, and one of a
//! partition that is not read any more would hold its last value, and an alert open.

use metrics::Recorder as _;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::catalogue::KAFKA_LAG;
use super::families::gauge;

/// By topic and number the records between what was read and the end, in Prometheus' text format. Empty without partitions.
pub fn render_lag<'t>(partitions: impl IntoIterator<Item = (&'t str, i32, f64)>) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    recorder.describe_gauge(KAFKA_LAG.name.into(), None, KAFKA_LAG.help.into());
    for (topic, number, lag) in partitions {
        let labels = [("topic", topic), ("partition", &number.to_string())];
        gauge(&recorder, KAFKA_LAG, &labels).set(lag);
    }
    recorder.handle().render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_now_has_a_series() {
        let text = render_lag([("incident", 0, 7.0), ("incident", 1, 0.0)]);
        let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "# HELP fleetcast_kafka_lag Records between what was read and the end of the partition.",
                "# TYPE fleetcast_kafka_lag gauge",
                r#"fleetcast_kafka_lag{topic="incident",partition="0"} 7"#,
                r#"fleetcast_kafka_lag{topic="incident",partition="1"} 0"#,
            ]
        );
        let text = render_lag([("incident", 1, 2.0)]);
        assert!(!text.contains(r#"partition="0""#), "{text}");
        assert_eq!(render_lag([]), "");
    }
}
