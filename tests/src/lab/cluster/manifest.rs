//! A Kubernetes Node, with the fields that the agent reads.

use std::net::IpAddr;

/// A Node object. Defaults are what the API server would show.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeManifest {
    name: String,
    uid: String,
    created: String,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    pod_cidrs: Vec<String>,
    internal_ips: Vec<IpAddr>,
}

impl NodeManifest {
    /// A node with neither addresses nor subnets.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            uid: format!("{name}-first"),
            created: "2026-01-01T00:00:00Z".to_owned(),
            labels: Vec::new(),
            annotations: Vec::new(),
            pod_cidrs: Vec::new(),
            internal_ips: Vec::new(),
        }
    }

    /// With this `metadata.uid`.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        uid.clone_into(&mut self.uid);
        self
    }

    /// With this `metadata.creationTimestamp`.
    #[must_use]
    pub fn created(mut self, when: &str) -> Self {
        when.clone_into(&mut self.created);
        self
    }

    /// With this label.
    #[must_use]
    pub fn labelled(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With this annotation.
    #[must_use]
    pub fn annotated(mut self, key: &str, value: &str) -> Self {
        self.annotations.push((key.to_owned(), value.to_owned()));
        self
    }

    /// With these `spec.podCIDRs`.
    #[must_use]
    pub fn pod_cidrs(mut self, cidrs: &[impl AsRef<str>]) -> Self {
        self.pod_cidrs = cidrs.iter().map(|cidr| cidr.as_ref().to_owned()).collect();
        self
    }

    /// With these addresses of type `InternalIP`.
    #[must_use]
    pub fn internal_ips(mut self, ips: &[IpAddr]) -> Self {
        self.internal_ips = ips.to_vec();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its subnets.
    #[must_use]
    pub fn subnets(&self) -> &[String] {
        &self.pod_cidrs
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.internal_ips
    }

    /// The object as YAML.
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { name, uid, created, labels, annotations, pod_cidrs, internal_ips } = self;
        let mut yaml = format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  uid: {uid}\n  \
             creationTimestamp: \"{created}\"\n  labels:\n    kubernetes.io/hostname: {name}\n"
        );
        for (key, value) in labels {
            yaml += &format!("    {key}: \"{value}\"\n");
        }
        if !annotations.is_empty() {
            yaml += "  annotations:\n";
        }
        for (key, value) in annotations {
            yaml += &format!("    {key}: \"{value}\"\n");
        }
        match pod_cidrs.first() {
            Some(first) => yaml += &format!("spec:\n  podCIDR: \"{first}\"\n  podCIDRs:\n"),
            None => yaml += "spec: {}\n",
        }
        for cidr in pod_cidrs {
            yaml += &format!("  - \"{cidr}\"\n");
        }
        yaml += &format!("status:\n  addresses:\n  - type: Hostname\n    address: {name}\n");
        for ip in internal_ips {
            yaml += &format!("  - type: InternalIP\n    address: \"{ip}\"\n");
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_of_a_node_is_what_kubectl_prints() {
        let node = NodeManifest::new("n")
            .annotated("weir.dev/underlay-ip", "192.0.2.1")
            .pod_cidrs(&["10.1.0.0/24"])
            .internal_ips(&["192.0.2.9".parse().unwrap()]);
        let expected = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  uid: n-first\n  \
             creationTimestamp: \"2026-01-01T00:00:00Z\"\n  labels:\n    \
             kubernetes.io/hostname: n\n  annotations:\n    \
             weir.dev/underlay-ip: \"192.0.2.1\"\nspec:\n  podCIDR: \"10.1.0.0/24\"\n  \
             podCIDRs:\n  - \"10.1.0.0/24\"\nstatus:\n  addresses:\n  - type: Hostname\n    \
             address: n\n  - type: InternalIP\n    address: \"192.0.2.9\"\n";
        assert_eq!(node.yaml(), expected);
    }
}
