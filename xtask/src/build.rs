//! `cargo xtask build`: the released programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use xtask::command;
use xtask::console::{self, Steps};
use xtask::released::{PROGRAMS, TARGET};

use crate::elf;
use crate::requirements::{self, BUILD, Report};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, BUILD, Report::OnlyMissing)?;
    programs(workspace, &mut steps)
}

/// Builds the released programs and checks that they are static.
pub(crate) fn programs(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.step("build the released programs", || {
        let mut cargo = command::cargo();
        cargo.args(["build", "--release", "--target", TARGET]).current_dir(&workspace.root);
        for program in PROGRAMS {
            cargo.args(["--package", program]);
        }
        command::run(&mut cargo)?;
        PROGRAMS.iter().try_for_each(|program| check(&workspace.release().join(program)))
    })
}

fn check(program: &Path) -> Result<()> {
    let file = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    if !elf::is_static(&file).with_context(|| program.display().to_string())? {
        bail!("{} is not static: it names a dynamic loader", program.display());
    }
    console::note(&format!("{}  static, {}", program.display(), console::size(file.len())));
    Ok(())
}
