//! Pid 1 of a node: makes the node's own view of the filesystem, starts services
//! when told to, and reaps. It restarts nothing: what dies stays dead until a
//! scenario says otherwise.

mod root;
mod services;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Result, read_file};
pub(crate) use root::mount_points;
use services::Services;

/// The hidden subcommand that is pid 1 of a node.
pub const SUBCOMMAND: &str = "node-init";

/// What pid 1 is told when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeInit {
    /// The node's name.
    pub hostname: String,
    /// The node's directory on the machine.
    pub dir: PathBuf,
}

/// An order to a running pid 1; one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Start a service, by name and command line; its output goes to /var/log/NAME.log.
    Start(String, Vec<String>),
    /// Send a signal, by number, to a service.
    Signal(String, i32),
    /// Which services run.
    Running,
    /// End every process, politely, for at most so many milliseconds, then oneself.
    Shutdown(u64),
}

/// The answer to an order; one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done; the services that run now, with their process numbers on the node.
    Done(BTreeMap<String, i32>),
    /// Not done, and why.
    Refused(String),
}

/// The subcommand: `config` is the path of a [`NodeInit`] as JSON.
pub fn execute(config: &str) -> Result<()> {
    let config: NodeInit =
        serde_json::from_str(&read_file(config)?).doing(|| format!("parse {config}"))?;
    nix::unistd::sethostname(&config.hostname).doing(|| "set the host name".to_owned())?;
    // Bound while the machine's paths can still be reached.
    let socket = config.dir.join("init.sock");
    let _ = std::fs::remove_file(&socket);
    let listener =
        UnixListener::bind(&socket).doing(|| format!("listen on {}", socket.display()))?;
    root::enter(&config.dir)?;
    let services = Arc::new(Services::default());
    let server = Arc::clone(&services);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever went away before the answer does not want it.
            let _ = serve(&server, stream);
        }
    });
    println!("{} is up", config.hostname);
    services.reap_forever()
}

fn serve(services: &Services, stream: UnixStream) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Err(error) => Err(format!("no such order: {error}")),
        Ok(Order::Running) => Ok(()),
        Ok(Order::Start(name, argv)) => services.start(&name, &argv),
        Ok(Order::Signal(name, number)) => services.signal(&name, number),
        Ok(Order::Shutdown(milliseconds)) => services.shutdown(milliseconds),
    };
    let answer = answer.map_or_else(Answer::Refused, |()| Answer::Done(services.running()));
    writeln!(&stream, "{}", serde_json::json!(answer))
}
