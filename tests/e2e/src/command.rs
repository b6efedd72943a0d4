//! Running other programs, with a time limit and with errors that show what they said.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::error::{Context, Error, Result};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// What a program that ran to its end left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128 and the signal's number if it was killed.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

enum Input {
    Null,
    Text(String),
    File(File),
}

/// A command line to run.
pub struct Cmd {
    argv: Vec<String>,
    envs: Vec<(String, String)>,
    input: Input,
    timeout: Duration,
}

impl Cmd {
    /// A command without arguments and without input, limited to two minutes.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_string_lossy().into_owned();
        Self {
            argv: vec![program],
            envs: Vec::new(),
            input: Input::Null,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.argv.extend(
            args.into_iter()
                .map(|a| a.as_ref().to_string_lossy().into_owned()),
        );
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((
            name.to_owned(),
            value.as_ref().to_string_lossy().into_owned(),
        ));
        self
    }

    /// Gives `text` as standard input.
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.input = Input::Text(text.into());
        self
    }

    /// Gives an open file as standard input.
    pub fn stdin_file(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// Changes how long it may run; it is killed then.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it. An exit code other than 0 is an error.
    pub async fn run(self) -> Result<Output> {
        let command = self.line();
        let output = self.output().await?;
        if output.success() {
            return Ok(output);
        }
        let stderr = if output.stderr.trim().is_empty() {
            output.stdout
        } else {
            output.stderr
        };
        Err(Error::Command {
            command,
            outcome: format!("ended with code {}", output.code),
            stderr,
        })
    }

    /// Runs it and returns whatever exit code it ends with.
    pub async fn output(self) -> Result<Output> {
        let line = self.line();
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .envs(self.envs)
            .kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let text = match self.input {
            Input::Null => {
                command.stdin(Stdio::null());
                None
            }
            Input::File(file) => {
                command.stdin(Stdio::from(file));
                None
            }
            Input::Text(text) => {
                command.stdin(Stdio::piped());
                Some(text)
            }
        };
        let mut child = command.spawn().map_err(|error| Error::Command {
            command: line.clone(),
            outcome: format!("could not start: {error}"),
            stderr: String::new(),
        })?;
        let stdin = child.stdin.take();
        let feed = async move {
            if let (Some(mut stdin), Some(text)) = (stdin, text) {
                // A program may end without reading all its input; its exit code tells.
                let _ = stdin.write_all(text.as_bytes()).await;
            }
        };
        let both = async { tokio::join!(child.wait_with_output(), feed).0 };
        let Ok(output) = tokio::time::timeout(self.timeout, both).await else {
            return Err(Error::Command {
                command: line,
                outcome: format!("was killed after {} s", self.timeout.as_secs()),
                stderr: String::new(),
            });
        };
        let output = output.doing(|| format!("wait for `{line}`"))?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        Ok(Output {
            code: output.status.code().unwrap_or(128 + signal.unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn line(&self) -> String {
        self.argv.join(" ")
    }
}
