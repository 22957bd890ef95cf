//! The operator's tool on a node of a cluster.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::member::Member;
use crate::lab::cni::binary;
use crate::lab::namespaces::Stack;
use crate::lab::tool::Finished;

impl Member {
    /// Runs `weir` with these words, told where this node has its things. Judging how it ended is
    /// for the caller.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn weir(&self, words: &[&str]) -> Result<Finished> {
        let base = self.machine().dir();
        let mut tool = self.command(binary("weir")?)?.args(words);
        for (flag, path) in [
            ("--run-dir", "run"),
            ("--pin-dir", "bpf/weir"),
            ("--cni-conf-dir", "net.d"),
            ("--cni-bin-dir", "bin"),
            ("--data-dir", "networks"),
        ] {
            tool = tool.arg(flag).arg(base.join(path));
        }
        tool.finish()
    }

    /// What `weir` prints for people, if it succeeds.
    ///
    /// # Errors
    /// When it fails; the error has what it said.
    pub fn weir_text(&self, words: &[&str]) -> Result<String> {
        let Finished { status, stdout, stderr } = self.weir(words)?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        ensure!(status.success(), "weir {}: {status}\n{stderr}{text}", words.join(" "));
        Ok(text)
    }

    /// What `weir` prints for programs, and its exit code.
    ///
    /// # Errors
    /// When that is not JSON.
    pub fn weir_json(&self, words: &[&str]) -> Result<(i32, Value)> {
        let Finished { status, stdout, stderr } = self.weir(&[words, &["-o", "json"]].concat())?;
        let code = status.code().context("weir was killed")?;
        let value = serde_json::from_slice(&stdout).with_context(|| {
            let words = words.join(" ");
            format!("weir {words}: {status}\n{stderr}{}", String::from_utf8_lossy(&stdout))
        })?;
        Ok((code, value))
    }
}
