//! What the runtime says by environment variables (CNI specification, "Parameters").

use std::collections::BTreeMap;
use std::ffi::OsString;

use weft_ipam::{AttachmentId, PodRef};

use super::error::{Code, Failure};

/// The variables as they come. None of them is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CNI_COMMAND`.
    pub command: Option<String>,
    /// `CNI_CONTAINERID`.
    pub container_id: Option<String>,
    /// `CNI_NETNS`.
    pub netns: Option<String>,
    /// `CNI_IFNAME`.
    pub ifname: Option<String>,
    /// `CNI_ARGS`.
    pub args: Option<String>,
}

/// `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Environment {
    /// Those of this process. One that is not UTF-8 is not a valid value of any of them.
    pub fn of_process() -> Self {
        let read = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value: OsString| value.to_string_lossy().into_owned())
        };
        Self {
            command: read("CNI_COMMAND"),
            container_id: read("CNI_CONTAINERID"),
            netns: read("CNI_NETNS"),
            ifname: read("CNI_IFNAME"),
            args: read("CNI_ARGS"),
        }
    }

    pub(crate) fn command(&self) -> Result<Command, Failure> {
        match self.command.as_deref() {
            Some("ADD") => Ok(Command::Add),
            Some("DEL") => Ok(Command::Del),
            Some("CHECK") => Ok(Command::Check),
            Some("GC") => Ok(Command::Gc),
            Some("STATUS") => Ok(Command::Status),
            Some("VERSION") => Ok(Command::Version),
            other => Err(invalid("CNI_COMMAND", other, "is not a command of CNI")),
        }
    }

    /// `CNI_CONTAINERID` and `CNI_IFNAME`, by the specification's grammar.
    pub(crate) fn attachment_id(&self) -> Result<AttachmentId, Failure> {
        let container_id = self.container_id.as_deref();
        let ifname = self.ifname.as_deref();
        if !container_id.is_some_and(is_identifier) {
            let why = "must be letters, digits, '_', '.' and '-', the first a letter or digit";
            return Err(invalid("CNI_CONTAINERID", container_id, why));
        }
        if !ifname.is_some_and(is_interface_name) {
            let why = "must be 1 to 15 characters without '/', ':' and spaces";
            return Err(invalid("CNI_IFNAME", ifname, why));
        }
        Ok(AttachmentId::new(
            container_id.unwrap_or_default(),
            ifname.unwrap_or_default(),
        ))
    }

    /// `CNI_NETNS`, for the commands that need it.
    pub(crate) fn netns(&self) -> Result<&str, Failure> {
        match self.netns.as_deref() {
            Some(path) if path.starts_with('/') && !path.contains('\u{fffd}') => Ok(path),
            other => Err(invalid("CNI_NETNS", other, "must be an absolute path")),
        }
    }

    /// The pod that `CNI_ARGS` names. What else is there is for others.
    pub(crate) fn pod(&self) -> PodRef {
        let pairs: BTreeMap<&str, &str> = self
            .args
            .as_deref()
            .unwrap_or_default()
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let read = |key| pairs.get(key).copied().unwrap_or_default().to_owned();
        PodRef {
            namespace: read("K8S_POD_NAMESPACE"),
            name: read("K8S_POD_NAME"),
            uid: read("K8S_POD_UID"),
        }
    }
}

fn invalid(name: &str, value: Option<&str>, why: &str) -> Failure {
    let message = match value {
        None => format!("{name} is not set; it {why}"),
        Some(value) => format!("{name}={value:?} {why}"),
    };
    Failure::new(Code::InvalidEnvironment, message)
}

/// The grammar of container ids and network names: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| {
            matches!(c, '/' | ':' | '\u{fffd}') || c.is_whitespace() || c.is_control()
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn environment(container_id: &str, ifname: &str, netns: &str) -> Environment {
        Environment {
            command: Some("ADD".into()),
            container_id: Some(container_id.into()),
            netns: Some(netns.into()),
            ifname: Some(ifname.into()),
            args: None,
        }
    }

    #[rstest]
    #[case("../../etc", "eth0", "CNI_CONTAINERID")]
    #[case("", "eth0", "CNI_CONTAINERID")]
    #[case("-a", "eth0", "CNI_CONTAINERID")]
    #[case("a b", "eth0", "CNI_CONTAINERID")]
    #[case("a\n", "eth0", "CNI_CONTAINERID")]
    #[case("a", "", "CNI_IFNAME")]
    #[case("a", "..", "CNI_IFNAME")]
    #[case("a", "a/b", "CNI_IFNAME")]
    #[case("a", "eth0:1", "CNI_IFNAME")]
    #[case("a", "sixteen-bytes-xx", "CNI_IFNAME")]
    fn ids_outside_the_grammar_are_refused(
        #[case] id: &str,
        #[case] ifname: &str,
        #[case] name: &str,
    ) {
        let failure = environment(id, ifname, "/x").attachment_id().unwrap_err();
        assert_eq!(failure.code, Code::InvalidEnvironment);
        assert!(failure.message.contains(name), "{}", failure.message);
    }

    #[test]
    fn the_pod_is_read_from_the_arguments() {
        let mut e = environment("a", "eth0", "relative");
        assert!(e.netns().is_err());
        e.args = Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;;K8S_POD_NAME=p=q;K8S_POD_UID".into());
        let pod = e.pod();
        assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("ns", "p=q", ""));
    }
}
