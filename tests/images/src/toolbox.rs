//! The files of the images that upstream's tests name: one tree for all of them. Upstream's images
//! differ in their base and share what tests call in them, and a node unpacks one tree once.
//!
//! The shell is bash and not busybox, which would run its own applets instead of the programs that
//! the tests expect (`nc` with netcat-openbsd's flags, `wget -T`).

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use weir_images::tree;
use xtask::command;

use crate::folders::Folders;

/// What tests call in pods, from this machine's packages.
const PROGRAMS: &[&str] = &[
    "awk",
    "basename",
    "bash",
    "cat",
    "chmod",
    "chown",
    "conntrack",
    "cp",
    "curl",
    "cut",
    "date",
    "dd",
    "df",
    "dig",
    "dirname",
    "env",
    "expr",
    "false",
    "find",
    "getent",
    "grep",
    "gzip",
    "head",
    "host",
    "hostname",
    "id",
    "ip",
    "iperf",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mv",
    "nohup",
    "nproc",
    "nslookup",
    "od",
    "ping",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha256sum",
    "shuf",
    "sleep",
    "sort",
    "ss",
    "stat",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "wc",
    "wget",
    "which",
    "whoami",
    "xargs",
];
/// Netcat, of which a machine can have several.
const NETCAT: &str = "nc.openbsd";
/// Kubernetes' own programs, at the root as in upstream's images.
pub(crate) const UPSTREAM: &[&str] = &["agnhost", "coredns", "regression-issue-74839"];

/// Small files: what the C library looks for, and the user that upstream's image has.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         user-defined-in-image:x:1000:1000::/home:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/sh\n",
    ),
    (
        "etc/group",
        "root:x:0:\nuser-defined-in-image:x:1000:\n\
         group-defined-in-image:x:50000:user-defined-in-image\nnogroup:x:65534:\n",
    ),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
];

/// The programs of this machine that the tree is made of, with their places in it.
pub(crate) fn programs() -> Result<Vec<(PathBuf, PathBuf)>> {
    let find = |name: &str| {
        // Not by PATH, whose folders can hold other programs of these names.
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
            .iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|file| file.is_file())
            .with_context(|| format!("there is no program {name} for the images"))
    };
    let place = |name: &str| Path::new("usr/bin").join(name);
    let mut programs = vec![(find(NETCAT)?, place("nc")), (find("bash")?, place("sh"))];
    for name in PROGRAMS {
        programs.push((find(name)?, place(name)));
    }
    Ok(programs)
}

/// Puts the tree together.
pub(crate) fn gather(
    folders: &Folders,
    programs: &[(PathBuf, PathBuf)],
    root: &Path,
) -> Result<()> {
    tree::clear(root)?;
    tree::put_with_libraries(programs, root)?;
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/bin"), ("agnhost-2", "agnhost")] {
        symlink(target, root.join(link)).with_context(|| format!("make the link {link}"))?;
    }
    for (file, text) in FILES {
        let file = root.join(file);
        if let Some(folder) = file.parent() {
            make_folder(folder, 0o755)?;
        }
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    make_folder(&root.join("tmp"), 0o1777)?;
    make_folder(&root.join("uploads"), 0o755)?;
    for program in UPSTREAM {
        tree::put(&folders.tool(program), root, Path::new(program))?;
    }
    let source = kubernetes_source(folders)?;
    for file in ["localhost.crt", "localhost.key"] {
        tree::put(&source.join("test/images/agnhost/porter").join(file), root, Path::new(file))?;
    }
    compile_pause(&source.join("build/pause/linux/pause.c"), &root.join("pause"))
}

/// Where the source of Kubernetes is, of which the images hold a few files.
fn kubernetes_source(folders: &Folders) -> Result<PathBuf> {
    let mut go = Command::new("go");
    go.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]);
    let folder = command::output(go.current_dir(folders.upstream()))?;
    Ok(folder.trim().into())
}

/// Upstream's own, which holds a pod's namespaces in a few pages of memory.
fn compile_pause(source: &Path, program: &Path) -> Result<()> {
    let mut compiler = Command::new("musl-gcc");
    compiler.args(["-Os", "-static", "-s", "-o"]).arg(program).arg(source);
    command::output(&mut compiler).map(drop)
}

fn make_folder(folder: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(mode)))
        .with_context(|| format!("create {}", folder.display()))
}

/// Finds out here, and not in a pod, what the tree lacks.
pub(crate) fn try_programs(root: &Path) -> Result<()> {
    for line in [
        "dig -v",
        "nslookup -version",
        "curl --version",
        "wget --version",
        "ip -V",
        "ss -V",
        "ping -V",
        "conntrack --version",
        "getent passwd root",
        "nc -h",
        "which iperf",
        "/agnhost --version",
        "/coredns -version",
        "/pause -v",
        "test \"$BASH_VERSION\"",
    ] {
        let mut chroot = Command::new("chroot");
        command::output(chroot.arg(root).args(["/bin/sh", "-c", line]))
            .with_context(|| format!("'{line}' does not work in the images"))?;
    }
    Ok(())
}
