//! The pods of the demonstration: sandboxes, attached as a container runtime of Kubernetes does it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use weir_tests::lab::{Added, Call, Cni, Pod};

use crate::paint::Paint;

/// The widest name of a pod, for columns.
pub(crate) const NAME_WIDTH: usize = 16;

/// A pod with its network.
pub(crate) struct DemoPod {
    pub(crate) full_name: String,
    pub(crate) sandbox: Pod,
    pub(crate) added: Added,
    /// The name of its node.
    pub(crate) node: String,
    cni: Cni,
    arguments: String,
    took: Duration,
}

impl DemoPod {
    /// Creates the sandbox and calls ADD.
    pub(crate) fn attach(cni: &Cni, node: &str, namespace: &str, name: &str) -> Result<Self> {
        let full_name = format!("{namespace}/{name}");
        let sandbox = cni.node().pod(name)?;
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
             K8S_POD_INFRA_CONTAINER_ID={}",
            sandbox.container_id()
        );
        let started = Instant::now();
        let added = call(cni, "ADD", &sandbox, &arguments)
            .run()
            .and_then(|reply| reply.added())
            .with_context(|| format!("ADD of {full_name}"))?;
        let (took, node, cni) = (started.elapsed(), node.to_owned(), cni.clone());
        Ok(Self { full_name, sandbox, added, node, cni, arguments, took })
    }

    /// Calls DEL and removes the sandbox; returns a line to print.
    pub(crate) fn detach(self, paint: Paint) -> Result<String> {
        let Self { full_name, sandbox, added: _, node: _, cni, arguments, took: _ } = self;
        let started = Instant::now();
        call(&cni, "DEL", &sandbox, &arguments)
            .run()
            .and_then(|reply| reply.silent())
            .with_context(|| format!("DEL of {full_name}"))?;
        let took = milliseconds(started.elapsed());
        let name = paint.name(format!("{full_name:NAME_WIDTH$}"));
        Ok(paint.good(format!("DEL  {name} {}", paint.faint(took))))
    }

    /// A line about ADD to print.
    pub(crate) fn summary(&self, paint: Paint) -> String {
        let name = paint.name(format!("{:NAME_WIDTH$}", self.full_name));
        let addresses: Vec<_> = self.added.ips.iter().map(|ip| ip.address.to_string()).collect();
        let took = paint.faint(milliseconds(self.took));
        let on = paint.faint(format!("on {}", self.node));
        paint.good(format!("ADD  {name} {}  {on}  {took}", addresses.join("  ")))
    }
}

fn call(cni: &Cni, verb: &str, sandbox: &Pod, arguments: &str) -> Call {
    cni.call(verb).pod(sandbox).env("CNI_ARGS", arguments)
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}
