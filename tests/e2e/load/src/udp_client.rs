//! Drives all UDP flows of a client in one thread, by a regular tick: each tick sends what is due
//! and reads what has come. The kernel stamps arrivals, so that no precision is lost by reading
//! late.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::batch::Batch;
use crate::plan::{Kind, Plan};
use crate::report::FlowReport;
use crate::tally::lock;
use crate::udp_flow::UdpFlow;

/// Slow flows need no faster tick than this.
const SLOWEST_TICK: Duration = Duration::from_millis(10);
/// Between two questions to a server for its account, and how often it is asked.
const ASK_EACH: Duration = Duration::from_millis(100);
const ASK_TIMES: usize = 30;

/// A number that nobody else has.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The UDP flows of a plan.
pub struct UdpClient {
    flows: Mutex<Vec<UdpFlow>>,
    clock: Instant,
    start_timeout: Duration,
    drain: Duration,
    tick: Duration,
    stop: AtomicBool,
}

impl UdpClient {
    /// Opens the sockets of all UDP flows.
    pub fn open(plan: &Plan, clock: Instant) -> anyhow::Result<Self> {
        let drain = Duration::from_millis(plan.drain_ms);
        let mut flows = Vec::new();
        for flow in &plan.flows {
            if let Kind::Udp(udp) = &flow.kind {
                let opened = UdpFlow::open(flow, udp, random(), drain);
                flows.push(opened.with_context(|| {
                    format!(
                        "flow {:?}: cannot open a socket to {}",
                        flow.name, flow.target
                    )
                })?);
            }
        }
        let shortest = flows.iter().map(UdpFlow::interval).min();
        let least = Duration::from_micros(plan.tick_us).min(SLOWEST_TICK);
        Ok(Self {
            flows: Mutex::new(flows),
            clock,
            start_timeout: Duration::from_millis(plan.start_timeout_ms),
            drain,
            tick: shortest.unwrap_or_default().clamp(least, SLOWEST_TICK),
            stop: AtomicBool::new(false),
        })
    }

    /// Ends [`Self::run`], after the drain time.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        let now = self.clock.elapsed();
        for flow in lock(&self.flows).iter_mut() {
            flow.reset(random(), now);
        }
    }

    /// The flows so far.
    pub fn report(&self) -> Vec<FlowReport> {
        lock(&self.flows).iter().map(UdpFlow::report).collect()
    }

    /// The whole account, after [`Self::run`] has returned.
    pub fn final_report(&self) -> Vec<FlowReport> {
        lock(&self.flows)
            .iter()
            .map(UdpFlow::final_report)
            .collect()
    }

    /// Sends and receives until stopped, waits for what is in flight, and asks the servers what
    /// they have counted. Blocks.
    pub fn run(&self) {
        if lock(&self.flows).is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut ticker = Ticker::new(self.tick);
        while !self.stop.load(Ordering::Relaxed) {
            self.each(&mut batch, |flow, batch, now| {
                flow.receive(batch, now);
                flow.send(batch, now, self.start_timeout);
            });
            ticker.wait();
        }
        let stopped = Instant::now();
        while stopped.elapsed() < self.drain {
            self.each(&mut batch, UdpFlow::receive);
            ticker.wait();
        }
        self.ask(&mut batch, &mut ticker);
    }

    fn ask(&self, batch: &mut Batch, ticker: &mut Ticker) {
        self.each(batch, |flow, _, _| flow.await_answer());
        for _ in 0..ASK_TIMES {
            self.each(batch, |flow, batch, now| {
                if !flow.answered() {
                    flow.query(batch, now);
                }
            });
            let asked = Instant::now();
            while asked.elapsed() < ASK_EACH {
                ticker.wait();
                self.each(batch, UdpFlow::receive);
                if lock(&self.flows).iter().all(UdpFlow::answered) {
                    return;
                }
            }
        }
    }

    fn each(&self, batch: &mut Batch, what: impl Fn(&mut UdpFlow, &mut Batch, Duration)) {
        for flow in lock(&self.flows).iter_mut() {
            what(flow, batch, self.clock.elapsed());
        }
    }
}

struct Ticker {
    tick: Duration,
    next: Instant,
}

impl Ticker {
    fn new(tick: Duration) -> Self {
        Self {
            tick,
            next: Instant::now(),
        }
    }

    /// Sleeps until the next tick; ticks that are over already are left out.
    fn wait(&mut self) {
        let now = Instant::now();
        self.next = (self.next + self.tick).max(now);
        std::thread::sleep(self.next - now);
    }
}
