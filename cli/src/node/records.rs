//! The plugin's endpoint records: which pods are on the node, and what an operator calls them.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use weir_node::{EndpointRecord, endpoint};

/// Whether `who` is the pod's name, an address of it, or the beginning of its container's ID.
pub(crate) fn is_named(record: &EndpointRecord, who: &str) -> bool {
    let named = matches!(
        (&record.pod.namespace, &record.pod.name),
        (Some(namespace), Some(name)) if who.split_once('/') == Some((namespace, name))
    );
    let addressed = || who.parse().is_ok_and(|ip: IpAddr| record.ips().any(|own| own == ip));
    named || addressed() || (!who.is_empty() && record.attachment.container_id.starts_with(who))
}

/// All records, sorted by pod. Files that are not records are left out.
pub(crate) fn list(run_dir: &Path) -> Result<Vec<EndpointRecord>> {
    let mut records = endpoint::list(run_dir)?.records;
    records.sort_by_key(EndpointRecord::pod_name);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_goes_by_its_name_its_addresses_and_its_container() {
        let record: EndpointRecord = serde_json::from_str(
            r#"{"version":1,"network":"weir","containerID":"0123456789abcdef","ifname":"eth0",
                "netns":"/run/netns/a","hostInterface":"weir0","hostIfindex":7,"bridge":"weir0",
                "mac":"0a:58:0a:f4:01:05","addresses":["10.244.1.5/24","fd00::5/64"],"mtu":1450,
                "pod":{"namespace":"shop","name":"web-1"},"portMappings":[]}"#,
        )
        .unwrap();
        assert_eq!(record.pod_name(), "shop/web-1");
        for who in ["shop/web-1", "10.244.1.5", "fd00::5", "0123"] {
            assert!(is_named(&record, who), "{who}");
        }
        for who in ["web-1", "shop/web-10", "10.244.1.50", "12", ""] {
            assert!(!is_named(&record, who), "{who}");
        }
        let unnamed = EndpointRecord { pod: weir_node::PodIdentity::default(), ..record };
        assert_eq!(unnamed.pod_name(), "0123456789ab");
    }
}
