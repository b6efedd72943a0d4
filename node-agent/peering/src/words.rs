//! Errors of the kernel for people.

use std::io;
use std::net::IpAddr;

use weft_kernel::Errno;

/// What is wrong, without numbers where the system has words for it.
pub(crate) fn error(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_lowercase(),
        None => error.to_string(),
    }
}

/// An address and a port: `192.0.2.1 port 179`.
pub(crate) fn place(address: IpAddr, port: u16) -> String {
    format!("{address} port {port}")
}
