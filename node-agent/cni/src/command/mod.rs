//! What each command does.

mod add;
mod check;
mod del;
mod gc;
mod status;

use std::time::Duration;

use serde_json::json;
use weft_ipam::Store;

use crate::spec::{
    Answer, Command, Config, Environment, Failure, NEWEST_VERSION, SUPPORTED_VERSIONS,
};

/// The plugin's name: of its binary, and of its `type` in configurations.
pub const PLUGIN_NAME: &str = "weft-cni";

/// Where the address store is on every node. No configuration can name another place.
pub const STATE_DIR: &str = "/var/lib/weft/ipam";

/// How long a command waits for another one on the same attachment.
const ATTACHMENT_LIMIT: Duration = Duration::from_secs(20);

/// Does what the environment and standard input ask for.
pub fn run(environment: &Environment, input: &[u8]) -> Answer {
    match dispatch(environment, input) {
        Ok(output) => Answer::success(output),
        Err(failure) => Answer::failure(&Config::answer_version(input), &failure),
    }
}

fn dispatch(environment: &Environment, input: &[u8]) -> Result<String, Failure> {
    let command = environment.command()?;
    if command == Command::Version {
        return Ok(version());
    }
    let config = Config::parse(input)?;
    let nothing = |()| String::new();
    match command {
        Command::Add => add::add(environment, &config),
        Command::Del => del::del(environment).map(nothing),
        Command::Check => check::check(environment, &config).map(nothing),
        Command::Gc => gc::gc(&config).map(nothing),
        Command::Status => status::status().map(nothing),
        Command::Version => Ok(version()),
    }
}

fn version() -> String {
    json!({"cniVersion": NEWEST_VERSION, "supportedVersions": SUPPORTED_VERSIONS}).to_string()
}

/// The store, or `None` where Weft is not (any more) installed.
fn store_if_there() -> Result<Option<Store>, weft_ipam::Error> {
    match Store::open(STATE_DIR) {
        Ok(store) => Ok(Some(store)),
        Err(weft_ipam::Error::NodeMissing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
