//! A container image that the test builds from a static busybox, without a registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The name under which containerd knows the image.
pub(super) const REFERENCE: &str = "weir.test/busybox:latest";
/// The file in `/srv` that containers fetch from each other.
pub const PAYLOAD_NAME: &str = "payload";
const PAYLOAD_LEN: usize = 4 << 20;

/// An image in the format of `docker save`: a layer, its configuration and a manifest.
#[derive(Debug)]
pub struct Image {
    archive: PathBuf,
    payload_sha256: String,
}

impl Image {
    /// Builds the image below `dir`.
    ///
    /// # Errors
    /// When there is no busybox, or `tar` fails.
    pub fn build(dir: &Path) -> Result<Self> {
        let payload = payload();
        let root = dir.join("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "srv", "sys", "tmp"] {
            fs::create_dir_all(root.join(directory)).context("create the image's directories")?;
        }
        fs::copy("/bin/busybox", root.join("bin/busybox"))
            .context("copy /bin/busybox (is Debian's busybox-static installed?)")?;
        symlink("busybox", root.join("bin/sh")).context("link the image's shell")?;
        fs::write(root.join("srv").join(PAYLOAD_NAME), &payload).context("write the payload")?;

        let layer = dir.join("layer.tar");
        tar(&layer, &root, &["."])?;
        let layer = fs::read(&layer).context("read the image's layer")?;
        let configuration = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": ["PATH=/bin"], "Cmd": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        });
        let manifest = json!([
            { "Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"] }
        ]);
        fs::write(dir.join("config.json"), configuration.to_string())
            .context("write the image's configuration")?;
        fs::write(dir.join("manifest.json"), manifest.to_string())
            .context("write the image's manifest")?;
        let archive = dir.join("image.tar");
        tar(&archive, dir, &["manifest.json", "config.json", "layer.tar"])?;
        Ok(Self { archive, payload_sha256: sha256(&payload) })
    }

    /// The archive that `ctr image import` takes.
    #[must_use]
    pub fn archive(&self) -> &Path {
        &self.archive
    }

    /// The checksum of the file [`PAYLOAD_NAME`], in hexadecimal.
    #[must_use]
    pub fn payload_sha256(&self) -> &str {
        &self.payload_sha256
    }
}

/// Some megabytes in which all blocks differ, so that the checksum finds lost or swapped blocks.
fn payload() -> Vec<u8> {
    let words = (0..PAYLOAD_LEN as u64 / 8).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(u64::to_le_bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tar(archive: &Path, dir: &Path, members: &[&str]) -> Result<()> {
    let output = Command::new("tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--create", "--file"])
        .arg(archive)
        .arg("--directory")
        .arg(dir)
        .args(members)
        .output()
        .context("run tar")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tar {}: {stderr}", archive.display());
    Ok(())
}
