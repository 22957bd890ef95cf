//! Starting programs beside threads that hold sockets.
//!
//! Between fork and exec a program has a copy of every socket of the process. One that a test
//! closes in that instant stays open in the kernel, for as long as a busy machine takes to go on.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

static STARTING: Mutex<()> = Mutex::new(());

fn nobody_else_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`Command::spawn`], which returns after exec.
pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    let _alone = nobody_else_starts();
    command.spawn()
}

/// Drops `held`, and with it the last copy of a socket that it has: the kernel closes it before
/// this returns.
pub fn close<T>(held: T) {
    let _alone = nobody_else_starts();
    drop(held);
}
