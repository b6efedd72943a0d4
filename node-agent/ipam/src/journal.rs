//! The bytes of the journal: read, append, write anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, Record};

/// What a journal's bytes say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The records of all lines that are whole, in order. Each line stands for itself: one that cannot be read
    /// does not make those after it doubtful, and to drop them would hand out addresses of running pods twice.
    pub(crate) records: Vec<Record>,
    /// The lines that are not, each with its newline.
    pub(crate) bad: Vec<u8>,
    /// How many these are.
    pub(crate) bad_lines: usize,
    /// Whether the next line can be appended as it is.
    pub(crate) appendable: bool,
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed {
        appendable: bytes.is_empty() || bytes.ends_with(b"\n"),
        ..Parsed::default()
    };
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match Record::from_line(line.strip_suffix(b"\n").unwrap_or(line)) {
            Some(record) => parsed.records.push(record),
            None => {
                parsed.bad.extend_from_slice(line);
                parsed.bad_lines += 1;
            }
        }
    }
    parsed
}

/// The open journal. Held only under the store's lock.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Journal {
    /// Opens (or makes) it and reads it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<u8>), Error> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|e| Error::io("read", path, e))?;
        let journal = Self {
            file,
            path: path.to_path_buf(),
            length: bytes.len() as u64,
        };
        Ok((journal, bytes))
    }

    /// Adds whole lines by one `write`, or nothing. Not synced: a page written survives the death of its writer,
    /// and a power cut ends the pods too.
    pub(crate) fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        let written = loop {
            match self.file.write(lines) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let failure = match written {
            Ok(n) if n == lines.len() => {
                self.length += n as u64;
                return Ok(());
            }
            Ok(_) => io::ErrorKind::StorageFull.into(),
            Err(e) => e,
        };
        // A part of the lines may be there: take it back. Should that fail, the next reader sees a bad line.
        let _ = self.file.set_len(self.length);
        Err(Error::io("append to", &self.path, failure))
    }

    /// Replaces the whole journal at once.
    pub(crate) fn rewrite(&mut self, lines: &[u8]) -> Result<(), Error> {
        replace_file(&self.path, lines)?;
        *self = Self::open(&self.path)?.0;
        Ok(())
    }
}

/// Writes a file aside, syncs it, renames it into place and syncs the directory: whoever reads `path`, after
/// whatever crash, sees the old or the new contents.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let aside = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&aside);
        Error::io("replace", path, e)
    })
}
