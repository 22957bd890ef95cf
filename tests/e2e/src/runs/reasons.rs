//! Why some of upstream's tests are excluded: this cluster or Weir lacks what they need.

use crate::spec::{ClusterSpec, Family, Proxy};

/// A part of tests' names, and why these tests are excluded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reason {
    pub(crate) pattern: &'static str,
    pub(crate) why: &'static str,
    only: Only,
}

/// The clusters on which a reason holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Always,
    SingleStack,
    FewerNodesThan(u8),
    WithoutKubeProxy,
}

const fn always(pattern: &'static str, why: &'static str) -> Reason {
    Reason { pattern, why, only: Only::Always }
}

const fn without_kube_proxy(pattern: &'static str, why: &'static str) -> Reason {
    Reason { pattern, why, only: Only::WithoutKubeProxy }
}

const HOST_PORTS: &str = "Weir serves no host ports yet";
const CLOUD: &str = "wants a cloud's load balancers";
const NODE_PORTS: &str = "Weir serves no node ports yet";
const HEALTH_PORT: &str = "asks the health port of kube-proxy, which Weir does not serve yet";

/// The first one that matches is reported.
const REASONS: [Reason; 32] = [
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
    without_kube_proxy("NodePort", NODE_PORTS),
    without_kube_proxy("nodePort", NODE_PORTS),
    without_kube_proxy("should check kube-proxy urls", HEALTH_PORT),
    // Each of these asks a node port too.
    without_kube_proxy("Granular Checks: Services", NODE_PORTS),
    without_kube_proxy("PublishNotReadyAddresses is true", NODE_PORTS),
    without_kube_proxy("different Service CIDRs", NODE_PORTS),
    without_kube_proxy("health check node port", NODE_PORTS),
    without_kube_proxy("with externalTrafficPolicy=Local", NODE_PORTS),
    without_kube_proxy("with externallTrafficPolicy=Cluster", NODE_PORTS),
    without_kube_proxy("external IP", "Weir serves no external addresses yet"),
    without_kube_proxy("KubeProxy", "is about kube-proxy itself"),
];

/// The reasons that hold on a cluster.
pub(crate) fn that_hold(spec: &ClusterSpec) -> impl Iterator<Item = &'static Reason> {
    REASONS.iter().filter(|reason| match reason.only {
        Only::Always => true,
        Only::SingleStack => spec.ip_family != Family::Dual,
        Only::FewerNodesThan(count) => spec.nodes < count,
        Only::WithoutKubeProxy => spec.proxy == Proxy::Weir,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_for_two_families_run_where_there_are_two() {
        let is_left_out = |ip_family| {
            let spec = ClusterSpec { ip_family, ..ClusterSpec::default() };
            that_hold(&spec).any(|reason| reason.pattern == "[Feature:IPv6DualStack]")
        };
        assert!(is_left_out(Family::Ipv4) && !is_left_out(Family::Dual));
    }

    #[test]
    fn tests_of_node_ports_run_where_kube_proxy_serves_them() {
        let is_left_out = |proxy| {
            let spec = ClusterSpec { proxy, ..ClusterSpec::default() };
            that_hold(&spec).any(|reason| reason.pattern == "NodePort")
        };
        assert!(is_left_out(Proxy::Weir) && !is_left_out(Proxy::Upstream));
    }
}
