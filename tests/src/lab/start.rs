//! Starting programs while other threads hold sockets.
//!
//! Between fork and exec a program has a copy of every socket of the process. A socket that a test
//! closes in between stays open in the kernel until exec, which may take long on a busy machine.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

static STARTING: Mutex<()> = Mutex::new(());

fn lock_starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`Command::spawn`], which returns after exec.
pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    let _lock = lock_starting();
    command.spawn()
}

/// Drops `held`, which has the last copy of a socket: the kernel closes it before this returns.
pub fn close<T>(held: T) {
    let _lock = lock_starting();
    drop(held);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};
    use std::net::UdpSocket;
    use std::os::unix::process::CommandExt;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_is_closed_at_once_even_while_a_program_starts() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (mut receiver, mut sender) = pipe().unwrap();
        let mut command = Command::new("true");
        // SAFETY: between fork and exec there are a write and a sleep, which neither allocate nor take
        // a lock.
        unsafe {
            command.pre_exec(move || {
                sender.write_all(b"!")?;
                thread::sleep(Duration::from_millis(100));
                Ok(())
            });
        }
        thread::scope(|scope| {
            let program = scope.spawn(|| start(&mut command).and_then(|mut child| child.wait()));
            // The program has its copy of the socket now, and keeps it until exec.
            receiver.read_exact(&mut [0]).unwrap();
            close(socket);
            UdpSocket::bind(address).expect("the address is free");
            assert!(program.join().unwrap().unwrap().success());
        });
    }
}
