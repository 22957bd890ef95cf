//! The `weir` command on a node of a cluster.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::member::Member;
use crate::lab::cni::binary;
use crate::lab::stack::Stack;
use crate::lab::tool::Finished;

impl Member {
    /// Runs `weir` with these arguments and with the directories of this node. The caller judges
    /// the exit status.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn weir(&self, arguments: &[&str]) -> Result<Finished> {
        let base = self.machine().dir();
        let mut tool = self.command(binary("weir")?)?.args(arguments);
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

    /// The text output of `weir`, which must succeed.
    ///
    /// # Errors
    /// When it fails; the error has the output.
    pub fn weir_text(&self, arguments: &[&str]) -> Result<String> {
        let Finished { status, stdout, stderr } = self.weir(arguments)?;
        let text = String::from_utf8_lossy(&stdout).into_owned();
        ensure!(status.success(), "weir {}: {status}\n{stderr}{text}", arguments.join(" "));
        Ok(text)
    }

    /// The exit code and the JSON output of `weir`.
    ///
    /// # Errors
    /// When the output is not JSON.
    pub fn weir_json(&self, arguments: &[&str]) -> Result<(i32, Value)> {
        let Finished { status, stdout, stderr } =
            self.weir(&[arguments, &["-o", "json"]].concat())?;
        let code = status.code().context("weir was killed")?;
        let value = serde_json::from_slice(&stdout).with_context(|| {
            let arguments = arguments.join(" ");
            format!("weir {arguments}: {status}\n{stderr}{}", String::from_utf8_lossy(&stdout))
        })?;
        Ok((code, value))
    }
}
