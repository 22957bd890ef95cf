//! Visits: an echo request and a transfer over TCP, for each address of the visited pod.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;
use weir_tests::lab::{Member, Stack, ping, tcp_transfer};

use crate::paint::Paint;
use crate::pods::{DemoPod, NAME_WIDTH};

const MEBIBYTES: usize = 16;

/// Each pod visits all others, the node visits all pods. Prints a line for each; gives the number
/// of those that failed.
pub(crate) fn everyone(node: &Member, pods: &[DemoPod], paint: Paint) -> Result<usize> {
    let mut failed = 0;
    for to in pods {
        for address in to.added.ips.iter().map(|ip| ip.address.ip()) {
            failed += usize::from(!visit(node.name(), node, to, address, paint));
        }
    }
    for from in pods {
        for to in pods.iter().filter(|to| to.full_name != from.full_name) {
            for address in to.added.ips.iter().map(|ip| ip.address.ip()) {
                let done = visit(&from.full_name, &from.sandbox, to, address, paint);
                failed += usize::from(!done);
            }
        }
    }
    Ok(failed)
}

fn visit(name: &str, from: &impl Stack, to: &DemoPod, address: IpAddr, paint: Paint) -> bool {
    let way = format!(
        "{} → {} {:14}",
        paint.name(format!("{name:NAME_WIDTH$}")),
        paint.name(format!("{:NAME_WIDTH$}", to.full_name)),
        address.to_string(),
    );
    match try_visit(from, to, address) {
        Ok(done) => println!("  {}", paint.good(format!("{way} {}", paint.faint(done)))),
        Err(ref error) => {
            println!("  {}", paint.bad(format!("{way} {error:#}")));
            return false;
        }
    }
    true
}

fn try_visit(from: &impl Stack, to: &DemoPod, address: IpAddr) -> Result<String> {
    ping(from, address)?;
    let started = Instant::now();
    tcp_transfer(from, &to.sandbox, address, MEBIBYTES << 20)?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    Ok(format!("ping, TCP {MEBIBYTES} MiB in {took:.0} ms"))
}
