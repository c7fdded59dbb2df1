//! How long it took until clients were served again: after a cut, and after each kind of fault.

use serde::Serialize;

use super::history::{ClientHistory, Return};

/// What the nemesis did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
    /// What clients note with their first event after its begin; the end has the next number.
    pub(crate) epoch: u32,
}

/// Connections that end so long after a fault's end are still put down to it.
const AFTERMATH_NS: u64 = 5_000_000_000;

/// How long clients took, in milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    pub(crate) fn of(mut times_ns: Vec<u64>) -> Self {
        times_ns.sort_unstable();
        let at = |hundredths: usize| {
            let index = (times_ns.len() * hundredths).div_ceil(100).max(1) - 1;
            times_ns.get(index).map_or(0, |ns| ns / 1_000_000)
        };
        Self {
            count: times_ns.len() as u64,
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// What one kind of fault did to the clients.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Recovery {
    pub(crate) fault: String,
    pub(crate) times: u64,
    /// From the end of a connection, while the fault lasted or in its aftermath, to the first event on the next one.
    pub(crate) back_after_ms: Spread,
    /// From the end of the fault to the first event after it, all clients.
    pub(crate) event_after_ms: Spread,
    /// From the end of the fault to the last event that was sent before it, clients that had one to come.
    pub(crate) caught_up_after_ms: Spread,
}

pub(super) fn away_for(back: &Return) -> Option<u64> {
    Some(back.event_ns?.saturating_sub(back.closed_ns))
}

pub(super) fn recoveries(clients: &[ClientHistory], faults: &[Fault]) -> Vec<Recovery> {
    let mut names: Vec<&str> = Vec::new();
    for fault in faults {
        if !names.contains(&fault.name.as_str()) {
            names.push(&fault.name);
        }
    }
    let recovery = |name: &str| {
        let like: Vec<&Fault> = faults.iter().filter(|fault| fault.name == name).collect();
        let mut back = Vec::new();
        let mut event = Vec::new();
        let mut caught_up = Vec::new();
        for fault in &like {
            let within = fault.begin_ns..fault.end_ns.saturating_add(AFTERMATH_NS);
            for client in clients {
                let ended = client.returns.iter().filter(|back| !back.wanted);
                let ended = ended.filter(|back| within.contains(&back.closed_ns));
                back.extend(ended.filter_map(away_for));
                let after = client.first_after.iter();
                let after = after.filter(|(epoch, _)| *epoch == fault.epoch + 1);
                event.extend(after.map(|(_, ns)| ns.saturating_sub(fault.end_ns)));
                let last = client.caught_up.iter();
                let last = last.filter(|(end, _)| *end == fault.end_ns);
                caught_up.extend(last.map(|(end, ns)| ns.saturating_sub(*end)));
            }
        }
        Recovery {
            fault: name.to_owned(),
            times: like.len() as u64,
            back_after_ms: Spread::of(back),
            event_after_ms: Spread::of(event),
            caught_up_after_ms: Spread::of(caught_up),
        }
    };
    names.into_iter().map(recovery).collect()
}
