//! Servers and clients as processes, and what their reports are compared with.

use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use weft_load::report::{Counts, FlowReport, Report};

/// A command that runs weft-load, in a network namespace where one is named.
pub fn weft_load(namespace: Option<&str>) -> Command {
    let binary = env!("CARGO_BIN_EXE_weft-load");
    match namespace {
        None => Command::new(binary),
        Some(namespace) => {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net=/run/netns/{namespace}"))
                .arg(binary);
            command
        }
    }
}

/// A port that is free now, of UDP and of TCP, of both families.
pub fn free_port() -> u16 {
    loop {
        let any = Ipv6Addr::UNSPECIFIED;
        let tcp = TcpListener::bind((any, 0)).expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        if UdpSocket::bind((any, port)).is_ok() {
            return port;
        }
    }
}

/// A process that is killed at the end of the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A server that has begun to serve.
pub struct Server {
    pub port: u16,
    _process: Process,
}

impl Server {
    pub fn start() -> Self {
        Self::start_in(None, free_port())
    }

    pub fn start_in(namespace: Option<&str>, port: u16) -> Self {
        let child = weft_load(namespace)
            .args(["serve", "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut process = Process(child);
        let mut line = String::new();
        let stdout = process.0.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, format!("{{\"serving\":{port}}}\n"));
        Self {
            port,
            _process: process,
        }
    }
}

/// A plan of `flows` with a short drain time.
pub fn plan(flows: Value) -> Value {
    json!({"name": "test", "drain_ms": 300, "start_timeout_ms": 10_000, "flows": flows})
}

/// A client at work.
pub struct Client {
    process: Process,
    _plan: tempfile::NamedTempFile,
}

impl Client {
    pub fn start(namespace: Option<&str>, plan: &Value, arguments: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), plan.to_string()).expect("write");
        let child = weft_load(namespace)
            .args(["run", "--plan"])
            .arg(file.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a client");
        Self {
            process: Process(child),
            _plan: file,
        }
    }

    pub fn pid(&self) -> i32 {
        self.process.0.id() as i32
    }

    /// Waits for its end. Returns all that it printed.
    pub fn end(mut self) -> Vec<Report> {
        let stdout = self.process.0.stdout.take().expect("piped");
        let reports = BufReader::new(stdout)
            .lines()
            .map(|line| serde_json::from_str(&line.expect("a line")).expect("a report"))
            .collect();
        assert!(self.process.0.wait().expect("its end").success());
        reports
    }
}

/// Runs `flows` for `seconds` and returns the final report.
pub fn run_in(namespace: Option<&str>, flows: Value, seconds: f64) -> Report {
    let seconds = seconds.to_string();
    let client = Client::start(
        namespace,
        &plan(flows),
        &["--quiet", "--duration", &seconds],
    );
    let reports = client.end();
    assert_eq!(reports.len(), 1);
    reports.into_iter().next().expect("one")
}

/// Runs one flow for `seconds`.
pub fn run_one(flow: Value, seconds: f64) -> FlowReport {
    let report = run_in(None, json!([flow]), seconds);
    assert!(report.finished);
    report.flows.into_iter().next().expect("one")
}

/// What is wrong in `counts`: all but the size of the run and its times.
pub fn wrong(counts: &Counts) -> Counts {
    assert!(counts.received > 0, "{counts:?}");
    assert_eq!(counts.sent, counts.received + counts.lost, "{counts:?}");
    Counts {
        sent: 0,
        received: 0,
        bytes: 0,
        longest_gap_us: 0,
        rtt_p50_us: 0,
        rtt_p99_us: 0,
        rtt_p999_us: 0,
        rtt_max_us: 0,
        ..counts.clone()
    }
}
