//! `cargo xtask setup`: installs the needs of all tasks ahead of time.

use anyhow::Result;

use xtask::console::Steps;

use crate::requirements::{
    self, BENCH_CNI, BUILD, DEMO, E2E_CLUSTER, IMAGE, KERNELS, LINT, Report, TEST,
};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    let needs = [BUILD, LINT, TEST, DEMO, BENCH_CNI, IMAGE, E2E_CLUSTER, KERNELS].concat();
    requirements::ensure(workspace, &mut steps, &needs, Report::Everything)?;
    steps.summary();
    Ok(())
}
