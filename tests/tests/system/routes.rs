//! Routes of the configuration, with all their attributes.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_tests::lab::{Cni, Config, Node, Observe, Pod, Route};

fn pod_with_routes(routes: serde_json::Value) -> Result<Pod> {
    let node = Node::new()?;
    let config = Config::dual_stack("10.1.0.0/24", "fd00:1::/64").with_ipam("routes", routes);
    let pod = node.pod("a")?;
    Cni::new(&node, config)?.add(&pod)?;
    Ok(pod)
}

fn find(pod: &Pod, dst: &str) -> Result<Route> {
    let mut routes = pod.routes()?.into_iter();
    routes.find(|route| route.dst == dst).with_context(|| format!("no route to {dst}"))
}

#[test]
fn a_route_without_a_gateway_uses_the_gateway_of_its_family() -> Result<()> {
    let pod = pod_with_routes(json!([{ "dst": "10.9.0.0/16" }, { "dst": "fd00:9::/48" }]))?;
    ensure!(find(&pod, "10.9.0.0/16")?.gateway == Some("10.1.0.1".parse()?));
    ensure!(find(&pod, "fd00:9::/48")?.gateway == Some("fd00:1::1".parse()?));
    Ok(())
}

#[test]
fn a_route_has_the_configured_gateway() -> Result<()> {
    let pod = pod_with_routes(json!([{ "dst": "10.9.0.0/16", "gw": "10.1.0.77" }]))?;
    ensure!(find(&pod, "10.9.0.0/16")?.gateway == Some("10.1.0.77".parse()?));
    ensure!(pod.route("0.0.0.0/0")?.gateway == Some("10.1.0.1".parse()?), "the default route");
    Ok(())
}

#[test]
fn a_route_has_the_configured_attributes() -> Result<()> {
    for dst in ["10.9.0.0/16", "fd00:9::/48"] {
        let asked =
            json!({ "dst": dst, "mtu": 1300, "advmss": 1200, "priority": 77, "table": 100 });
        let route = find(&pod_with_routes(json!([asked]))?, dst)?;
        ensure!(
            route.mtu() == Some(1300)
                && route.advmss() == Some(1200)
                && route.metric == Some(77)
                && route.table == "100",
            "{route:?}"
        );
    }
    Ok(())
}

#[test]
fn a_route_of_link_scope_needs_no_gateway() -> Result<()> {
    let pod = pod_with_routes(json!([{ "dst": "169.254.7.0/24", "scope": 253 }]))?;
    let route = find(&pod, "169.254.7.0/24")?;
    ensure!(route.scope == "link" && route.gateway.is_none(), "{route:?}");
    ensure!(route.dev.as_deref() == Some("eth0"), "{route:?}");
    Ok(())
}

#[test]
fn a_configured_default_route_replaces_the_standard_one() -> Result<()> {
    let pod = pod_with_routes(json!([{ "dst": "0.0.0.0/0", "gw": "10.1.0.50", "mtu": 1280 }]))?;
    let route = pod.route("0.0.0.0/0")?;
    ensure!(route.gateway == Some("10.1.0.50".parse()?) && route.mtu() == Some(1280), "{route:?}");
    ensure!(pod.route("::/0")?.gateway == Some("fd00:1::1".parse()?));
    Ok(())
}
