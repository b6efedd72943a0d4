//! Transmit checksum offload of a device. Some hardware and drivers send wrong inner
//! checksums when a tunnel leaves them to hardware, so that packets vanish.
#![allow(unsafe_code)] // One ioctl that no safe wrapper offers.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use crate::names::DeviceName;
use crate::netlink::Error;

// linux/ethtool.h
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether the device leaves checksums of sent packets to hardware.
pub(crate) fn tx_checksum(socket: BorrowedFd<'_>, device: DeviceName) -> Result<bool, Error> {
    let mut value = Value {
        command: ETHTOOL_GTXCSUM,
        data: 0,
    };
    request(socket, device, &mut value)?;
    Ok(value.data != 0)
}

/// Switches transmit checksum offload on or off.
pub(crate) fn set_tx_checksum(
    socket: BorrowedFd<'_>,
    device: DeviceName,
    on: bool,
) -> Result<(), Error> {
    let mut value = Value {
        command: ETHTOOL_STXCSUM,
        data: on.into(),
    };
    request(socket, device, &mut value)
}

fn request(socket: BorrowedFd<'_>, device: DeviceName, value: &mut Value) -> Result<(), Error> {
    let mut name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(device.as_str().bytes()) {
        *to = from as libc::c_char;
    }
    let data = libc::__c_anonymous_ifr_ifru {
        ifru_data: std::ptr::from_mut(value).cast(),
    };
    let mut ifreq = libc::ifreq {
        ifr_name: name,
        ifr_ifru: data,
    };
    // SAFETY: `ifreq` names a device by a zero-terminated string and points to a live
    // `struct ethtool_value`, which is what both commands read and write.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut ifreq) };
    let result = Errno::result(code).map(drop);
    result.map_err(|errno| Error::Kernel {
        errno,
        message: String::new(),
    })
}
