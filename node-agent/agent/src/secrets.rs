//! The Secrets in the namespace of Weft. They are kept in memory only, never on the disk.

use std::collections::BTreeMap;

/// Values by the name of the Secret and their key. What is deleted stays in force, as the sessions do that were made
/// with it.
#[derive(Debug, Default)]
pub struct Secrets {
    known: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Secrets {
    /// Takes a Secret over.
    pub fn set(&mut self, name: &str, values: BTreeMap<String, Vec<u8>>) {
        self.known.insert(name.to_owned(), values);
    }

    /// A value.
    ///
    /// # Errors
    /// In words, when it was never there, or isn't any more.
    pub fn value(&self, name: &str, key: &str) -> Result<Vec<u8>, String> {
        let Some(secret) = self.known.get(name) else {
            return Err(format!(
                "there is no Secret {name} in the namespace of Weft (passwordSecret); make it, or correct the name"
            ));
        };
        secret.get(key).cloned().ok_or_else(|| {
            format!("Secret {name} has no key {key:?} (passwordSecret); add it, or correct the key")
        })
    }
}
