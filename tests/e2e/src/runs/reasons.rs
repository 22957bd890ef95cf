//! Why some of upstream's tests cannot run on this cluster, or not yet on Weir.

/// A part of tests' names, and why they are left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    pub(crate) pattern: &'static str,
    pub(crate) why: &'static str,
    only: Only,
}

/// On which clusters a reason holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Always,
    SingleStack,
    FewerNodesThan(u8),
}

const fn always(pattern: &'static str, why: &'static str) -> Reason {
    Reason { pattern, why, only: Only::Always }
}

const HOST_PORTS: &str = "Weir serves no host ports yet";
const CLOUD: &str = "wants a cloud's load balancers";

/// The first one that matches is told.
const REASONS: [Reason; 21] = [
    always("[Feature:NetworkPolicy]", "Weir has no NetworkPolicy"),
    always("[Feature:SCTPConnectivity]", "the machine's kernel has no SCTP"),
    always("SCTP HostPort", "the machine's kernel has no SCTP"),
    always("SCTP", "the machine's kernel has no SCTP"),
    always("[Feature:LoadBalancer]", CLOUD),
    always("[Feature:Ingress]", CLOUD),
    always("LoadBalancers", CLOUD),
    always("[Disruptive]", "breaks the cluster for the tests beside it"),
    always("[Feature:KubeProxyDaemonSet", "is about upgrades of kube-proxy on GCE"),
    always("[Feature:KubeProxyNFAcct]", "is about nfacct of kube-proxy"),
    always("[Feature:Networking-IPv4]", "asks the internet"),
    always("[Feature:Networking-IPv6]", "asks the internet"),
    always("[Feature:Networking-DNS]", "asks the internet"),
    always("should provide Internet connection", "asks the internet"),
    always("[Feature:Networking-Performance]", "wants another iperf, and measures"),
    always("[Feature:PerformanceDNS]", "measures"),
    always("[Provider:GCE]", "wants a cloud"),
    always("HostPort", HOST_PORTS),
    always("should set TCP CLOSE_WAIT timeout", HOST_PORTS),
    Reason {
        pattern: "[Feature:IPv6DualStack]",
        why: "the cluster has one address family",
        only: Only::SingleStack,
    },
    Reason {
        pattern: "Traffic Distribution",
        why: "wants three nodes",
        only: Only::FewerNodesThan(3),
    },
];

/// The reasons that hold on a cluster.
pub(crate) fn that_hold(single_stack: bool, nodes: u8) -> impl Iterator<Item = &'static Reason> {
    REASONS.iter().filter(move |reason| match reason.only {
        Only::Always => true,
        Only::SingleStack => single_stack,
        Only::FewerNodesThan(count) => nodes < count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_for_two_families_run_where_there_are_two() {
        let patterns = |single| that_hold(single, 2).map(|reason| reason.pattern);
        assert!(patterns(true).any(|pattern| pattern == "[Feature:IPv6DualStack]"));
        assert!(!patterns(false).any(|pattern| pattern == "[Feature:IPv6DualStack]"));
    }
}
