//! The underlay's DNS server. The nodes' resolv.conf names it, and cluster DNS forwards queries for
//! names outside of the cluster to it.
//!
//! No network is outside of the cluster. The server has records for the one name that an upstream
//! test asks for, and answers every other query with NXDOMAIN at once.

use std::fs;

use anyhow::{Context, Result};

use crate::environment::Environment;
use crate::member::Member;
use crate::spec::ClusterSpec;

/// Starts the server on the hub.
///
/// # Errors
/// When CoreDNS is missing.
pub(super) fn start(environment: &Environment, hub: &mut Member, spec: &ClusterSpec) -> Result<()> {
    let dir = environment.state()?;
    let addresses: Vec<_> = spec.ip_family.hub().iter().map(ToString::to_string).collect();
    let text = format!(
        r#".:53 {{
    bind {}
    template IN A dns.google {{
        answer "{{{{ .Name }}}} 60 IN A 8.8.8.8"
    }}
    template IN PTR 8.8.8.8.in-addr.arpa {{
        answer "{{{{ .Name }}}} 60 IN PTR dns.google."
    }}
    template IN AAAA dns.google {{
        answer "{{{{ .Name }}}} 60 IN AAAA 2001:4860:4860::8888"
    }}
    template IN PTR 8.8.8.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.8.4.0.6.8.4.1.0.0.2.ip6.arpa {{
        answer "{{{{ .Name }}}} 60 IN PTR dns.google."
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"#,
        addresses.join(" ")
    );
    let corefile = dir.join("Corefile");
    fs::write(&corefile, text).with_context(|| format!("write {}", corefile.display()))?;
    let flags = ["-conf".to_owned(), corefile.display().to_string()];
    hub.launch(environment, "coredns", &environment.tool("coredns")?, &flags).map(drop)
}
