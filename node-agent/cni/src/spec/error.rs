//! Errors by the specification's numbers.

use serde::Serialize;

/// Error codes (CNI specification 1.1.0, "Error"); from 100 on they are this plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    UnknownContainer = 3,
    InvalidEnvironment = 4,
    IoFailure = 5,
    Undecodable = 6,
    InvalidConfig = 7,
    TryAgainLater = 11,
    NotAvailable = 50,
    /// The kernel refused something.
    Kernel = 100,
    /// A host port, interface name or address belongs to something else.
    Taken = 101,
    /// CHECK found something that is not as it was made.
    Deviates = 102,
}

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: String::new(),
        }
    }

    pub(crate) fn to_json(&self, version: &str) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            cni_version: &'a str,
            code: u16,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        let wire = Wire {
            cni_version: version,
            code: self.code as u16,
            msg: &self.message,
            details: &self.details,
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

impl From<weft_ipam::Error> for Failure {
    fn from(error: weft_ipam::Error) -> Self {
        use weft_ipam::Error as E;
        let code = match &error {
            E::Io { .. } | E::DiskFull { .. } => Code::IoFailure,
            E::LockTimeout { .. }
            | E::NodeMissing { .. }
            | E::NodeInvalid { .. }
            | E::NoBlocks
            | E::Full { .. } => Code::TryAgainLater,
            E::HostPortTaken { .. } | E::NameTaken { .. } => Code::Taken,
        };
        Self::new(code, error.to_string())
    }
}

impl From<weft_kernel::pod::Error> for Failure {
    fn from(error: weft_kernel::pod::Error) -> Self {
        use weft_kernel::pod::Error as E;
        let code = match &error {
            _ if error.is_netns_missing() => Code::UnknownContainer,
            E::Foreign { .. } | E::AddressInUse(_) => Code::Taken,
            E::Netns { .. } => Code::InvalidEnvironment,
            E::Kernel { .. } | E::Setting { .. } => Code::Kernel,
        };
        Self::new(code, error.to_string())
    }
}
