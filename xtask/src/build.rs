//! `cargo xtask build`: the released programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::console::{self, Steps};
use crate::requirements::{self, BUILD, Report};
use crate::workspace::{MUSL, Workspace};
use crate::{command, elf};

/// The released programs; each is a package of the same name.
const PROGRAMS: &[&str] = &["weir-agent", "weir-cni"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    requirements::ensure(workspace, &mut steps, BUILD, Report::OnlyMissing)?;
    programs(workspace, &mut steps)
}

/// Builds the released programs and checks that they are static.
pub(crate) fn programs(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.step("build the released programs", || {
        let mut cargo = command::cargo();
        cargo.args(["build", "--release", "--target", MUSL]).current_dir(&workspace.root);
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
        bail!("{} is not static: it asks for a dynamic loader", program.display());
    }
    console::note(&format!("{}  static, {}", program.display(), size(file.len())));
    Ok(())
}

fn size(bytes: usize) -> String {
    let kib = bytes.div_ceil(1024);
    if kib < 10_000 { format!("{kib} KiB") } else { format!("{} MiB", kib.div_ceil(1024)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_unit_that_one_can_read() {
        assert_eq!(size(1), "1 KiB");
        assert_eq!(size(1_048_576), "1024 KiB");
        assert_eq!(size(20 * 1_048_576), "20 MiB");
    }
}
