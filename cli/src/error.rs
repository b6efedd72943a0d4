//! Why a question could not be answered, and what to do about it.

use kube::config::KubeconfigError;
use thiserror::Error;

/// A question that could not be answered.
#[derive(Debug, Error)]
pub enum Error {
    /// No cluster could be found in the kubeconfig.
    #[error(
        "cannot use the kubeconfig: {0}; name one with --kubeconfig or KUBECONFIG, and see `kubectl config get-contexts`"
    )]
    Kubeconfig(String),
    /// The kinds of Weft are unknown.
    #[error(
        "Weft is not installed in the cluster at {server}: it does not know {what}; install the Helm chart charts/weft, or choose another cluster with --context"
    )]
    NotInstalled {
        /// Address of the API server.
        server: String,
        /// What was asked for, in the plural.
        what: &'static str,
    },
    /// There is nothing to carry out.
    #[error(
        "no NetworkConfig named default; Weft is installed but was not told what to do: apply one, such as the one in README.md"
    )]
    NoConfig,
    /// The user may not.
    #[error(
        "not allowed to list {what}: {message}; use an account that may get and list the group weft.dev, and nodes and pods"
    )]
    Forbidden {
        /// What was asked for, in the plural.
        what: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The API server doesn't know the user.
    #[error(
        "the API server at {server} does not accept the credentials of the kubeconfig: {message}; log in again"
    )]
    Unauthorized {
        /// Address of the API server.
        server: String,
        /// What the API server said.
        message: String,
    },
    /// The user may not change something, not even to see what would come of it.
    #[error(
        "not allowed to change {object}: {message}; use an account that may {verb} networkconfigs (and bgppeers, if the file has some) of the group weft.dev"
    )]
    MayNotChange {
        /// What was to be changed.
        object: String,
        /// The verb that it takes.
        verb: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The API server does not accept an object.
    #[error("the API server does not accept {object}: {message}")]
    Invalid {
        /// The object.
        object: String,
        /// What the API server said, as it is.
        message: String,
    },
    /// Somebody else changed the object at the same time.
    #[error("{0} changes all the time; try again")]
    Conflict(String),
    /// It is not the generation that was meant.
    #[error(
        "NetworkConfig default is of generation {present} now, not {meant}: somebody changed it; look at the difference, and plan anew"
    )]
    OtherGeneration {
        /// That which was meant.
        meant: i64,
        /// The present one.
        present: i64,
    },
    /// The file doesn't do.
    #[error("{file}: {message}")]
    File {
        /// Its name.
        file: String,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// No answer in time.
    #[error(
        "no answer from the API server at {server} within {seconds} s while {doing}; see whether it runs, or allow more with --request-timeout"
    )]
    TimedOut {
        /// Address of the API server.
        server: String,
        /// What it was asked to do.
        doing: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Nothing there.
    #[error(
        "cannot reach the API server at {server}: {message}; see whether it runs and whether the kubeconfig names the right cluster"
    )]
    Unreachable {
        /// Address of the API server.
        server: String,
        /// Why.
        message: String,
    },
    /// Anything else that the API server said.
    #[error("cannot list {what}: {message}")]
    Api {
        /// What was asked for, in the plural.
        what: &'static str,
        /// What the API server said.
        message: String,
    },
    /// The agent of a node can't be asked.
    #[error("the agent {pod} does not answer: {message}")]
    Agent {
        /// Its pod.
        pod: String,
        /// Why.
        message: String,
    },
    /// There is nobody to ask.
    #[error("there is no agent on a node {0}; see `kubectl get nodes` and `kubectl weft status`")]
    NoAgent(String),
    /// The answer could not be written.
    #[error("cannot write the answer: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// What a failed call comes down to.
    pub fn of_call(error: kube::Error, what: &'static str, server: &str) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => {
                let message = status.message.clone();
                match status.code {
                    401 => Error::Unauthorized { server, message },
                    403 => Error::Forbidden { what, message },
                    404 => Error::NotInstalled { server, what },
                    _ => Error::Api { what, message },
                }
            }
            kube::Error::HyperError(_) | kube::Error::Service(_) => Error::Unreachable {
                server,
                message: innermost(&error),
            },
            other => Error::Api {
                what,
                message: innermost(&other),
            },
        }
    }
}

impl Error {
    /// What a failed change comes down to.
    pub fn of_change(error: kube::Error, object: &str, verb: &'static str, server: &str) -> Self {
        let object = object.to_owned();
        match error {
            kube::Error::Api(status) => {
                let message = status.message.clone();
                match status.code {
                    401 => Error::Unauthorized {
                        server: server.to_owned(),
                        message,
                    },
                    403 => Error::MayNotChange {
                        object,
                        verb,
                        message,
                    },
                    409 => Error::Conflict(object),
                    _ => Error::Invalid { object, message },
                }
            }
            other => Error::of_call(other, "networkconfigs.weft.dev", server),
        }
    }

    /// The next time may be another: the API server is busy, restarts, or is cut off.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Error::TimedOut { .. } | Error::Unreachable { .. } | Error::Api { .. }
        )
    }
}

impl From<KubeconfigError> for Error {
    fn from(error: KubeconfigError) -> Self {
        Error::Kubeconfig(match error {
            KubeconfigError::ReadConfig(why, path) => format!("{}: {why}", path.display()),
            KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
            KubeconfigError::CurrentContextNotSet => {
                "it names no current context; choose one with --context".into()
            }
            other => other.to_string(),
        })
    }
}

/// What is at the bottom of an error: the layers above it only say that there was one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
