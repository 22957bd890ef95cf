//! Locks between processes: `flock` on a file, like that of host-local, or on a directory.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::Error;

/// Processes hold the lock for microseconds; a longer time means that one hangs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

impl Lock {
    /// Waits for the lock of a file, which is created if necessary, at most [`TIME_LIMIT`].
    pub(crate) fn acquire(path: &Path) -> Result<Self, Error> {
        Self::acquire_within(path, TIME_LIMIT)
    }

    /// Waits for the lock of a directory, at most [`TIME_LIMIT`].
    pub(crate) fn of_directory(path: &Path) -> Result<Self, Error> {
        Self::wait(File::open(path), path, TIME_LIMIT)
    }

    fn acquire_within(path: &Path, limit: Duration) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Self::wait(options.open(path), path, limit)
    }

    fn wait(opened: io::Result<File>, path: &Path, limit: Duration) -> Result<Self, Error> {
        let file = opened.map_err(Error::file("open", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Self(file)),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(Error::file("lock", path)(errno.into())),
        }
        // flock has no time limit, so a thread waits in it. After the time limit the thread is
        // abandoned: the process is about to end with an error.
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let outcome = loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Err(Errno::INTR) => {}
                    outcome => break outcome,
                }
            };
            // After the time limit nothing receives the file, and it is closed.
            let _ = sender.send(outcome.map(|()| file));
        });
        match receiver.recv_timeout(limit) {
            Ok(Ok(file)) => Ok(Self(file)),
            Ok(Err(errno)) => Err(Error::file("lock", path)(errno.into())),
            Err(_) => Err(Error::Locked { path: path.to_owned(), limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_released_in_time_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::acquire(&path).unwrap();
        let (started, waiting) = mpsc::channel();
        let waiter = thread::spawn({
            let path = path.clone();
            move || {
                started.send(()).unwrap();
                Lock::acquire_within(&path, Duration::from_secs(30)).is_ok()
            }
        });
        waiting.recv().unwrap();
        drop(first);
        assert!(waiter.join().unwrap());
    }

    #[test]
    fn a_lock_that_is_never_released_is_an_error_to_try_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _first = Lock::acquire(&path).unwrap();
        let error = Lock::acquire_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.code(), 11);
    }
}
