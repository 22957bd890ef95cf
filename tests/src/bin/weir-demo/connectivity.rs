//! An echo request and a TCP transfer to each address of each pod.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;
use weir_tests::lab::{Member, Stack, ping, tcp_transfer};

use crate::paint::Paint;
use crate::pods::{DemoPod, NAME_WIDTH};

const MEBIBYTES: usize = 16;

/// Connects each pod to all others and the node to all pods. Prints a line for each address and
/// returns the number of failures.
pub(crate) fn check_all(node: &Member, pods: &[DemoPod], paint: Paint) -> Result<usize> {
    let mut failed = 0;
    for to in pods {
        for address in to.added.ips.iter().map(|ip| ip.address.ip()) {
            failed += usize::from(!check(node.name(), node, to, address, paint));
        }
    }
    for from in pods {
        for to in pods.iter().filter(|to| to.full_name != from.full_name) {
            for address in to.added.ips.iter().map(|ip| ip.address.ip()) {
                let ok = check(&from.full_name, &from.sandbox, to, address, paint);
                failed += usize::from(!ok);
            }
        }
    }
    Ok(failed)
}

fn check(name: &str, from: &impl Stack, to: &DemoPod, address: IpAddr, paint: Paint) -> bool {
    let path = format!(
        "{} → {} {:14}",
        paint.name(format!("{name:NAME_WIDTH$}")),
        paint.name(format!("{:NAME_WIDTH$}", to.full_name)),
        address.to_string(),
    );
    match try_check(from, to, address) {
        Ok(result) => println!("  {}", paint.good(format!("{path} {}", paint.faint(result)))),
        Err(ref error) => {
            println!("  {}", paint.bad(format!("{path} {error:#}")));
            return false;
        }
    }
    true
}

fn try_check(from: &impl Stack, to: &DemoPod, address: IpAddr) -> Result<String> {
    ping(from, address)?;
    let started = Instant::now();
    tcp_transfer(from, &to.sandbox, address, MEBIBYTES << 20)?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    Ok(format!("ping, TCP {MEBIBYTES} MiB in {took:.0} ms"))
}
