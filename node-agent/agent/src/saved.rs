//! What the agent keeps on the disk of the node: the cluster as it was last known, so that a node
//! that boots without an API server comes back, and the settings of devices as they were before Weft,
//! so that they can be restored.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::sysctl::Settings;

/// The contents of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The cluster as it was last known.
    pub cluster: Cluster,
    /// Settings under `/proc/sys` by their path there, and their values before Weft changed them.
    #[serde(default)]
    pub settings_before: Settings,
}

impl Saved {
    /// Keeps the values that settings had before Weft first changed them.
    ///
    /// # Errors
    /// In words, when they can't be written down.
    pub fn remember(&mut self, before: Settings, file: &File) -> Result<(), String> {
        let mut saved = self.clone();
        for (path, value) in before {
            saved.settings_before.entry(path).or_insert(value);
        }
        if saved != *self {
            file.save(&saved).map_err(|error| {
                format!("cannot write down what settings were before they are changed: {error}; free some space on the disk of the node")
            })?;
            *self = saved;
        }
        Ok(())
    }
}

/// The file.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
}

/// What [`File::load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// What was saved, or nothing.
    pub saved: Saved,
    /// Where a file that could not be understood was put, and why.
    pub set_aside: Option<(PathBuf, String)>,
}

impl File {
    /// The file `agent.json` in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            path: directory.join("agent.json"),
        }
    }

    /// Reads it. A file that can't be understood is set aside: the API server has it all.
    ///
    /// # Errors
    /// The file is there and can't be read, or not be moved aside.
    pub fn load(&self) -> io::Result<Loaded> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Loaded {
                    saved: Saved::default(),
                    set_aside: None,
                });
            }
            Err(error) => return Err(error),
        };
        match serde_json::from_slice(&bytes) {
            Ok(saved) => Ok(Loaded {
                saved,
                set_aside: None,
            }),
            Err(error) => {
                let aside = self.aside();
                std::fs::rename(&self.path, &aside)?;
                let set_aside = Some((aside, error.to_string()));
                Ok(Loaded {
                    saved: Saved::default(),
                    set_aside,
                })
            }
        }
    }

    /// Writes it, at once or not at all.
    ///
    /// # Errors
    /// The disk refuses; the former file stays.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let temporary = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)
    }

    fn aside(&self) -> PathBuf {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.path.with_extension(format!("json.corrupt-{now}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Saved {
        let settings_before = [("net/ipv4/conf/eth0/rp_filter".to_owned(), "1".to_owned())];
        Saved {
            settings_before: settings_before.into(),
            ..Saved::default()
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::new(directory.path());
        assert_eq!(file.load().unwrap().saved, Saved::default());
        file.save(&sample()).unwrap();
        assert_eq!(file.load().unwrap().saved, sample());
    }

    #[test]
    fn a_file_cut_at_any_byte_is_set_aside_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::new(directory.path());
        file.save(&sample()).unwrap();
        let whole = std::fs::read(directory.path().join("agent.json")).unwrap();
        for length in 0..whole.len() {
            std::fs::write(directory.path().join("agent.json"), &whole[..length]).unwrap();
            let loaded = file.load().unwrap();
            assert_eq!(loaded.saved, Saved::default());
            let (aside, _) = loaded.set_aside.unwrap();
            assert_eq!(std::fs::read(&aside).unwrap(), &whole[..length]);
        }
    }

    #[test]
    fn a_failed_save_leaves_the_former_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::new(directory.path());
        file.save(&sample()).unwrap();
        std::fs::create_dir(directory.path().join("agent.json.new")).unwrap();
        assert!(file.save(&Saved::default()).is_err());
        assert_eq!(file.load().unwrap().saved, sample());
    }
}
