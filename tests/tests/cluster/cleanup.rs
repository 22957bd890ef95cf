//! `weir cleanup` removes everything that Weir has created, and nothing else.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::lab::{Cluster, Families, Member, Mode, Observe, Stack, until};

fn cleanup(member: &Member, arguments: &[&str]) -> Result<String> {
    member.weir_text(&[&["cleanup"], arguments].concat())
}

fn link_names(member: &Member) -> Result<Vec<String>> {
    Ok(member.links()?.into_iter().map(|link| link.name).collect())
}

#[test]
fn cleanup_removes_everything_of_weir_and_nothing_else() -> Result<()> {
    Cluster::new(2).pods(Families::Dual).test(|cluster| {
        let member = cluster.node(1)?;
        let _pod = member.pod("a")?;
        member.kill_agent()?;
        for line in [
            "ip link add other0 type bridge",
            "ip route add 203.0.113.0/24 dev uplink",
            "nft add table inet others",
        ] {
            member.sh(line)?;
        }
        let before = link_names(member)?;

        let dry_run = cleanup(member, &[])?;
        ensure!(
            link_names(member)? == before,
            "the dry run removed links: {:?}",
            link_names(member)?
        );
        ensure!(member.conflist().exists(), "the dry run removed {}", member.conflist().display());
        for item in ["weir0", "weir.1", "10-weir.conflist", "nftables table", "route to"] {
            ensure!(dry_run.contains(item), "{item} is not listed: {dry_run}");
        }

        cleanup(member, &["--yes"])?;
        let mut kept = before;
        kept.retain(|name| !name.starts_with("weir"));
        ensure!(link_names(member)? == kept, "{:?}", link_names(member)?);
        ensure!(!member.conflist().exists() && !member.run_dir().exists());
        let routes = member.sh("ip route")? + &member.sh("ip -6 route")?;
        ensure!(!routes.contains("proto 87") && routes.contains("203.0.113.0/24"), "{routes}");
        ensure!(member.sh("nft list tables")?.trim() == "table inet others");

        let again: Value = serde_json::from_str(&cleanup(member, &["--yes", "-o", "json"])?)?;
        ensure!(again == Value::Array(Vec::new()), "the second time: {again}");
        Ok(())
    })
}

#[test]
fn cleanup_removes_programs_from_the_uplink_and_all_pins() -> Result<()> {
    let builder = Cluster::new(2).mode(Mode::HostGw).services();
    builder.test(|cluster| {
        let member = cluster.node(1)?;
        let programs = || member.sh("tc filter show dev uplink ingress");
        until("the uplink has its program", || {
            ensure!(programs()?.contains("weir/from_overlay"), "{}", programs()?);
            Ok(())
        })?;
        member.kill_agent()?;
        let dry_run = cleanup(member, &[])?;
        ensure!(dry_run.contains("eBPF programs at uplink"), "{dry_run}");
        ensure!(programs()?.contains("weir"), "the dry run removed programs");
        cleanup(member, &["--yes"])?;
        ensure!(!programs()?.contains("weir"), "{}", programs()?);
        ensure!(!member.pin_dir().exists(), "{} still exists", member.pin_dir().display());
        Ok(())
    })
}
