//! The CNI specification's words: environment, configuration, results and errors, versions 0.3.1 to 1.1.0.

mod config;
mod environment;
mod error;
mod result;

pub(crate) use config::Config;
pub(crate) use environment::Command;
pub use environment::Environment;
pub(crate) use error::{Code, Failure};
pub(crate) use result::Outcome;

/// Versions of the specification whose configurations are understood and whose results are given, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The newest of them.
pub(crate) const NEWEST_VERSION: &str = "1.1.0";

/// What goes back to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether the process ends with success.
    pub ok: bool,
    /// For standard output: JSON, or nothing.
    pub output: String,
    /// For standard error: a line, if there is something to say.
    pub message: Option<String>,
}

impl Answer {
    pub(crate) fn success(output: String) -> Self {
        Self {
            ok: true,
            output,
            message: None,
        }
    }

    pub(crate) fn failure(version: &str, failure: &Failure) -> Self {
        Self {
            ok: false,
            output: failure.to_json(version),
            message: Some(failure.message.clone()),
        }
    }

    /// The answer when standard input could not be read at all.
    pub fn unreadable_input(error: &std::io::Error) -> Self {
        let failure = Failure::new(
            Code::IoFailure,
            format!("cannot read standard input: {error}"),
        );
        Self::failure(NEWEST_VERSION, &failure)
    }
}
