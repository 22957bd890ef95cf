//! The underlay's DNS server: what the nodes' resolv.conf names, and cluster DNS asks for names of
//! the world.
//!
//! There is no world. The one name that an upstream test asks for has an answer, and every other is
//! told at once that it does not exist.

use std::fs;

use anyhow::{Context, Result};

use crate::environment::Environment;
use crate::place::Place;
use crate::shape::Shape;
use crate::state::{Machine, log};

/// Starts it on the hub.
///
/// # Errors
/// When there is no CoreDNS.
pub(super) fn start(environment: &Environment, hub: &mut Machine, shape: &Shape) -> Result<()> {
    let dir = environment.state()?;
    let addresses: Vec<_> = shape.ip_family.hub().iter().map(ToString::to_string).collect();
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
    let mut command = hub.place.command(environment.tool("coredns")?)?;
    command.arg("-conf").arg(&corefile);
    let process = Place::start(&mut command, &log(dir, hub.name(), "coredns"))?;
    hub.programs.insert("coredns".to_owned(), process);
    Ok(())
}
