//! Container images: built by buildah from the Containerfiles in `images/`, kept as
//! archives under a hash of all that goes into them.

use std::path::{Path, PathBuf};

use crate::command::Cmd;
use crate::error::{Context, Error, Result, make_dir, read_file, write_file};
use crate::{node::Node, tools};

/// The archive of an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name in Kubernetes: `localhost/NAME:dev`.
    pub reference: String,
    /// A docker-archive.
    pub archive: PathBuf,
}

/// Builds the image of `images/NAME/Containerfile`, or finds it in the cache. What the file
/// copies is taken from beside it, from Weft's own binaries, from the cache of
/// built programs, or from the machine's, whichever has it first.
pub async fn build(name: &str) -> Result<Image> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("images")
        .join(name);
    let containerfile = source.join("Containerfile");
    if !containerfile.exists() {
        return Err(Error::State(format!(
            "there is no image {name}: {} is missing",
            containerfile.display()
        )));
    }
    let mut inputs = vec![containerfile.clone()];
    for file in copied(&read_file(&containerfile)?) {
        inputs.push(find(&source, &file)?);
    }
    let image = Image {
        reference: format!("localhost/{name}:dev"),
        archive: tools::cache()
            .join("images")
            .join(format!("{name}-{}.tar", hash(&inputs).await?)),
    };
    if !image.archive.exists() {
        build_archive(&image, &inputs).await?;
    }
    Ok(image)
}

/// Brings an image into a node's containerd.
pub async fn load(image: &Image, node: &Node) -> Result<()> {
    let archive = std::fs::File::open(&image.archive)
        .doing(|| format!("open {}", image.archive.display()))?;
    let import = node.command(["ctr", "--namespace", "k8s.io", "images", "import", "-"])?;
    import.stdin_file(archive).run().await.map(|_| ())
}

async fn build_archive(image: &Image, inputs: &[PathBuf]) -> Result<()> {
    let images = tools::cache().join("images");
    make_dir(&images)?;
    let work = WorkDir::make(&images)?;
    let context = work.0.join("context");
    make_dir(&context)?;
    for input in inputs {
        let name = input.file_name().unwrap_or_default();
        let copy = context.join(name);
        std::fs::copy(input, &copy)
            .doing(|| format!("copy {} to {}", input.display(), copy.display()))?;
        if name != "Containerfile" && input.starts_with(tools::weft_binaries()?) {
            // Debug information is most of such a binary, and no pod needs it.
            let _ = Cmd::new("strip")
                .args([Path::new("--strip-debug"), &copy])
                .output()
                .await;
        }
    }
    let policy = work.0.join("policy.json");
    write_file(
        &policy,
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    )?;
    let buildah = |command: &str| {
        let global = [
            "--storage-driver=vfs".to_owned(),
            work.argument("root"),
            work.argument("runroot"),
        ];
        let policy = format!("--signature-policy={}", policy.display());
        Cmd::new("buildah")
            .args(global)
            .args([command, &policy])
            .env("TMPDIR", &work.0)
    };
    let tag = format!("--tag={}", image.reference);
    buildah("bud")
        .args(["--isolation=chroot", "--quiet", &tag])
        .args([&context])
        .run()
        .await?;
    let whole = work.0.join("image.tar");
    let target = format!("docker-archive:{}:{}", whole.display(), image.reference);
    buildah("push")
        .args(["--quiet", &image.reference, &target])
        .run()
        .await?;
    std::fs::rename(&whole, &image.archive)
        .doing(|| format!("make {}", image.archive.display()))?;
    // Earlier builds of the same image are of no more use.
    let prefix = image
        .reference
        .trim_start_matches("localhost/")
        .trim_end_matches(":dev")
        .to_owned()
        + "-";
    for entry in std::fs::read_dir(&images).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let hash = name
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".tar"));
        if hash.is_some_and(|hash| !hash.contains('-')) && entry.path() != image.archive {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn find(source: &Path, file: &str) -> Result<PathBuf> {
    let own = [source.join(file), tools::weft_binaries()?.join(file)];
    if let Some(path) = own.into_iter().find(|path| path.is_file()) {
        return Ok(path);
    }
    tools::built(file)
        .or_else(|_| tools::installed(file))
        .map_err(|_| Error::Missing {
            program: file.to_owned(),
            looked_for: format!(
                "{file} in {}, in the cache and in PATH; `cargo build` makes Weft's own",
                tools::weft_binaries().unwrap_or_default().display()
            ),
        })
}

/// The files that a Containerfile copies from its context.
fn copied(containerfile: &str) -> Vec<String> {
    let lines = containerfile
        .lines()
        .filter_map(|line| line.trim().strip_prefix("COPY "));
    lines
        .filter_map(|arguments| arguments.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

async fn hash(inputs: &[PathBuf]) -> Result<String> {
    // Each file's hash, then the hash of these without the paths.
    let sums = Cmd::new("sha256sum").args(inputs).run().await?.stdout;
    let sums: Vec<_> = sums
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let whole = Cmd::new("sha256sum")
        .stdin(sums.join("\n"))
        .run()
        .await?
        .stdout;
    Ok(whole.chars().take(12).collect())
}

struct WorkDir(PathBuf);

impl WorkDir {
    fn make(parent: &Path) -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".build-{}-{number}", std::process::id()));
        make_dir(&path)?;
        Ok(Self(path))
    }

    fn argument(&self, name: &str) -> String {
        format!("--{name}={}", self.0.join(name).display())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_containerfile_copies() {
        let text = "FROM scratch\n# COPY not\nCOPY weft-agent /weft-agent\n COPY a b\nRUN x\n";
        assert_eq!(copied(text), ["weft-agent", "a"]);
    }

    #[tokio::test]
    async fn an_image_is_built_once() {
        let first = build("tools").await.expect("built");
        let made = std::fs::metadata(&first.archive)
            .and_then(|meta| meta.modified())
            .expect("there");
        let second = build("tools").await.expect("found");
        assert_eq!(second.archive, first.archive);
        assert_eq!(
            std::fs::metadata(&second.archive)
                .and_then(|meta| meta.modified())
                .expect("there"),
            made
        );
    }
}
