//! `cargo xtask demo`: a small cluster on this machine, to look at.

use std::ffi::OsString;

use anyhow::Result;
use xtask::console::{self, Steps};

use crate::requirements::{self, DEMO, Report};
use crate::workspace::Workspace;
use crate::{build, program, root};

const PROGRAM: &str = "weir-demo";

pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    root::demand("demo")?;
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, DEMO, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;
    console::announce(PROGRAM);
    let mut demo = program::of_package(workspace, "weir-tests", PROGRAM, args);
    console::echo(&demo);
    program::become_program(PROGRAM, &mut demo)
}
