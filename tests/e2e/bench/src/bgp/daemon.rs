//! The daemons that are measured: how each is run, and asked what it has.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ipnet::IpNet;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep};
use weft_e2e::tools;

use super::configuration;
use crate::process::resident;

const PATIENCE: Duration = Duration::from_secs(120);
/// The bgpd of FRR answers while it still reads its configuration, and what it reads then ends sessions.
const FRR_READS: Duration = Duration::from_secs(3);

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// Ours.
    Weft,
    /// BIRD 2.
    Bird,
    /// The bgpd of FRR, without zebra: all next hops count as reachable.
    Frr,
    /// GoBGP.
    GoBgp,
}

/// One that runs until this is dropped.
pub struct Running {
    daemon: Daemon,
    child: Child,
    line: Line,
}

/// How it is asked.
enum Line {
    /// By its standard input.
    Pipe(ChildStdin, Lines<BufReader<ChildStdout>>),
    /// By a socket of its own.
    Socket(UnixStream),
    /// By a program of its own.
    Program(PathBuf),
}

impl Running {
    /// Starts one that so many may connect to, and waits until it answers.
    pub async fn start(daemon: Daemon, peers: usize, reflect: bool) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(super::NAME);
        // Of a run that was killed, or of the one before.
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let file = directory.join("configuration");
        let text = match daemon {
            Daemon::Weft => String::new(),
            Daemon::Bird => configuration::bird(peers, reflect),
            Daemon::Frr => configuration::frr(peers, reflect),
            Daemon::GoBgp => configuration::gobgp(peers, reflect),
        };
        std::fs::write(&file, text)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        match daemon {
            Daemon::Weft => {
                command.arg(std::env::current_exe()?).arg("speaker");
                command.args(["--peers", &peers.to_string()]);
                command.args(reflect.then_some("--reflect"));
            }
            Daemon::Bird => {
                command.arg(tools::installed("bird")?).args(["-f", "-c"]);
                command.arg(&file).arg("-s").arg(directory.join("socket"));
            }
            Daemon::Frr => {
                command
                    .arg("/usr/lib/frr/bgpd")
                    .args(["--no_zebra", "--skip_runas"]);
                command.args(["--vty_port", "0", "--limit-fds", "8192", "--config_file"]);
                command
                    .arg(&file)
                    .arg("--pid_file")
                    .arg(directory.join("pid"));
                command.arg("--vty_socket").arg(&directory);
            }
            Daemon::GoBgp => {
                command.arg(tools::built("gobgpd")?).arg("-f").arg(&file);
                command.args(["-t", "toml", "--api-hosts", "127.0.0.1:50051"]);
                command.args(["--pprof-disable", "-l", "error"]);
            }
        }
        let output = std::fs::File::create(directory.join("output"))?;
        let mut child = command
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(match daemon {
                Daemon::Weft => Stdio::piped(),
                _ => output.try_clone()?.into(),
            })
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {daemon:?}"))?;
        let line = match daemon {
            Daemon::Weft => {
                let answers = child.stdout.take().context("no output")?;
                let questions = child.stdin.take().context("no input")?;
                Line::Pipe(questions, BufReader::new(answers).lines())
            }
            Daemon::Bird => Line::Socket(connect(directory.join("socket")).await?),
            Daemon::Frr => Line::Socket(connect(directory.join("bgpd.vty")).await?),
            Daemon::GoBgp => Line::Program(tools::built("gobgp")?),
        };
        let mut running = Self {
            daemon,
            child,
            line,
        };
        if let Line::Socket(stream) = &mut running.line
            && daemon == Daemon::Bird
        {
            // It greets.
            bird_answer(stream).await?;
        }
        let begun = Instant::now();
        while let Err(error) = running.count().await {
            if begun.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(directory.join("output"));
                bail!(
                    "{daemon:?} does not answer: {error:#} {}",
                    log.unwrap_or_default()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        if daemon == Daemon::Frr {
            sleep(FRR_READS).await;
        }
        Ok(running)
    }

    /// Ends it, and waits until its port is free again.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Bytes that it holds resident.
    pub fn resident(&self) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the daemon has ended")?;
        Ok(resident(pid)? * 1024.0)
    }

    /// Waits until it has selected a path to this prefix.
    pub async fn wait_for(&mut self, prefix: IpNet) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.has(prefix).await? {
            if begun.elapsed() > PATIENCE {
                bail!("{:?} has no path to {prefix}", self.daemon);
            }
            sleep(self.pace()).await;
        }
        Ok(())
    }

    /// Waits until it has so many prefixes.
    pub async fn wait_for_all(&mut self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.count().await? != count {
            if begun.elapsed() > PATIENCE {
                let has = self.count().await?;
                bail!("{:?} has {has} prefixes, not {count}", self.daemon);
            }
            sleep(self.pace()).await;
        }
        Ok(())
    }

    /// How long to wait between two questions.
    fn pace(&self) -> Duration {
        match self.line {
            // Starting a program takes the time of the daemon.
            Line::Program(_) => Duration::from_millis(20),
            _ => Duration::from_millis(1),
        }
    }

    async fn count(&mut self) -> anyhow::Result<usize> {
        let answer = match self.daemon {
            Daemon::Weft => self.ask("0.0.0.0/0").await?,
            Daemon::Bird => self.ask("show route count").await?,
            Daemon::Frr => self.ask("show bgp ipv4 unicast summary json").await?,
            Daemon::GoBgp => self.ask("global rib summary").await?,
        };
        let number = match self.daemon {
            Daemon::Weft => answer.split(' ').next().unwrap_or_default().to_owned(),
            Daemon::Bird => between(&answer, "1007-", " of ").to_owned(),
            Daemon::GoBgp => between(&answer, "Destination:", ",").to_owned(),
            Daemon::Frr => {
                let json: Value = serde_json::from_str(&answer)?;
                let peers = json["peers"].as_object().context("no peers")?;
                let received = peers.values().filter_map(|peer| peer["pfxRcd"].as_u64());
                received.sum::<u64>().to_string()
            }
        };
        let number = number.trim();
        number
            .parse()
            .with_context(|| format!("{:?} counts {number:?}: {answer}", self.daemon))
    }

    async fn has(&mut self, prefix: IpNet) -> anyhow::Result<bool> {
        Ok(match self.daemon {
            Daemon::Weft => self.ask(&prefix.to_string()).await?.ends_with(" 1"),
            Daemon::Bird => self
                .ask(&format!("show route {prefix}"))
                .await?
                .contains(" * "),
            Daemon::Frr => {
                let question = format!("show bgp ipv4 unicast {prefix} json");
                let json: Value = serde_json::from_str(&self.ask(&question).await?)?;
                json["paths"][0]["bestpath"]["overall"] == true
            }
            Daemon::GoBgp => self
                .ask(&format!("global rib {prefix}"))
                .await?
                .contains("*>"),
        })
    }

    async fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        match &mut self.line {
            Line::Pipe(questions, answers) => {
                questions
                    .write_all(format!("{question}\n").as_bytes())
                    .await?;
                answers.next_line().await?.context("our speaker has ended")
            }
            Line::Socket(stream) if self.daemon == Daemon::Bird => {
                stream.write_all(format!("{question}\n").as_bytes()).await?;
                bird_answer(stream).await
            }
            Line::Socket(stream) => {
                stream.write_all(format!("{question}\0").as_bytes()).await?;
                frr_answer(stream).await
            }
            Line::Program(program) => {
                let mut command = Command::new(program);
                command.args(question.split(' ')).stdin(Stdio::null());
                let output = command.output().await?;
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
        }
    }
}

async fn connect(path: PathBuf) -> anyhow::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("nobody listens at {}", path.display()));
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Lines, the last of which has a space after its code.
async fn bird_answer(stream: &mut UnixStream) -> anyhow::Result<String> {
    answer(stream, |text| {
        let last = text.strip_suffix('\n').and_then(|text| text.lines().last());
        last.is_some_and(|line| {
            line.len() >= 5
                && line.as_bytes()[..4].iter().all(u8::is_ascii_digit)
                && line.as_bytes()[4] == b' '
        })
    })
    .await
}

/// Text, then three bytes of zero and the status.
async fn frr_answer(stream: &mut UnixStream) -> anyhow::Result<String> {
    let text = answer(stream, |text| {
        let bytes = text.as_bytes();
        bytes.len() >= 4 && bytes[bytes.len() - 4..bytes.len() - 1] == [0, 0, 0]
    })
    .await?;
    Ok(text.trim_end_matches(|c: char| c.is_control()).to_owned())
}

async fn answer(
    stream: &mut UnixStream,
    complete: impl Fn(&str) -> bool,
) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut bytes = [0; 64 << 10];
    while !complete(&text) {
        let read = stream.read(&mut bytes).await?;
        ensure!(read > 0, "the daemon has closed its socket after {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    Ok(text)
}

/// What is between the first `start` and the next `end`; nothing without them.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or("", |(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_marks() {
        assert_eq!(between("1007-12 of 13 routes", "1007-", " of "), "12");
        assert_eq!(between("nothing", "1007-", " of "), "");
    }
}
