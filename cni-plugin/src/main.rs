//! The `weir-cni` binary: environment and standard input in, one JSON document and an exit status
//! out. See the library for how it works.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use dlmalloc::GlobalDlmalloc;
use weir_cni::{answer, invocation::Environment};

/// musl's own asks the kernel for each buffer of a netlink message and gives it back, some eighty system
/// calls of an ADD.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

const HELP: &str = "\
weir-cni: the CNI plugin of Weir (bridge, veth and host-local addresses)

It is called by a container runtime, with its parameters in CNI_* environment variables and its
configuration on standard input (https://www.cni.dev/docs/spec/). To see it work:

  echo '{}' | CNI_COMMAND=VERSION weir-cni

Options:
  -h, --help      this text
  -V, --version   the version of the plugin

Environment:
  WEIR_CNI_LOG    error, warn, info, debug or trace: what goes to standard error
";

fn main() -> ExitCode {
    if let Some(option) = std::env::args().nth(1) {
        return explain(&option);
    }
    let answer = answer(&Environment::of_process(), io::stdin().lock());
    if let Some(document) = &answer.document
        && print(&format!("{document:#}\n")).is_err()
    {
        return ExitCode::FAILURE;
    }
    if answer.succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn explain(option: &str) -> ExitCode {
    let text = match option {
        "-h" | "--help" => HELP.to_owned(),
        "-V" | "--version" => format!("weir-cni {}\n", env!("CARGO_PKG_VERSION")),
        _ => {
            // Nothing more can be done if standard error is closed, too.
            let _ = writeln!(io::stderr(), "unknown option {option:?}; see weir-cni --help");
            return ExitCode::FAILURE;
        }
    };
    if print(&text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
