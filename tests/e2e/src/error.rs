//! What can go wrong in the testbed, told so that a reader knows what to do.

use std::path::Path;

/// An error of the testbed. Each names the object and the operation.
#[derive(thiserror::Error)]
pub enum Error {
    /// A file or system call failed.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried, with the object's name.
        operation: String,
        /// Why the kernel refused.
        source: std::io::Error,
    },
    /// A program ended with an exit code other than 0, or could not start.
    #[error("`{command}` {outcome}{}", indented(.stderr))]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        outcome: String,
        /// What it said.
        stderr: String,
    },
    /// A program that the testbed runs is not there.
    #[error(
        "{program} is not there: run `make deps` (or `weft-testbed deps`) first; looked for {looked_for}"
    )]
    Missing {
        /// The program.
        program: String,
        /// Where it should have been.
        looked_for: String,
    },
    /// Something that was waited for did not come.
    #[error("waited {seconds} s for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was there instead.
        last: String,
    },
    /// A cluster's description makes no sense.
    #[error("cluster {cluster}: {problem}")]
    Spec {
        /// The cluster.
        cluster: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A cluster, node or other thing is not in the state that the operation needs.
    #[error("{0}")]
    State(String),
    /// A certificate could not be made.
    #[error("certificate {name}: {source}")]
    Certificate {
        /// Whose.
        name: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The Kubernetes API said no.
    #[error("{operation}: {source}")]
    Kube {
        /// What was asked.
        operation: String,
        /// The answer.
        source: Box<kube::Error>,
    },
}

/// The same as the message: a failed `expect` in a test then says what to do.
impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The result of anything in the testbed.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Names the operation that a plain error came from.
pub trait Context<T> {
    /// Wraps the error, calling the operation by `name()`.
    fn doing(self, name: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn doing(self, name: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            operation: name(),
            source,
        })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn doing(self, name: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Io {
            operation: name(),
            source: errno.into(),
        })
    }
}

impl<T> Context<T> for serde_json::Result<T> {
    fn doing(self, name: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io {
            operation: name(),
            source: error.into(),
        })
    }
}

impl<T> Context<T> for kube::Result<T> {
    fn doing(self, name: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kube {
            operation: name(),
            source: Box::new(source),
        })
    }
}

/// Writes a whole file, naming it when that fails.
pub fn write_file(path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    std::fs::write(path, text).doing(|| format!("write {}", path.display()))
}

/// Writes a whole file that only its owner may read: a key.
pub fn write_private_file(path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = path.as_ref();
    write_file(path, text)?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).doing(|| format!("set the mode of {}", path.display()))
}

/// Reads a whole file, naming it when that fails.
pub fn read_file(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).doing(|| format!("read {}", path.display()))
}

/// Makes a directory and those above it.
pub fn make_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    std::fs::create_dir_all(path).doing(|| format!("make directory {}", path.display()))
}

fn indented(stderr: &str) -> String {
    let lines: Vec<_> = stderr.trim().lines().collect();
    let tail = &lines[lines.len().saturating_sub(20)..];
    tail.iter().map(|line| format!("\n  {line}")).collect()
}
