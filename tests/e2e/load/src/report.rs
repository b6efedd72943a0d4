//! What a run reports: the same types for the live lines, the final report and the merged one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sink::Received;

/// How many causes of trouble a flow keeps: the first ones tell the most.
pub const CAUSES: usize = 10;

/// What has been counted, of one flow or of several together.
///
/// One unit is a datagram (`udp`), a request (`tcp`), a transfer (`bulk`), a query (`dns`) or a
/// connection with one request (`connect`). Always `sent = received + lost` once a run has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Units sent.
    pub sent: u64,
    /// Units that came back intact; a duplicate counts once.
    pub received: u64,
    /// Units that did not come back intact. In a live report: of those sent longer ago than the
    /// drain time.
    pub lost: u64,
    /// Of the lost ones, those that did not reach the server (final report of `udp` only).
    pub lost_forward: u64,
    /// Of the lost ones, those whose echo did not come back (final report of `udp` only). What
    /// is in neither could not be told, because the server did not answer or was restarted.
    pub lost_back: u64,
    /// Units that came back more than once.
    pub duplicated: u64,
    /// Units that came back after a later one (RFC 4737).
    pub reordered: u64,
    /// Damaged units noticed on either side. Each of them is also lost.
    pub corrupt: u64,
    /// Times that the kernel said that a datagram is too big for the path. A flow of size `mtu`
    /// then sends the same number in a smaller one.
    pub emsgsize: u64,
    /// Units that the kernel refused to send, on either side; on the client's they are not in `sent`.
    pub unsent: u64,
    /// Connections that were reset, closed, or silent for longer than their timeout; DNS answers
    /// with an error code.
    pub broken: u64,
    /// Broken connections that were established again.
    pub reopened: u64,
    /// Datagrams that arrived and found the client's own socket buffer full: part of `lost`, and
    /// the tool's own fault rather than the network's.
    pub own_drops: u64,
    /// Bytes transferred and checked (`bulk` only).
    pub bytes: u64,
    /// Longest time without an arrival beyond what the sender intended (`udp`), else the longest
    /// that a unit or one chunk of a transfer took; in microseconds.
    pub longest_gap_us: u64,
    /// Median round trip, in microseconds. Of several flows: that of the worst, as for the others.
    pub rtt_p50_us: u64,
    /// 99 % of the round trips were not longer.
    pub rtt_p99_us: u64,
    /// 99.9 % of the round trips were not longer.
    pub rtt_p999_us: u64,
    /// Longest round trip.
    pub rtt_max_us: u64,
}

impl Counts {
    /// Adds the counts of another flow; gaps and round trips become those of the worse.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.lost_forward += other.lost_forward;
        self.lost_back += other.lost_back;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.emsgsize += other.emsgsize;
        self.unsent += other.unsent;
        self.broken += other.broken;
        self.reopened += other.reopened;
        self.own_drops += other.own_drops;
        self.bytes += other.bytes;
        self.longest_gap_us = self.longest_gap_us.max(other.longest_gap_us);
        self.rtt_p50_us = self.rtt_p50_us.max(other.rtt_p50_us);
        self.rtt_p99_us = self.rtt_p99_us.max(other.rtt_p99_us);
        self.rtt_p999_us = self.rtt_p999_us.max(other.rtt_p999_us);
        self.rtt_max_us = self.rtt_max_us.max(other.rtt_max_us);
    }

    /// What is wrong with these counts, in words; empty when nothing was lost, damaged, refused or
    /// broken, and something was received at all.
    pub fn faults(&self) -> Vec<String> {
        let named = [
            (self.lost, "lost"),
            (self.corrupt, "corrupt"),
            (self.unsent, "unsent"),
            (self.broken, "broken"),
        ];
        let mut faults: Vec<String> = named
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if self.received == 0 {
            faults.push("nothing received".to_owned());
        }
        faults
    }
}

/// Why something was lost or broken, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

/// One flow of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowReport {
    /// As in the plan.
    pub name: String,
    /// `udp`, `tcp`, `bulk`, `dns` or `connect`.
    pub kind: String,
    /// The line of the table to which it counts.
    pub group: String,
    /// As in the plan.
    pub target: String,
    /// Whether the target (every connection of it) has answered at least once.
    pub ready: bool,
    /// What was counted.
    pub counts: Counts,
    /// The first causes of trouble.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// What the server counted, in the final report of a `udp` flow whose server still answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Received>,
}

/// A run so far, or at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The name of the plan.
    pub name: String,
    /// Whether the run has ended and everything in flight has been accounted for.
    pub finished: bool,
    /// Whether every flow is ready. Scenarios wait for it before they begin.
    pub ready: bool,
    /// When the counting began (start of the run or last reset), in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// Milliseconds since then.
    pub elapsed_ms: u64,
    /// Processor time that this process has used since its start, in milliseconds.
    pub cpu_ms: u64,
    /// Sums by group.
    pub kinds: BTreeMap<String, Counts>,
    /// Each flow; left out of the live lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowReport>,
}

impl Report {
    /// Sums the flows by group.
    pub fn sum(flows: &[FlowReport]) -> BTreeMap<String, Counts> {
        let mut kinds: BTreeMap<String, Counts> = BTreeMap::new();
        for flow in flows {
            kinds
                .entry(flow.group.clone())
                .or_default()
                .add(&flow.counts);
        }
        kinds
    }

    /// The same without the flows.
    pub fn brief(mut self) -> Self {
        self.flows.clear();
        self
    }

    /// What is wrong, one line for each flow (for each group where the report has no flows).
    pub fn faults(&self) -> Vec<String> {
        let line = |name: &str, counts: &Counts| {
            let faults = counts.faults();
            (!faults.is_empty()).then(|| format!("{name}: {}", faults.join(", ")))
        };
        let by_flow = self.flows.iter().filter_map(|flow| {
            let mut line = line(&format!("{}/{}", self.name, flow.name), &flow.counts)?;
            if let Some(cause) = flow.causes.first() {
                line += &format!("; first at {} ms: {}", cause.at_ms, cause.what);
            }
            Some(line)
        });
        let mut faults: Vec<String> = if self.flows.is_empty() {
            let by_group = self.kinds.iter();
            by_group
                .filter_map(|(group, counts)| line(group, counts))
                .collect()
        } else {
            by_flow.collect()
        };
        if self.kinds.is_empty() {
            faults.push(format!("{}: no traffic at all", self.name));
        }
        faults
    }
}
