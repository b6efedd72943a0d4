//! A client: runs the flows of a plan until told to stop, and accounts for them.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::control::{self, Command};
use crate::plan::{Kind, Plan};
use crate::report::Report;
use crate::tally::Tally;
use crate::udp_client::UdpClient;
use crate::worker::Worker;
use crate::{bulk_client, dns_client, tcp_client};

/// Between two live lines.
const LINE_EACH: Duration = Duration::from_secs(1);

/// How to run, beside what to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How long, from when all flows are ready (or have had their time to become so).
    pub duration: Option<Duration>,
    /// Where to listen for commands.
    pub control: Option<SocketAddr>,
    /// A file for the final report.
    pub out: Option<PathBuf>,
    /// No live lines.
    pub quiet: bool,
}

struct Client {
    name: String,
    udp: Arc<UdpClient>,
    workers: Vec<Worker>,
    /// When the counting began.
    since: (SystemTime, Instant),
}

impl Client {
    fn report(&self) -> Report {
        self.account(false)
    }

    fn account(&self, finished: bool) -> Report {
        let mut flows = match finished {
            false => self.udp.report(),
            true => self.udp.final_report(),
        };
        flows.extend(self.workers.iter().map(Worker::report));
        let unix = self.since.0.duration_since(SystemTime::UNIX_EPOCH);
        let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
        Report {
            name: self.name.clone(),
            finished,
            ready: flows.iter().all(|flow| flow.ready),
            since_unix_ms: unix.unwrap_or_default().as_millis() as u64,
            elapsed_ms: self.since.1.elapsed().as_millis() as u64,
            cpu_ms: cpu.map_or(0, |cpu| Duration::from(cpu).as_millis() as u64),
            kinds: Report::sum(&flows),
            flows,
        }
    }

    fn reset(&mut self) {
        self.udp.reset();
        for worker in &self.workers {
            worker.tally().reset();
        }
        self.since = (SystemTime::now(), Instant::now());
    }
}

/// Starts the tasks of all flows but UDP.
fn start(
    plan: &Plan,
    clock: Instant,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Vec<Worker> {
    let patience = Duration::from_millis(plan.start_timeout_ms);
    let mut workers = Vec::new();
    for flow in &plan.flows {
        let parts = match &flow.kind {
            Kind::Udp(_) => continue,
            Kind::Tcp(exchange) | Kind::Connect(exchange) => exchange.connections,
            Kind::Bulk(bulk) => bulk.connections,
            Kind::Dns(_) => 1,
        };
        let tally = Tally::new(clock, patience, parts);
        let worker = Worker::new(flow.clone(), tally, stop.clone());
        for part in 0..parts {
            let worker = worker.clone();
            match flow.kind.clone() {
                Kind::Udp(_) => continue,
                Kind::Tcp(exchange) => tasks.spawn(tcp_client::hold(worker, exchange, part)),
                Kind::Connect(exchange) => tasks.spawn(tcp_client::visit(worker, exchange, part)),
                Kind::Bulk(bulk) => tasks.spawn(bulk_client::run(worker, bulk)),
                Kind::Dns(dns) => tasks.spawn(dns_client::run(worker, dns)),
            };
        }
        workers.push(worker);
    }
    workers
}

/// Runs `plan` to its end and returns the final report, which it also prints as the last line.
pub async fn run(plan: &Plan, options: &Options) -> anyhow::Result<Report> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let clock = Instant::now();
    let (asks, mut asked) = mpsc::channel(16);
    if let Some(address) = options.control {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen for commands on {address}"))?;
        tokio::spawn(control::listen(listener, asks.clone()));
    }
    let udp = Arc::new(UdpClient::open(plan, clock)?);
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut client = Client {
        name: plan.name.clone(),
        workers: start(plan, clock, &stopped, &mut tasks),
        udp: udp.clone(),
        since: (SystemTime::now(), clock),
    };
    let datagrams = tokio::task::spawn_blocking({
        let udp = udp.clone();
        move || udp.run()
    });
    // The engine returns at once where the plan has no UDP flow, so the end waits for the stop too.
    let mut until_stop = stopped.clone();
    let end = async move {
        until_stop.wait_for(|stop| *stop).await.ok();
        datagrams.await.context("the UDP client panicked")?;
        while let Some(task) = tasks.join_next().await {
            task.context("a flow panicked")?;
        }
        anyhow::Ok(())
    };
    let halt = || {
        udp.stop();
        stop.send_replace(true);
    };
    tokio::pin!(end);
    let time_is_up = time_is_up(
        plan,
        options.duration,
        udp.clone(),
        client.workers.clone(),
        clock,
    );
    tokio::pin!(time_is_up);
    let mut time_left = true;
    let mut lines = tokio::time::interval(LINE_EACH);
    let mut want_final = Vec::new();
    loop {
        tokio::select! {
            ended = &mut end => { ended?; break; }
            () = &mut time_is_up, if time_left => { time_left = false; halt(); }
            _ = terminate.recv() => halt(),
            _ = interrupt.recv() => halt(),
            Some((command, answer)) = asked.recv() => match command {
                Command::Status => { answer.send(client.report()).ok(); }
                Command::Reset => {
                    let report = client.report();
                    client.reset();
                    answer.send(report).ok();
                }
                Command::Stop => { want_final.push(answer); halt(); }
            },
            _ = lines.tick(), if !options.quiet => print(&client.report().brief()).unwrap_or(()),
        }
    }
    let report = client.account(true);
    for answer in want_final {
        answer.send(report.clone()).ok();
    }
    if let Some(path) = &options.out {
        let text = serde_json::to_string(&report)?;
        std::fs::write(path, text)
            .with_context(|| format!("cannot write the report to {}", path.display()))?;
    }
    print(&report)?;
    // Lets the control port pass on the final report.
    drop(asks);
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(report)
}

/// Returns when the run has lasted for `duration` since everything was ready.
async fn time_is_up(
    plan: &Plan,
    duration: Option<Duration>,
    udp: Arc<UdpClient>,
    workers: Vec<Worker>,
    clock: Instant,
) {
    let Some(duration) = duration else {
        return std::future::pending().await;
    };
    let ready =
        || udp.report().iter().all(|flow| flow.ready) && workers.iter().all(|w| w.tally().ready());
    let start_timeout = Duration::from_millis(plan.start_timeout_ms);
    while clock.elapsed() < start_timeout && !ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(duration).await;
}

fn print(report: &Report) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())
        .context("cannot write to standard output")?;
    out.flush().context("cannot write to standard output")
}
