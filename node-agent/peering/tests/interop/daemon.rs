//! The daemons of others: how each is configured, run and asked.

pub mod bird;
pub mod frr;
pub mod gobgp;

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::lab::{DAEMON, Lab, until};

/// The prefixes that each daemon originates.
pub const THEIR4: &str = "203.0.113.0/24";
pub const THEIR6: &str = "2001:db8:cafe::/48";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    Bird,
    Frr,
    GoBgp,
}

/// How a daemon speaks with one BGP peer.
#[derive(Clone, Debug)]
pub struct Neighbour {
    pub address: IpAddr,
    pub asn: u32,
    pub password: Option<&'static str>,
    /// It is a client of the daemon, which reflects.
    pub client: bool,
    pub ipv4: bool,
    pub ipv6: bool,
    pub ttl_security: bool,
    pub add_path: bool,
    /// The restart time, and the long-lived time if that is not 0, in seconds.
    pub graceful: Option<(u16, u32)>,
}

impl Neighbour {
    pub fn new(address: IpAddr, asn: u32) -> Self {
        Self {
            address,
            asn,
            password: None,
            client: false,
            ipv4: address.is_ipv4(),
            ipv6: address.is_ipv6(),
            ttl_security: false,
            add_path: false,
            graceful: None,
        }
    }

    fn source(&self) -> IpAddr {
        DAEMON.address(self.address.is_ipv6())
    }
}

/// How a daemon is configured.
#[derive(Clone, Debug)]
pub struct Config {
    pub asn: u32,
    pub neighbours: Vec<Neighbour>,
    /// It originates this too.
    pub also: Option<&'static str>,
}

/// A path that a daemon has learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub as_path: Vec<u32>,
    pub next_hop: String,
    pub med: Option<u32>,
    pub local_pref: Option<u32>,
    /// As `64999:7`, sorted; well-known ones as the daemon has them.
    pub communities: Vec<String>,
    /// As `64999:7:8`.
    pub large_communities: Vec<String>,
    pub originator: Option<String>,
}

/// A daemon that runs, or has run.
pub struct Running<'a> {
    daemon: Daemon,
    lab: &'a Lab,
    directory: TempDir,
    config: Config,
    child: Option<Child>,
}

impl<'a> Running<'a> {
    pub fn start(daemon: Daemon, lab: &'a Lab, config: Config) -> Self {
        let mut running = Self {
            daemon,
            lab,
            directory: TempDir::new().unwrap(),
            config,
            child: None,
        };
        running.run(false);
        running
    }

    /// Starts it again after [`Self::kill`], in the way in which it says that it has restarted.
    pub fn restart(&mut self) {
        self.run(true);
    }

    fn run(&mut self, restarted: bool) {
        let directory = self.directory.path();
        let mut command = match self.daemon {
            Daemon::Bird => bird::command(directory, &self.config, restarted),
            Daemon::Frr => frr::command(directory, &self.config),
            Daemon::GoBgp => gobgp::command(directory, &self.config, restarted),
        };
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(directory.join("output"))
            .unwrap();
        command
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = self.lab.theirs.run(|| {
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}; `make deps` installs it"))
        });
        self.child = Some(child);
        let ready = || match self.daemon {
            Daemon::Bird => self.ask(bird::ask(directory, "show status")).is_some(),
            Daemon::Frr => self.ask(frr::ask(directory, "show version")).is_some(),
            Daemon::GoBgp => self.ask(gobgp::ask("global")).is_some(),
        };
        until("the daemon answers", ready, || self.log());
        if self.daemon == Daemon::GoBgp {
            for route in gobgp::routes(&self.config) {
                until(
                    &route,
                    || self.ask(gobgp::ask(&route)).is_some(),
                    || self.log(),
                );
            }
        }
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All paths to a prefix that it has.
    pub fn sees(&self, prefix: &str) -> Vec<Seen> {
        let directory = self.directory.path();
        match self.daemon {
            Daemon::Bird => {
                let text = self.ask(bird::ask(directory, &format!("show route all {prefix}")));
                bird::seen(&text.unwrap_or_default())
            }
            Daemon::Frr => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let question = format!("show bgp {family} unicast {prefix} json");
                let text = self.ask(frr::ask(directory, &question));
                frr::seen(&text.unwrap_or_default())
            }
            Daemon::GoBgp => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let text = self.ask(gobgp::ask(&format!("global rib {prefix} -a {family} -j")));
                gobgp::seen(&text.unwrap_or_default())
            }
        }
    }

    /// What a command in its namespace prints, if it succeeds.
    fn ask(&self, mut command: Command) -> Option<String> {
        let output = self.lab.theirs.run(|| command.output()).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    pub fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name));
        let output = read("output").unwrap_or_default();
        let log = read("log").unwrap_or_default();
        format!("{:#?}\n{output}\n{log}", self.config)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}
