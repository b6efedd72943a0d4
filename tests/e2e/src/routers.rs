//! The routing daemons of a cluster with racks: BIRD on the router of the cluster and on the outside host, BIRD
//! or FRR on the routers of racks.
//!
//! All that a daemon has on disk is in `routers/NAME` of the cluster. FRR writes to /var/tmp and /run as well,
//! whatever it is told; it sees file systems of its own there, which go with it.

mod bird;
mod frr;
mod speaker;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use nix::unistd::{User, chown};

use crate::command::Cmd;
use crate::error::{Context, Error, Result, make_dir, read_file, write_file};
use crate::launch::Launch;
use crate::process::{ProcessId, kill_and_wait};
use crate::spec::Daemon;
use crate::state::{Saved, StateDir};
use crate::{tools, wait};

pub use speaker::{CORE, Neighbour, Nodes, OUTSIDE, Settings, Speaker, speakers};

/// How long routers may take to have told each other.
const CONVERGED: Duration = Duration::from_secs(60);
/// Where Debian has the daemons of FRR.
const FRR: &str = "/usr/lib/frr";
/// The user that Debian has FRR run as.
const FRR_USER: &str = "frr";

/// The routers of a cluster.
pub struct Routers {
    dir: StateDir,
    saved: Saved,
}

impl Routers {
    /// Those of a cluster.
    pub fn of(dir: &StateDir, saved: &Saved) -> Self {
        Self {
            dir: dir.clone(),
            saved: saved.clone(),
        }
    }

    /// Checks that the programs are there.
    pub fn check(&self) -> Result<()> {
        for speaker in self.speakers() {
            match speaker.daemon {
                Daemon::Bird => ["bird", "birdc"].iter().try_for_each(|name| {
                    tools::installed(name)?;
                    Ok(())
                })?,
                Daemon::Frr => {
                    tools::installed("vtysh")?;
                    frr_user()?;
                }
            }
        }
        Ok(())
    }

    /// Starts all, and waits until the router of the cluster has learned where the racks are.
    pub async fn start_all(&self) -> Result<()> {
        for speaker in self.speakers() {
            self.write(&speaker)?;
            self.start(&speaker, false).await?;
        }
        let plan = self.saved.plan();
        let racks = plan.subnets.iter().filter(|subnet| subnet.rack);
        let ranges: BTreeSet<IpNet> = racks
            .flat_map(|subnet| subnet.gateways.iter().map(IpNet::trunc))
            .collect();
        wait::until("the routers to learn of the racks", CONVERGED, async || {
            let learned = learned(&plan.router_netns())
                .await
                .map_err(|e| e.to_string())?;
            let missing: Vec<_> = ranges.difference(&learned).collect();
            match missing[..] {
                [] => Ok(()),
                _ => Err(format!("{missing:?} are not known")),
            }
        })
        .await
    }

    /// Kills the daemon of a router. What it has put into the kernel stays.
    pub fn kill(&self, name: &str) -> Result<()> {
        let speaker = self.speaker(name)?;
        let files = programs(speaker.daemon).map(|program| self.pid_file(name, program));
        let running: Vec<_> = files
            .filter_map(|file| ProcessId::load(&file).ok())
            .collect();
        kill_and_wait(&running)
    }

    /// Starts it again, as a graceful restart.
    pub async fn revive(&self, name: &str) -> Result<()> {
        self.start(&self.speaker(name)?, true).await
    }

    /// Changes what a router is told, while its daemon runs.
    pub async fn set(&self, name: &str, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let before = self.speaker(name)?;
        let Some(nodes) = &before.nodes else {
            return Err(Error::State(format!("{name} does not speak with nodes")));
        };
        let old = nodes.settings.clone();
        let mut new = old.clone();
        change(&mut new);
        write_file(
            self.place(name).join("settings.json"),
            serde_json::json!(new).to_string(),
        )?;
        let speaker = self.speaker(name)?;
        self.write(&speaker)?;
        match speaker.daemon {
            Daemon::Bird => {
                let said = self.ask(name, "configure").await?;
                if !said.contains("econfigur") {
                    return Err(Error::State(format!("router {name}: {said}")));
                }
                Ok(())
            }
            Daemon::Frr => {
                let mut lines = frr::announcement(speaker.asn, &old.announced, &new.announced);
                if let Some(nodes) = speaker.nodes.filter(|_| old.password != new.password) {
                    lines.push_str(&frr::password(speaker.asn, &nodes));
                }
                let file = self.place(name).join("change.conf");
                write_file(&file, lines)?;
                let file = file.display().to_string();
                self.vtysh(name, &["-f", &file]).await.map(|_| ())
            }
        }
    }

    /// What the daemon of a router answers to a command: of birdc, or of vtysh.
    pub async fn ask(&self, name: &str, command: &str) -> Result<String> {
        match self.speaker(name)?.daemon {
            Daemon::Bird => {
                let socket = self.place(name).join("bird.ctl").display().to_string();
                let words = command.split_whitespace();
                let birdc = Cmd::new(tools::installed("birdc")?).args(["-s", &socket]);
                Ok(birdc.args(words).run().await?.stdout)
            }
            Daemon::Frr => self.vtysh(name, &["-c", command]).await,
        }
    }

    async fn vtysh(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let place = self.place(name).display().to_string();
        let vtysh = Cmd::new(tools::installed("vtysh")?).args(["--vty_socket", &place]);
        Ok(vtysh.args(arguments).run().await?.stdout)
    }

    async fn start(&self, speaker: &Speaker, again: bool) -> Result<()> {
        for program in programs(speaker.daemon) {
            let pid_file = self.pid_file(&speaker.name, program);
            if ProcessId::load(&pid_file).is_ok_and(ProcessId::alive) {
                return Err(Error::State(format!(
                    "{program} of {} runs already",
                    speaker.name
                )));
            }
            let launch = Launch {
                argv: command_line(program, &self.place(&speaker.name), again)?,
                netns: speaker.netns.clone(),
                cgroup: None,
                machine: false,
                log: self
                    .dir
                    .file("log")
                    .join(format!("{}-{program}.log", speaker.name)),
                pid_file,
                cluster: self.saved.spec.name.clone(),
            };
            launch.start().await?;
            if program == "zebra" {
                // bgpd ends if there is no zebra to listen to.
                let socket = self.place(&speaker.name).join("zserv.api");
                let what = format!("zebra of {} to listen", speaker.name);
                wait::until(what, CONVERGED, async || {
                    tokio::net::UnixStream::connect(&socket).await.map(|_| ())
                })
                .await?;
            }
        }
        Ok(())
    }

    fn write(&self, speaker: &Speaker) -> Result<()> {
        let place = self.place(&speaker.name);
        make_dir(&place)?;
        match speaker.daemon {
            Daemon::Bird => write_file(place.join("bird.conf"), bird::configuration(speaker)),
            Daemon::Frr => {
                let user = frr_user()?;
                chown(&place, Some(user.uid), Some(user.gid))
                    .doing(|| format!("give {} to {FRR_USER}", place.display()))?;
                write_file(place.join("bgpd.conf"), frr::configuration(speaker))
            }
        }
    }

    fn speakers(&self) -> Vec<Speaker> {
        let settings = |name: &str| {
            let text = read_file(self.place(name).join("settings.json")).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        speakers(&self.saved.spec, &self.saved.plan(), settings)
    }

    fn speaker(&self, name: &str) -> Result<Speaker> {
        let speakers = self.speakers();
        let known: Vec<_> = speakers
            .iter()
            .map(|speaker| speaker.name.clone())
            .collect();
        let mut speakers = speakers.into_iter();
        speakers
            .find(|speaker| speaker.name == name)
            .ok_or_else(|| {
                Error::State(format!(
                    "there is no routing daemon on {name}; there are those of: {}",
                    known.join(", ")
                ))
            })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.file("routers").join(name)
    }

    fn pid_file(&self, name: &str, program: &str) -> PathBuf {
        self.dir.file("pids").join(format!("{name}-{program}"))
    }
}

/// What the daemon of a speaker is to be told, as text for its own parser.
pub fn configuration(speaker: &Speaker) -> String {
    match speaker.daemon {
        Daemon::Bird => bird::configuration(speaker),
        Daemon::Frr => frr::configuration(speaker),
    }
}

/// The ranges that a routing daemon has put into the kernel of a network namespace.
pub async fn learned(netns: &str) -> Result<BTreeSet<IpNet>> {
    let mut found = BTreeSet::new();
    for family in ["-4", "-6"] {
        for protocol in ["bird", "bgp"] {
            let show = [
                "-n", netns, family, "-json", "route", "show", "proto", protocol,
            ];
            let shown = Cmd::new("ip").args(show).run().await?.stdout;
            let routes: Vec<serde_json::Value> =
                serde_json::from_str(&shown).doing(|| format!("read the routes of {netns}"))?;
            let ranges = routes.iter().filter_map(|route| route["dst"].as_str());
            // The default route is no range in this sense, and a single address has no length.
            found.extend(ranges.filter_map(|range| {
                let address = || range.parse::<IpAddr>().ok().map(IpNet::from);
                range.parse::<IpNet>().ok().or_else(address)
            }));
        }
    }
    Ok(found)
}

fn programs(daemon: Daemon) -> impl Iterator<Item = &'static str> {
    let programs: &[&str] = match daemon {
        Daemon::Bird => &["bird"],
        Daemon::Frr => &["zebra", "bgpd"],
    };
    programs.iter().copied()
}

fn command_line(program: &str, place: &Path, again: bool) -> Result<Vec<String>> {
    let file = |name: &str| place.join(name).display().to_string();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    if program == "bird" {
        let bird = tools::installed(program)?.display().to_string();
        let (config, socket) = (file("bird.conf"), file("bird.ctl"));
        let mut argv = words(&[&bird, "-f", "-c", &config, "-s", &socket]);
        argv.extend(again.then(|| "-R".to_owned()));
        return Ok(argv);
    }
    let own_files = "mount -t tmpfs tmpfs /var/tmp && mount -t tmpfs tmpfs /run/frr && exec \"$@\"";
    let mut argv = words(&["unshare", "--mount", "--propagation", "private"]);
    argv.extend(words(&["sh", "-c", own_files, "sh"]));
    argv.push(format!("{FRR}/{program}"));
    let config = if program == "bgpd" {
        file("bgpd.conf")
    } else {
        "/dev/null".to_owned()
    };
    let (pid, zserv) = (file(&format!("{program}.pid")), file("zserv.api"));
    let vty = place.display().to_string();
    argv.extend(words(&["-f", &config, "-i", &pid, "-z", &zserv]));
    argv.extend(words(&["--vty_socket", &vty, "-P", "0"]));
    argv.extend(words(&["-u", FRR_USER, "-g", FRR_USER]));
    argv.extend(words(&["--log", "stdout", "--log-level", "notifications"]));
    if program == "zebra" {
        // For so many seconds it keeps routes of a bgpd before this one.
        argv.extend(words(&["-K", "60"]));
    }
    Ok(argv)
}

fn frr_user() -> Result<User> {
    let missing = || Error::Missing {
        program: "bgpd".to_owned(),
        looked_for: format!("{FRR}/bgpd, and the user {FRR_USER}"),
    };
    let user = User::from_name(FRR_USER).doing(|| format!("look user {FRR_USER} up"))?;
    user.filter(|_| Path::new(FRR).join("bgpd").is_file())
        .ok_or_else(missing)
}
