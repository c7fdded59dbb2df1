//! What the server said of the window: that clients have missed something, and how far back they can be resumed.

use super::history::ClientHistory;
use super::late::Late;
use super::verdict::{ChaosVerdict, Rules};

const EVICTED: &str = "evicted";

pub(super) fn judge(
    client: &ClientHistory,
    index: usize,
    rules: &Rules,
    late: &Late,
    verdict: &mut ChaosVerdict,
    samples: &mut Vec<String>,
) {
    for resync in &client.resyncs {
        verdict.resyncs += 1;
        let missed_ns = resync.at_ns.saturating_sub(resync.known_ns);
        // With this event it had what the server had read by then, and one that is behind in a partition has not even read all
        // that was sent before. The server that resumes it may have been behind as well: of a partition that it reads late
        // everything comes at once, and evicts what it read last.
        let position_ns = late.reach(resync.known_ns);
        let outrun_ns = resync.at_ns.saturating_sub(late.reach(position_ns));
        let outside = missed_ns >= rules.window_ns;
        let permitted = rules.permits.iter().any(|permit| {
            permit.covers(client, resync.at_ns, &resync.reason) && outrun_ns >= permit.least_ns
        });
        if !outside && !permitted {
            verdict.faults.false_resyncs += 1;
            samples.push(format!(
                "client {index}: resync ({}) at {} although it had everything up to {} ms before, and what the servers were behind by makes that {} ms",
                resync.reason,
                resync.at_ns,
                missed_ns / 1_000_000,
                outrun_ns / 1_000_000
            ));
        }
        // What it missed first is no longer there, so the window is no longer than that.
        let promised = resync.promised_ns.filter(|_| resync.reason == EVICTED);
        if promised.is_some_and(|promised| promised > resync.at_ns.saturating_sub(position_ns)) {
            verdict.faults.wrong_window += 1;
            samples.push(format!(
                "client {index}: was announced a window of {:?} ns at {}, and it had missed less",
                resync.promised_ns, resync.at_ns
            ));
        }
    }
    let whole = |at_ns, window_ns| {
        let shortened = |at_ns| {
            let mut permits = rules.permits.iter();
            permits.any(|permit| permit.covers(client, at_ns, EVICTED))
        };
        window_ns == rules.window_ns || (window_ns < rules.window_ns && shortened(at_ns))
    };
    for (at_ns, window_ns) in &client.windows {
        if !whole(*at_ns, *window_ns) {
            verdict.faults.wrong_window += 1;
            samples.push(format!(
                "client {index}: was announced a window of {window_ns} ns at {at_ns}, and nothing has shortened it"
            ));
        }
    }
}
