//! Settings under `/proc/sys/net`, as they should be and as they were before.
//!
//! In a container `/proc/sys` is read-only, so the directory of the node is mounted elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use weft_kernel::{Setting, State};

/// Settings of the whole node that its pods need: packets are passed on, in both families
/// (<https://docs.kernel.org/networking/ip-sysctl.html>).
const WANTED: [(&str, &str); 2] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];

/// Settings by their path below `/proc/sys`.
pub type Settings = BTreeMap<String, String>;

/// The settings of a node.
#[derive(Debug, Clone)]
pub struct Sysctl {
    root: PathBuf,
}

impl Sysctl {
    /// Below this directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Those of the wanted settings that are otherwise, with their values now. One that the kernel
    /// doesn't have is none of them.
    pub fn unmet(&self) -> Settings {
        WANTED
            .iter()
            .filter_map(|(path, wanted)| {
                let value = std::fs::read_to_string(self.root.join(path)).ok()?;
                (value.trim() != *wanted).then(|| ((*path).to_owned(), value.trim().to_owned()))
            })
            .collect()
    }

    /// Sets the wanted settings among `unmet`.
    ///
    /// # Errors
    /// In words, naming the setting.
    pub fn meet(&self, unmet: &Settings) -> Result<(), String> {
        for (path, wanted) in WANTED.iter().filter(|(path, _)| unmet.contains_key(*path)) {
            self.write(path, wanted)?;
        }
        Ok(())
    }

    /// Gives settings the values that they had. One whose device is gone needs none.
    ///
    /// # Errors
    /// In words, naming the last setting that refused; the others are restored.
    pub fn restore(&self, before: &Settings) -> Result<(), String> {
        let mut result = Ok(());
        for (path, value) in before
            .iter()
            .filter(|(path, _)| self.root.join(path).exists())
        {
            result = self.write(path, value).and(result);
        }
        result
    }

    fn write(&self, path: &str, value: &str) -> Result<(), String> {
        let refused = |error: io::Error| format!("cannot set {path} to {value}: {error}");
        std::fs::write(self.root.join(path), value).map_err(refused)
    }
}

/// What settings of devices of others are now that will be changed to become `desired`.
pub fn before(desired: &State, observed: &State) -> Settings {
    let mut before = Settings::new();
    for (key, wanted) in &desired.settings {
        let Some(value) = observed.settings.get(key).filter(|value| *value != wanted) else {
            continue;
        };
        if key.device.is_ours() {
            continue;
        }
        let setting = match key.setting {
            Setting::Forwarding => "forwarding",
            Setting::RpFilter => "rp_filter",
            Setting::RouteLocalnet => "route_localnet",
        };
        before.insert(
            format!("net/ipv4/conf/{}/{setting}", key.device),
            value.to_string(),
        );
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_kernel::SettingKey;

    #[test]
    fn what_is_set_is_restored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("net/ipv4");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("ip_forward"), "0\n").unwrap();
        let sysctl = Sysctl::new(directory.path());
        let unmet = sysctl.unmet();
        assert_eq!(unmet.len(), 1, "the kernel has no IPv6");
        sysctl.meet(&unmet).unwrap();
        assert!(sysctl.unmet().is_empty());
        sysctl.restore(&unmet).unwrap();
        assert_eq!(sysctl.unmet(), unmet);
    }

    #[test]
    fn only_settings_of_devices_of_others_have_to_be_restored() {
        let state = |value| State {
            settings: ["eth0", "weft.vx4"]
                .map(|device| SettingKey {
                    device: device.parse().unwrap(),
                    setting: Setting::RpFilter,
                })
                .map(|key| (key, value))
                .into(),
            ..State::default()
        };
        let before = before(&state(2), &state(1));
        assert_eq!(
            before,
            [("net/ipv4/conf/eth0/rp_filter".into(), "1".into())].into()
        );
    }
}
