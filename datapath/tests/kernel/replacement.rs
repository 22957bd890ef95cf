//! New programs take the place of old ones under traffic.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use weir_datapath::common::{Reason, V4, protocol};
use weir_datapath::{Capacities, Hook, Program, attach, load};
use weir_tests::lab::Stack;

use crate::family::Addresses;
use crate::scene::Scene;
use crate::traffic::udp_between;

#[test]
fn replacing_programs_loses_no_packet_and_forgets_no_flow() -> Result<()> {
    let mut scene = Scene::with_pods(2)?;
    let (vip, backend) = (V4::service(10), V4::pod(1));
    scene.service((vip, 53, protocol::UDP), &[(backend, 5353)])?;
    let address = |address: V4, port| SocketAddr::new(address.into(), port);
    let near = scene.pods[0].run(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    let far = scene.pods[1].run(|| Ok(UdpSocket::bind(address(backend, 5353))?))?;
    let ended = AtomicBool::new(false);
    let exchanged = std::thread::scope(|scope| -> Result<u32> {
        let traffic = scope.spawn(|| -> Result<u32> {
            let mut exchanged = 0;
            while !ended.load(Ordering::Relaxed) {
                // A datagram that is lost, or an answer from the backend's address, is an error.
                udp_between(&near, &far, address(vip, 53), 100)?;
                exchanged += 1;
            }
            Ok(exchanged)
        });
        let replaced = scene.node.run(|| {
            for _ in 0..3 {
                load(&scene.pins, &Capacities::default())?;
                for device in ["veth0", "veth1"] {
                    let ifindex = scene.ifindex(device)?;
                    for hook in Hook::POD {
                        assert!(attach(ifindex, &Program::open(&scene.pins, hook)?)?);
                    }
                }
            }
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        let exchanged = traffic.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        replaced?;
        exchanged
    })?;
    assert!(exchanged > 10, "{exchanged}");
    assert_eq!(scene.counted(Reason::FlowOpened)?, 1);
    assert_eq!(scene.counted(Reason::FlowRestored)?, 0);
    Ok(())
}
