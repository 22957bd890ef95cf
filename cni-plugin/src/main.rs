//! The `weir-cni` binary: environment and standard input in, one JSON document and an exit status
//! out. See the library for how it works.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use dlmalloc::GlobalDlmalloc;
use weir_cni::invocation::Environment;

/// musl's allocator requests each buffer of a netlink message from the kernel and returns it, which costs
/// an ADD some eighty system calls.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

const HELP: &str = "\
weir-cni: the CNI plugin of Weir (bridge, veth and host-local addresses)

A container runtime calls it, with parameters in CNI_* environment variables and the configuration on
standard input (https://www.cni.dev/docs/spec/). Example:

  echo '{}' | CNI_COMMAND=VERSION weir-cni

Options:
  -h, --help      print this help
  -V, --version   print the version of the plugin

Environment:
  WEIR_CNI_LOG    level of messages on standard error: error, warn, info, debug or trace
";

fn main() -> ExitCode {
    if let Some(option) = std::env::args().nth(1) {
        return print_option(&option);
    }
    let response = weir_cni::run(&Environment::of_process(), io::stdin().lock());
    if let Some(document) = &response.document
        && print(&format!("{document:#}\n")).is_err()
    {
        return ExitCode::FAILURE;
    }
    if response.succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_option(option: &str) -> ExitCode {
    let text = match option {
        "-h" | "--help" => HELP.to_owned(),
        "-V" | "--version" => format!("weir-cni {}\n", env!("CARGO_PKG_VERSION")),
        _ => {
            // If standard error is closed too, the message is lost.
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
