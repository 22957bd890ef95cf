//! A server that closes each connection as soon as it is open.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use weir_tests::lab::{AttachedPod, Stack, close};

/// How often it checks whether it has been stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The server. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Closing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Closing {
    /// Starts a server at the pod's address.
    pub(crate) fn start(pod: &AttachedPod, port: u16) -> Result<Self> {
        let address = SocketAddr::new(pod.address()?, port);
        let listener = pod.run(|| TcpListener::bind(address).context("listen"))?;
        let wait = Some(POLL_INTERVAL);
        set_socket_timeout(&listener, Timeout::Recv, wait).context("set a deadline")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // What it accepts is closed here.
                let _ = listener.accept();
            }
            close(listener);
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It returns nothing.
            let _ = thread.join();
        }
    }
}
