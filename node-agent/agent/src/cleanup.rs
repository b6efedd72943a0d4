//! `weft-agent cleanup`: the empty value applied to a node, and the files removed. Zero residue.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use weft_cni::install;
use weft_ipam::Store;
use weft_kernel::{Kernel, Scope, State, pod};

use crate::install::Directories;
use crate::saved::File;
use crate::sysctl::Sysctl;

/// Where things are.
#[derive(Debug, Args)]
pub struct Options {
    /// Where the agent and the plugin keep their state; removed with all that is in it.
    #[arg(long, default_value = "/var/lib/weft")]
    state: PathBuf,
    /// Where the container runtime looks.
    #[command(flatten)]
    directories: Directories,
    /// Where net.* settings are.
    #[arg(long, default_value = "/host/proc/sys")]
    sysctl: PathBuf,
}

/// Removes everything of Weft from this node. Goes on past what fails, and says all of it.
///
/// # Errors
/// Something is left; each thing is named. Running it again goes on.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut left: Vec<String> = Vec::new();
    // The configuration goes first, so that no pod is attached while the rest goes.
    let Directories { plugins, config } = &options.directories;
    if let Err(error) = install::uninstall(plugins, config) {
        left.push(error.to_string());
    }
    detach_pods(options, &mut left);
    if let Err(error) = empty_kernel(&mut left) {
        left.push(format!("cannot read the state of the kernel: {error}"));
    }
    if let Err(error) = restore_settings(options) {
        left.push(error);
    }
    if left.is_empty()
        && let Err(error) = remove_state(&options.state)
    {
        left.push(format!(
            "cannot remove {}: {error}",
            options.state.display()
        ));
    }
    if left.is_empty() {
        tracing::info!("nothing of Weft is left on this node");
        return Ok(());
    }
    anyhow::bail!("not everything could be removed: {}", left.join("; "))
}

/// Removes the directory and all that is in it. Where it is a mount, as in a container, it stays, empty.
fn remove_state(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            match std::fs::read_dir(directory)?.next() {
                None => Ok(()),
                Some(_) => Err(error),
            }
        }
        outcome => outcome,
    }
}

/// Removes the veths of pods that still run: they have no network from here on.
fn detach_pods(options: &Options, left: &mut Vec<String>) {
    let directory = options.state.join("ipam");
    if !directory.exists() {
        return;
    }
    let attachments = Store::open(&directory).and_then(|store| store.attachments());
    match attachments {
        Ok(attachments) => {
            for attachment in attachments {
                let Ok(name) = attachment.host_ifname.parse() else {
                    continue;
                };
                if let Err(error) = pod::detach(&name) {
                    left.push(format!("cannot detach {}: {error}", attachment.owner()));
                }
            }
        }
        Err(error) => left.push(error.to_string()),
    }
}

fn empty_kernel(left: &mut Vec<String>) -> Result<(), weft_kernel::netlink::Error> {
    let mut kernel = Kernel::open()?;
    let observed = weft_kernel::observe(&mut kernel, &Scope::default())?;
    let actions = weft_kernel::plan(&State::default(), &observed.ours);
    let results = weft_kernel::apply(&mut kernel, &actions);
    left.extend(
        weft_kernel::failures(&actions, results)
            .iter()
            .map(ToString::to_string),
    );
    Ok(())
}

fn restore_settings(options: &Options) -> Result<(), String> {
    let file = File::new(&options.state);
    let loaded = file
        .load()
        .map_err(|error| format!("cannot read what settings were before: {error}"))?;
    Sysctl::new(&options.sysctl).restore(&loaded.saved.settings_before)
}
