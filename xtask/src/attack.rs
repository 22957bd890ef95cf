//! `cargo xtask attack`: attackers against a small cluster on this machine.

use std::ffi::OsString;

use anyhow::Result;
use xtask::console::{self, Steps};

use crate::requirements::{self, ATTACK, Report};
use crate::workspace::Workspace;
use crate::{build, program, root};

const PROGRAM: &str = "weir-attack";

pub(crate) fn run(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    root::demand("attack")?;
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, ATTACK, Report::OnlyMissing)?;
    build::programs(workspace, &mut steps)?;
    console::announce(PROGRAM);
    let mut attack = program::of_package(workspace, PROGRAM, PROGRAM, args);
    console::echo(&attack);
    program::become_program(PROGRAM, &mut attack)
}
