//! Writes the reference of NetworkConfig into the directory that is its one argument.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .ok_or("usage: docgen DIRECTORY")?;
    let page = PathBuf::from(directory).join("networkconfig.md");
    std::fs::write(page, weft_crds::reference())?;
    Ok(())
}
