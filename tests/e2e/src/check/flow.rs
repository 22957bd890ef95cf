//! Requests from a pod on one node to a pod on another, all the time.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::kubectl::Kubectl;
use crate::pods::{NAMESPACE, Pods};
use crate::wait;

/// A line for each request, some ten in a second. One that was lost takes a second.
const ASK: &str = "while :; do \
    if curl --silent --max-time 1 --output /dev/null \"$0\"; then echo answered; else echo lost; fi; \
    sleep 0.1; done";
const GOES_ON: Duration = Duration::from_secs(60);

/// Two pods, of which one asks the other.
#[derive(Debug)]
pub(super) struct Flow {
    pods: Pods,
}

/// How many requests ended how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    answered: usize,
    lost: usize,
}

impl Flow {
    /// Starts it between two nodes, and sees it go.
    ///
    /// # Errors
    /// When the pods do not start or do not reach each other.
    pub(super) fn start(pods: &Pods, from: &str, to: &str) -> Result<Self> {
        pods.create_server("server", to)?;
        let address = pods.ready("server")?;
        let host = if address.contains(':') { format!("[{address}]") } else { address };
        pods.create("client", from, &["sh", "-c", ASK, &format!("http://{host}:8080/hostname")])?;
        pods.ready("client")?;
        let flow = Self { pods: pods.clone() };
        flow.goes_on()?;
        Ok(flow)
    }

    /// Waits for some more answers.
    ///
    /// # Errors
    /// When none come.
    pub(super) fn goes_on(&self) -> Result<()> {
        let before = self.count()?.answered;
        wait::until("requests between nodes are answered", GOES_ON, || {
            let more = self.count()?.answered.saturating_sub(before);
            ensure!(more >= 10, "{more} answers");
            Ok(())
        })
    }

    /// Fails if a request of it has ever been lost.
    ///
    /// # Errors
    /// Then.
    pub(super) fn demand_nothing_lost(&self) -> Result<()> {
        self.goes_on()?;
        let Count { answered, lost } = self.count()?;
        ensure!(lost == 0, "{lost} requests were lost, {answered} were answered");
        Ok(())
    }

    fn count(&self) -> Result<Count> {
        // Not while the kubelet that has the log restarts.
        let log =
            wait::until("the client's log can be read", GOES_ON, || read(&self.pods.kubectl))?;
        let count = |word| log.lines().filter(|line| *line == word).count();
        Ok(Count { answered: count("answered"), lost: count("lost") })
    }
}

fn read(kubectl: &Kubectl) -> Result<String> {
    kubectl.run(&["-n", NAMESPACE, "logs", "client"])
}
