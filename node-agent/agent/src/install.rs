//! The plugin and its configuration on the node: put there once the node can take pods.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use weft_cni::install;

/// How long an installation is taken to be in place before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Where the container runtime looks.
#[derive(Debug, Clone, Args)]
pub struct Directories {
    /// Where the container runtime looks for plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub plugins: PathBuf,
    /// Where the container runtime looks for its network configuration.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub config: PathBuf,
}

/// Installs the plugin.
#[derive(Debug)]
pub struct Installer {
    plugin: PathBuf,
    directories: Directories,
    looked: Option<Instant>,
}

impl Installer {
    /// Of the program `plugin`.
    pub fn new(plugin: PathBuf, directories: Directories) -> Self {
        Self {
            plugin,
            directories,
            looked: None,
        }
    }

    /// Makes the plugin and its configuration be there, if it was long ago that they were.
    ///
    /// # Errors
    /// In words.
    pub fn install(&mut self, now: Instant) -> Result<(), String> {
        if self
            .looked
            .is_some_and(|looked| now.duration_since(looked) < LOOK_AGAIN)
        {
            return Ok(());
        }
        let Directories { plugins, config } = &self.directories;
        let installed =
            install::install(&self.plugin, plugins, config).map_err(|error| error.to_string())?;
        if installed.plugin_replaced || installed.config_replaced {
            tracing::info!(?installed, "plugin installed");
        }
        if let Some(other) = installed.shadowed_by.first() {
            return Err(format!(
                "{} comes before the configuration of Weft in the order of names, so pods of this node don't get to Weft; remove it",
                other.display()
            ));
        }
        self.looked = Some(now);
        Ok(())
    }
}
