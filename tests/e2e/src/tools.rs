//! Where the programs are that the testbed runs.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The directory that `setup.sh` fills: `WEFT_CACHE`, or `~/.cache/weft`.
pub fn cache() -> PathBuf {
    if let Some(path) = std::env::var_os("WEFT_CACHE") {
        return path.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(".cache/weft")
}

/// A program that `setup.sh` builds: kubelet, kubectl, helm, coredns and so on.
pub fn built(name: &str) -> Result<PathBuf> {
    let link = cache().join("bin").join(name);
    let missing = || Error::Missing {
        program: name.to_owned(),
        looked_for: link.display().to_string(),
    };
    // The directory that the link leads to stays right when a later setup moves
    // the links. Not further: a Kubernetes program knows what it is by its name.
    let target = std::fs::read_link(&link).map_err(|_| missing())?;
    let dir = target.parent().ok_or_else(missing)?;
    let dir = cache()
        .join("bin")
        .join(dir)
        .canonicalize()
        .map_err(|_| missing())?;
    Some(dir.join(name))
        .filter(|path| path.is_file())
        .ok_or_else(missing)
}

/// A program from a Debian package, looked for in the usual directories and in PATH.
pub fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    usual
        .into_iter()
        .chain(path.split(':'))
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Missing {
            program: name.to_owned(),
            looked_for: format!("{name} in PATH"),
        })
}

/// Checks that every program is there that a cluster needs, before anything is made.
pub fn check() -> Result<()> {
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "kubectl",
    ] {
        built(name)?;
    }
    for name in [
        "etcd",
        "containerd",
        "runc",
        "ctr",
        "buildah",
        "nft",
        "ip",
        "bridge",
        "iptables",
        "nsenter",
    ] {
        installed(name)?;
    }
    testbed().map(|_| ())
}

/// The `weft-testbed` binary, which is also pid 1 of each node: this program
/// itself, or `WEFT_TESTBED`, or the one beside this program in the build directory.
pub fn testbed() -> Result<PathBuf> {
    const NAME: &str = "weft-testbed";
    if let Some(path) = std::env::var_os("WEFT_TESTBED") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().unwrap_or_default();
    if this.file_name().is_some_and(|name| name == NAME) {
        return Ok(this);
    }
    this.ancestors().skip(1).take(2).map(|dir| dir.join(NAME)).find(|path| path.is_file()).ok_or_else(|| {
        Error::State(format!(
            "weft-testbed is not beside {}: build it with `cargo build -p weft-e2e`, or name it in WEFT_TESTBED",
            this.display()
        ))
    })
}

/// The directory of Weft's own binaries: `WEFT_BIN`, or where `weft-testbed` is.
pub fn weft_binaries() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("WEFT_BIN") {
        return Ok(path.into());
    }
    Ok(testbed()?.parent().unwrap_or(Path::new("/")).to_owned())
}
