//! The rules that kube-proxy has in its iptables mode.

use super::objects::{PORT, Service};

/// For so many Services, the measured one in their middle.
pub(crate) fn iptables(measured: &Service, services: u32) -> String {
    let mut all: Vec<_> = (1..services).map(|number| Service::other(number, 1)).collect();
    all.insert(all.len() / 2, measured.clone());
    let (mut chains, mut entries, mut rules) = (String::new(), String::new(), String::new());
    for (number, service) in all.iter().enumerate() {
        let Service { name, address, endpoints } = service;
        let Some((backend, _)) = endpoints.first() else { continue };
        chains += &format!(":KUBE-SVC-{number:016} - [0:0]\n:KUBE-SEP-{number:016} - [0:0]\n");
        entries += &format!(
            "-A KUBE-SERVICES -d {address}/32 -p tcp -m comment --comment \"default/{name}:main \
             cluster IP\" -m tcp --dport {PORT} -j KUBE-SVC-{number:016}\n"
        );
        rules += &format!(
            "-A KUBE-SVC-{number:016} ! -s 10.244.0.0/16 -d {address}/32 -p tcp -m comment \
             --comment \"default/{name}:main cluster IP\" -m tcp --dport {PORT} \
             -j KUBE-MARK-MASQ\n\
             -A KUBE-SVC-{number:016} -m comment --comment \"default/{name}:main -> {backend}:8080\" \
             -j KUBE-SEP-{number:016}\n\
             -A KUBE-SEP-{number:016} -s {backend}/32 -m comment --comment \"default/{name}:main\" \
             -j KUBE-MARK-MASQ\n\
             -A KUBE-SEP-{number:016} -p tcp -m comment --comment \"default/{name}:main\" -m tcp \
             -j DNAT --to-destination {backend}:8080\n"
        );
    }
    format!(
        "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
{chains}-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
{entries}-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
{rules}COMMIT
"
    )
}
