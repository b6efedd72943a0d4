//! Putting the plugin and its configuration onto a node, and taking them away.
//!
//! The runtime starts to use a configuration the moment it is there, so the plugin comes first and goes last. Both
//! are written aside and renamed. Of what others put into the two directories nothing is changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::PLUGIN_NAME;
use crate::spec::NEWEST_VERSION;

/// The name of the configuration's file.
pub const CONFIG_NAME: &str = "10-weft.conflist";

/// The version of the specification that every runtime in use speaks.
const WIDELY_KNOWN_VERSION: &str = "1.0.0";

/// The name of the network in it.
pub const NETWORK_NAME: &str = "weft";

/// What [`install`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Whether the plugin was not there or another one.
    pub plugin_replaced: bool,
    /// Whether the configuration was not there or another one.
    pub config_replaced: bool,
    /// Configurations that the runtime takes rather than ours, as their names sort before it. Until someone removes
    /// them, pods of this node do not get to Weft.
    pub shadowed_by: Vec<PathBuf>,
}

/// The plugin or its configuration could not be put there or taken away. What was there before is there still.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something that Weft did not put there has a name that Weft uses.
    #[error("{} is {what}; remove it and it will be tried again", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

impl Error {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }
}

/// Puts the plugin at `plugin` (a file, such as the image's) into `bin_dir`, then its configuration into `config_dir`.
/// Nothing is written that is there already. Other plugins that someone chained behind ours stay in the configuration.
pub fn install(plugin: &Path, bin_dir: &Path, config_dir: &Path) -> Result<Installed, Error> {
    let target = bin_dir.join(PLUGIN_NAME);
    let config = config_dir.join(CONFIG_NAME);
    let wanted = fs::read(plugin).map_err(Error::io("read", plugin))?;
    let plugin_replaced = put(&target, &wanted, 0o755)?;
    let chained = match read_config(&config)? {
        Some(before) => chained_plugins(&before),
        None => Vec::new(),
    };
    let config_replaced = put(&config, config_text(chained).as_bytes(), 0o644)?;
    Ok(Installed {
        plugin_replaced,
        config_replaced,
        shadowed_by: shadowing(config_dir)?,
    })
}

/// Takes the configuration away, then the plugin. Plugins that someone chained behind ours stay in the configuration
/// without it, and everything else in the two directories stays too. Gives back what was removed.
pub fn uninstall(bin_dir: &Path, config_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut removed = Vec::new();
    let config = config_dir.join(CONFIG_NAME);
    let before = match read_config(&config) {
        // What is not ours stays.
        Err(Error::InTheWay { .. }) => None,
        other => other?,
    };
    if let Some(before) = before {
        let chained = chained_plugins(&before);
        if chained.is_empty() {
            fs::remove_file(&config).map_err(Error::io("remove", &config))?;
            removed.push(config.clone());
        } else if chained.len() < plugins(&before).len() {
            let mut rest = before;
            rest["plugins"] = chained.into();
            put(&config, format!("{rest:#}\n").as_bytes(), 0o644)?;
        }
    }
    let target = bin_dir.join(PLUGIN_NAME);
    let aside = leftovers(&config).into_iter().chain(leftovers(&target));
    for path in aside.chain([target]) {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                removed.push(path);
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("look at", &path)(e)),
        }
    }
    Ok(removed)
}

/// The whole configuration, ours first.
fn config_text(chained: Vec<Value>) -> String {
    let ours = json!({"type": PLUGIN_NAME, "capabilities": {"portMappings": true}});
    let plugins: Vec<Value> = std::iter::once(ours).chain(chained).collect();
    // A runtime that does not know `cniVersions` (1.1) takes `cniVersion` as it is, and fails if it is newer than itself.
    let config = json!({
        "cniVersion": WIDELY_KNOWN_VERSION,
        "cniVersions": [WIDELY_KNOWN_VERSION, NEWEST_VERSION],
        "name": NETWORK_NAME,
        "plugins": plugins,
    });
    format!("{config:#}\n")
}

/// The configuration at our place, if there is one. One that is not of our network is someone else's.
fn read_config(path: &Path) -> Result<Option<Value>, Error> {
    refuse_special(path)?;
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let config: Option<Value> = serde_json::from_slice(&bytes).ok();
    match config {
        Some(config) if config["name"] == NETWORK_NAME && config["plugins"].is_array() => {
            Ok(Some(config))
        }
        _ => Err(Error::InTheWay {
            path: path.to_path_buf(),
            what: "a CNI configuration that Weft did not write",
        }),
    }
}

fn plugins(config: &Value) -> &[Value] {
    config["plugins"].as_array().map_or(&[], Vec::as_slice)
}

fn chained_plugins(config: &Value) -> Vec<Value> {
    let foreign = |plugin: &&Value| plugin["type"] != PLUGIN_NAME;
    plugins(config).iter().filter(foreign).cloned().collect()
}

/// Configurations that sort before ours. Runtimes take `.conf`, `.conflist` and `.json` in order of name.
fn shadowing(config_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(config_dir).map_err(Error::io("list", config_dir))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let ours = path.file_name().is_none_or(|name| name >= CONFIG_NAME);
            let kind = path.extension().and_then(|kind| kind.to_str());
            !ours && matches!(kind, Some("conf" | "conflist" | "json"))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// Replaces a file at once, unless it is the same already. The mode is as given: whatever bits a file brings that is
/// copied, none that gives rights goes with it.
fn put(path: &Path, contents: &[u8], mode: u32) -> Result<bool, Error> {
    refuse_special(path)?;
    let same_mode = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o7777 == mode);
    if same_mode && fs::read(path).is_ok_and(|before| before == contents) {
        return Ok(false);
    }
    for leftover in leftovers(path) {
        fs::remove_file(&leftover).map_err(Error::io("remove", &leftover))?;
    }
    let aside = aside(path, &std::process::id().to_string());
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(contents)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        path.parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&aside);
        Error::io("replace", path)(e)
    })?;
    Ok(true)
}

/// A symbolic link, directory or device at one of our places is nothing that we put there.
fn refuse_special(path: &Path) -> Result<(), Error> {
    let what = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => "a symbolic link, not a file of Weft",
        Ok(meta) if !meta.is_file() => "not a file",
        _ => return Ok(()),
    };
    Err(Error::InTheWay {
        path: path.to_path_buf(),
        what,
    })
}

/// Where a file is written before it is renamed to `path`. The leading dot and the ending hide it from runtimes.
fn aside(path: &Path, unique: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.weft-{unique}"))
}

/// What interrupted writings to `path` left.
fn leftovers(path: &Path) -> Vec<PathBuf> {
    let prefix = aside(path, "");
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy();
    let entries = path.parent().and_then(|dir| fs::read_dir(dir).ok());
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&*prefix))
        })
        .collect()
}

#[cfg(test)]
mod tests;
