//! Continuous HTTP requests from a pod on one node to a pod on another.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::kubectl::Kubectl;
use crate::pods::{NAMESPACE, Pods};
use crate::wait;

/// Prints a line for each request, about ten a second. A lost request takes a second.
const CLIENT: &str = "while :; do \
    if curl --silent --max-time 1 --output /dev/null \"$0\"; then echo answered; else echo lost; fi; \
    sleep 0.1; done";
const TIMEOUT: Duration = Duration::from_secs(60);

/// A client pod and a server pod.
#[derive(Debug)]
pub(super) struct Flow {
    pods: Pods,
}

/// The numbers of requests by their outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    answered: usize,
    lost: usize,
}

impl Flow {
    /// Starts the pods on two nodes and waits for the first replies.
    ///
    /// # Errors
    /// When the pods do not start or do not reach each other.
    pub(super) fn start(pods: &Pods, from: &str, to: &str) -> Result<Self> {
        pods.create_server("server", to)?;
        let address = pods.ready("server")?;
        let host = if address.contains(':') { format!("[{address}]") } else { address };
        pods.create(
            "client",
            from,
            &["sh", "-c", CLIENT, &format!("http://{host}:8080/hostname")],
        )?;
        pods.ready("client")?;
        let flow = Self { pods: pods.clone() };
        flow.wait_for_replies()?;
        Ok(flow)
    }

    /// Waits for ten more replies.
    ///
    /// # Errors
    /// When they do not come in time.
    fn wait_for_replies(&self) -> Result<()> {
        let before = self.count()?.answered;
        wait::until("requests between nodes are answered", TIMEOUT, || {
            let more = self.count()?.answered.saturating_sub(before);
            ensure!(more >= 10, "{more} replies");
            Ok(())
        })
    }

    /// Checks that no request has been lost since the start.
    ///
    /// # Errors
    /// When one has been lost.
    pub(super) fn ensure_nothing_lost(&self) -> Result<()> {
        self.wait_for_replies()?;
        let Count { answered, lost } = self.count()?;
        ensure!(lost == 0, "{lost} requests were lost, {answered} were answered");
        Ok(())
    }

    fn count(&self) -> Result<Count> {
        // The kubelet that serves the log may be restarting.
        let log =
            wait::until("the client's log can be read", TIMEOUT, || read(&self.pods.kubectl))?;
        let count = |word| log.lines().filter(|line| *line == word).count();
        Ok(Count { answered: count("answered"), lost: count("lost") })
    }
}

fn read(kubectl: &Kubectl) -> Result<String> {
    kubectl.run(&["-n", NAMESPACE, "logs", "client"])
}
