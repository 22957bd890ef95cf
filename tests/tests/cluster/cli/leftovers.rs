//! `weir` reports and removes the leftovers of kube-proxy and flannel, and nothing else.

use anyhow::{Result, ensure};
use weir_tests::lab::{Cluster, Member, Observe, Stack};

use super::{problems, wait_for_problems};

/// Rules of kube-proxy in mode `iptables`, of the kubelet, and of another program.
const KUBE_PROXY: &str = r#"*nat
:OTHERS - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SEP-6E7XQMQ4RAYOWTTM - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-NPX46M4PTMTKRN6Y - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m comment --comment "of others: -j KUBE-SERVICES" -j OTHERS
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE
-A KUBE-SEP-6E7XQMQ4RAYOWTTM -s 10.0.0.1/32 -m comment --comment "default/kubernetes:https" -j KUBE-MARK-MASQ
-A KUBE-SEP-6E7XQMQ4RAYOWTTM -p tcp -m comment --comment "default/kubernetes:https" -m tcp -j DNAT --to-destination 10.0.0.1:6443
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-NPX46M4PTMTKRN6Y -m comment --comment "default/kubernetes:https -> 10.0.0.1:6443" -j KUBE-SEP-6E7XQMQ4RAYOWTTM
-A OTHERS -d 192.0.2.1/32 -j RETURN
COMMIT
*filter
:OTHERS - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j OTHERS
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A OTHERS -d 192.0.2.1/32 -j RETURN
COMMIT
"#;

fn restore(node: &Member, program: &str, rules: &str) -> Result<()> {
    let rules = if program.starts_with("ip6") { as_ipv6(rules) } else { rules.to_owned() };
    node.command(format!("{program}-restore"))?.arg("--noflush").stdin(rules).stdout().map(drop)
}

fn as_ipv6(rules: &str) -> String {
    rules
        .replace("10.96.0.1/32", "fd96::1/128")
        .replace("10.0.0.1:6443", "[fd00::1]:6443")
        .replace("10.0.0.1/32", "fd00::1/128")
        .replace("192.0.2.1/32", "2001:db8::1/128")
        .replace("127.0.0.0/8", "::1/128")
}

/// The current rules, without counters and comments.
fn rules(node: &Member, program: &str) -> Result<Vec<String>> {
    let text = node.sh(&format!("{program}-save"))?;
    let plain = text.lines().filter(|line| !line.starts_with('#'));
    Ok(plain.map(|line| line.split(" [").next().unwrap_or(line).to_owned()).collect())
}

/// Whether a rule or a chain belongs to kube-proxy.
fn is_of_kube_proxy(line: &str) -> bool {
    let of_kubelet = ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY"];
    let comment = line.contains("of others");
    line.contains("KUBE-") && !comment && !of_kubelet.iter().any(|name| line.contains(name))
}

#[test]
fn cleanup_removes_the_rules_of_kube_proxy_and_keeps_all_others() -> Result<()> {
    for variant in ["legacy", "nft"] {
        Cluster::new(1).services().test(|cluster| {
            let node = cluster.node(1)?;
            let programs = [format!("iptables-{variant}"), format!("ip6tables-{variant}")];
            for program in &programs {
                restore(node, program, KUBE_PROXY)?;
            }
            wait_for_problems(node, &["kube_proxy_left"])?;
            let before: Result<Vec<_>> = programs.iter().map(|p| rules(node, p)).collect();
            let before = before?;

            let dry_run = node.weir_text(&["cleanup", "--kube-proxy"])?;
            ensure!(dry_run.contains("would remove") && dry_run.contains("--yes"), "{dry_run}");
            let now: Result<Vec<_>> = programs.iter().map(|p| rules(node, p)).collect();
            ensure!(now? == before, "the dry run changed rules");

            let output = node.weir_text(&["cleanup", "--kube-proxy", "--yes"])?;
            ensure!(output.contains("removed") && !output.contains("would"), "{output}");
            for (program, before) in programs.iter().zip(before) {
                let kept: Vec<_> =
                    before.into_iter().filter(|line| !is_of_kube_proxy(line)).collect();
                let now = rules(node, program)?;
                ensure!(
                    now == kept,
                    "{program}:\n{}\nexpected:\n{}",
                    now.join("\n"),
                    kept.join("\n")
                );
            }
            wait_for_problems(node, &[])?;
            let again = node.weir_text(&["cleanup", "--kube-proxy", "--yes"])?;
            ensure!(again.contains("nothing of kube-proxy is on this node"), "{again}");
            ensure!(node.find_link("weir0")?.is_some() || node.find_link("weir.1")?.is_some());
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn cleanup_removes_the_nftables_tables_of_kube_proxy_and_flannel() -> Result<()> {
    Cluster::new(1).services().test(|cluster| {
        let node = cluster.node(1)?;
        for line in [
            "nft add table ip kube-proxy",
            "nft add chain ip kube-proxy services",
            "nft add table ip6 kube-proxy",
            "nft add table ip flannel-ipv4",
            "nft add table ip others",
            "nft add chain ip others services",
        ] {
            node.sh(line)?;
        }
        wait_for_problems(node, &["kube_proxy_left", "flannel_left"])?;
        node.weir_text(&["cleanup", "--kube-proxy", "--yes"])?;
        wait_for_problems(node, &["flannel_left"])?;
        node.weir_text(&["cleanup", "--flannel", "--yes"])?;
        wait_for_problems(node, &[])?;
        let left = node.sh("nft list tables")?;
        ensure!(left.contains("table ip others") && left.contains("table inet weir"), "{left}");
        Ok(())
    })
}

#[test]
fn cleanup_removes_the_devices_files_and_rules_of_flannel() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        for line in [
            "ip link add cni0 type bridge",
            "ip link add flannel.1 type vxlan id 1 dstport 8473 local 127.0.0.1",
            "ip link add cni1 type bridge",
        ] {
            node.sh(line)?;
        }
        let folder = node.conflist();
        let folder = folder.parent().unwrap_or(&folder);
        let theirs = folder.join("10-flannel.conflist");
        let others = folder.join("99-others.conflist");
        node.run(|| Ok(std::fs::write(&theirs, "{}").and_then(|()| std::fs::write(&others, "{}"))?))?;
        let forward = "*filter\n:FLANNEL-FWD - [0:0]\n-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD\n-A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT\nCOMMIT\n";
        restore(node, "iptables-legacy", forward)?;
        wait_for_problems(node, &["flannel_left"])?;
        node.weir_text(&["cleanup", "--flannel", "--yes"])?;
        wait_for_problems(node, &[])?;
        for (device, stays) in [("cni0", false), ("flannel.1", false), ("cni1", true)] {
            ensure!(node.find_link(device)?.is_some() == stays, "{device}");
        }
        ensure!(!theirs.exists() && others.exists() && node.conflist().exists());
        ensure!(!rules(node, "iptables-legacy")?.join("\n").contains("FLANNEL"));
        Ok(())
    })
}

#[test]
fn kube_proxy_is_not_a_problem_if_weir_does_not_serve_services() -> Result<()> {
    Cluster::new(1).test(|cluster| {
        let node = cluster.node(1)?;
        restore(node, "iptables-nft", KUBE_PROXY)?;
        ensure!(problems(node)?.is_empty(), "{:?}", problems(node)?);
        Ok(())
    })
}
