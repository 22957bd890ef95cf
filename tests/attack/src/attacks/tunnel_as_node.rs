//! A pod speaks VXLAN with the address of a node.

use std::net::IpAddr;

use anyhow::Result;
use weir_tests::lab::Stack;

use super::tunnel::forge;
use crate::attack::Attack;
use crate::gain::Gain;
use crate::scene::Scene;

pub(super) const ATTACK: Attack = Attack {
    name: "VXLAN from a pod as a node",
    idea: "A pod sends tunnel packets to its node with the address of another node as their source, and \
           would speak to any pod as any pod.",
    needs_check: false,
    run: forge_as_node,
};

fn forge_as_node(scene: &Scene) -> Result<Gain> {
    let node: IpAddr = scene.far()?.address()?;
    let length = if node.is_ipv4() { 32 } else { 128 };
    scene.attacker.sh(&format!("ip addr add {node}/{length} dev eth0 nodad"))?;
    let gain = forge(scene, &scene.attacker, Some(node));
    scene.attacker.sh(&format!("ip addr del {node}/{length} dev eth0"))?;
    gain
}
