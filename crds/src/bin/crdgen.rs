//! Writes the manifests of all definitions into the directory that is its one argument.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("usage: crdgen DIRECTORY")?,
    );
    for (name, yaml) in weft_crds::manifests()? {
        std::fs::write(directory.join(name), yaml)?;
    }
    Ok(())
}
