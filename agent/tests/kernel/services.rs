//! Services in the real maps.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkdirat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;
use tokio::sync::watch;
use weir_agent::health::Health;
use weir_agent::services::apply::{Failure, Maps};
use weir_agent::services::sync_loop::{SyncConfig, SyncLoop};
use weir_cluster::Published;
use weir_datapath::common::map;
use weir_datapath::{Capacities, Pins, load};
use weir_model::{
    Endpoint, EndpointSlice, ObjectName, Protocol, Service, ServicePort, SlicePort, Snapshot,
    TrafficPolicy,
};
use weir_services::allocator::{Allocator, GRACE};
use weir_services::compile::NodeContext;
use weir_services::debounce::DebounceWindow;
use weir_services::diff::{Op, diff};
use weir_services::engine::Engine;
use weir_services::status::Status;

/// Runs a test with maps of its own, on a thread that ends with the test.
fn with_maps(capacities: &Capacities, test: impl FnOnce(&Pins) + Send) {
    let run = || {
        // SAFETY: a mount namespace of its own does not affect the memory of this process.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("these tests need root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let folder = TempDir::new().unwrap();
        let bpffs = folder.path().join("bpf");
        mkdirat(CWD, &bpffs, Mode::RWXU).unwrap();
        mount("bpf", &bpffs, "bpf", MountFlags::empty(), None).unwrap();
        let pins = Pins::new(bpffs.join("weir"));
        load(&pins, capacities).unwrap();
        test(&pins);
        rustix::mount::unmount(&bpffs, rustix::mount::UnmountFlags::DETACH).unwrap();
    };
    let outcome = thread::scope(|scope| scope.spawn(run).join());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A Service of both families, with this many endpoints in each.
fn put(snapshot: &mut Snapshot, number: u8, endpoints: u8) {
    let name = ObjectName::new("ns", format!("s{number}"));
    let v6 = |last: u8| -> IpAddr { format!("fd00:{number:x}::{last:x}").parse().unwrap() };
    let service = Service {
        name: name.clone(),
        created: None,
        cluster_ips: vec![IpAddr::from([10, 96, 0, number]), v6(0xff)],
        ports: vec![ServicePort { name: "".into(), protocol: Protocol::Udp, port: 53 }],
        internal_policy: TrafficPolicy::Local,
        external_policy: TrafficPolicy::Cluster,
        affinity_seconds: Some(60),
    };
    snapshot.services.insert(name.clone(), service.into());
    for is_v4 in [true, false] {
        let endpoint = |last: u8| Endpoint {
            ip: if is_v4 { IpAddr::from([10, 244, number, last]) } else { v6(last) },
            node: Some("here".into()),
            ready: true,
            serving: true,
            terminating: false,
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
        };
        let slice = EndpointSlice {
            name: ObjectName::new("ns", format!("s{number}-{is_v4}")),
            service: name.clone(),
            ports: vec![SlicePort { name: "".into(), protocol: Protocol::Udp, port: 5353 }],
            endpoints: (1..=endpoints).map(endpoint).collect(),
        };
        snapshot.slices.insert(slice.name.clone(), slice.into());
    }
}

fn engine(allocator: Allocator) -> Engine {
    Engine::new("here", NodeContext::default(), allocator)
}

fn succeed(failures: &[Failure]) {
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn services_are_written_to_the_maps_and_a_restarted_agent_keeps_them() {
    with_maps(&Capacities::default(), |pins| {
        let (mut maps, now) = (Maps::open(pins).unwrap(), Instant::now());
        let mut snapshot = Snapshot::default();
        (1..=3).for_each(|number| put(&mut snapshot, number, 2 * number));
        let mut first = engine(Allocator::new(maps.capacity().unwrap(), 0));
        succeed(&maps.apply(&first.update(&snapshot, now)));
        let observed = maps.read().unwrap();
        assert_eq!(observed, first.allocator().tables());
        assert_eq!((observed.frontends.len(), observed.backends.len()), (12, 24));

        let allocator = Allocator::adopt(observed, maps.capacity().unwrap(), 1000, now);
        let mut second = engine(allocator);
        assert_eq!(second.update(&snapshot, now), []);
        put(&mut snapshot, 2, 1);
        snapshot.services.remove(&ObjectName::new("ns", "s3"));
        succeed(&maps.apply(&second.update(&snapshot, now)));
        succeed(&maps.apply(&second.expire(now + GRACE)));
        let observed = maps.read().unwrap();
        assert_eq!(diff(&second.allocator().tables(), &observed), []);
        assert_eq!((observed.frontends.len(), observed.backends.len()), (8, 6));
    });
}

/// Reads the maps until they have this many frontends and serving backends.
fn await_counts(maps: &Maps, frontends: usize, backends: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let observed = maps.read().unwrap();
        let serving = observed.backends.values().filter(|backend| backend.serving).count();
        if (observed.frontends.len(), serving) == (frontends, backends) {
            return;
        }
        assert!(Instant::now() < deadline, "{observed:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running loop, and what a test controls of it.
struct Loop {
    publisher: watch::Sender<Published>,
    context: watch::Sender<NodeContext>,
    status: watch::Receiver<Status>,
    thread: thread::JoinHandle<()>,
}

impl Loop {
    fn start(pins: &Pins, resync_period: Duration) -> Self {
        let (publisher, published) = watch::channel(Published::default());
        let (context, receiver) = watch::channel(NodeContext::default());
        let config = SyncConfig {
            node: "here".to_owned(),
            context: receiver,
            debounce: DebounceWindow::default(),
            resync_period,
        };
        let health = Arc::new(Health::new(published.clone(), Duration::MAX));
        let (sync_loop, status) = SyncLoop::new(config, pins.clone(), health);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = thread::spawn(move || runtime.block_on(sync_loop.run(published)));
        Self { publisher, context, status, thread }
    }

    fn publish(&self, snapshot: &Snapshot) {
        let snapshot = Some(snapshot.clone().into());
        self.publisher.send_replace(Published { snapshot, ..Published::default() });
    }

    fn end(self) {
        drop(self.publisher);
        self.thread.join().unwrap();
    }
}

const RARELY: Duration = Duration::from_secs(3600);

#[test]
fn the_loop_follows_snapshots_repairs_the_maps_and_continues_after_a_restart() {
    with_maps(&Capacities::default(), |pins| {
        let maps = Maps::open(pins).unwrap();
        let mut snapshot = Snapshot::default();
        put(&mut snapshot, 1, 3);
        let running = Loop::start(pins, Duration::from_millis(200));
        running.publish(&snapshot);
        await_counts(&maps, 4, 6);
        put(&mut snapshot, 2, 1);
        running.publish(&snapshot);
        await_counts(&maps, 8, 8);
        let key = *maps.read().unwrap().frontends.keys().next().unwrap();
        succeed(&Maps::open(pins).unwrap().apply(&[Op::DeleteFrontend(key)]));
        await_counts(&maps, 8, 8);
        let status = running.status.borrow().clone();
        assert_eq!(status.condition(), Ok(()));
        assert_eq!((status.services, status.endpoints, status.problems.len()), (2, 8, 0));
        running.end();

        // A change while no agent runs.
        let observed = maps.read().unwrap();
        snapshot.services.remove(&ObjectName::new("ns", "s1"));
        let running = Loop::start(pins, RARELY);
        running.publish(&snapshot);
        await_counts(&maps, 4, 2);
        for (key, frontend) in maps.read().unwrap().frontends {
            assert_eq!(
                observed.frontends.get(&key),
                Some(&frontend),
                "the service kept its ids and slots"
            );
        }
        running.end();
    });
}

#[test]
fn a_service_is_not_served_while_its_address_is_bound_on_the_node() {
    with_maps(&Capacities::default(), |pins| {
        let maps = Maps::open(pins).unwrap();
        let mut snapshot = Snapshot::default();
        put(&mut snapshot, 1, 3);
        let running = Loop::start(pins, RARELY);
        running.publish(&snapshot);
        await_counts(&maps, 4, 6);
        let bound_addresses = [IpAddr::from([10, 96, 0, 1])].into();
        running.context.send_replace(NodeContext { bound_addresses, ..NodeContext::default() });
        // The backends stay, because they may have flows.
        await_counts(&maps, 2, 6);
        running.context.send_replace(NodeContext::default());
        await_counts(&maps, 4, 6);
        running.end();
    });
}

#[test]
fn missing_maps_are_reported_and_waited_for() {
    with_maps(&Capacities::default(), |pins| {
        let elsewhere = Pins::new(pins.folder().with_file_name("elsewhere"));
        let mut snapshot = Snapshot::default();
        put(&mut snapshot, 1, 3);
        let running = Loop::start(&elsewhere, RARELY);
        running.publish(&snapshot);
        let deadline = Instant::now() + Duration::from_secs(10);
        while running.status.borrow().failure.is_none() {
            assert!(Instant::now() < deadline, "the loop does not report a failure");
            thread::sleep(Duration::from_millis(5));
        }
        load(&elsewhere, &Capacities::default()).unwrap();
        await_counts(&Maps::open(&elsewhere).unwrap(), 4, 6);
        while running.status.borrow().condition() != Ok(()) {
            assert!(Instant::now() < deadline, "{:?}", running.status.borrow());
            thread::sleep(Duration::from_millis(5));
        }
        running.end();
    });
}

#[test]
fn entries_that_another_process_deletes_or_overwrites_are_repaired() {
    with_maps(&Capacities::default(), |pins| {
        let (mut maps, now) = (Maps::open(pins).unwrap(), Instant::now());
        let mut snapshot = Snapshot::default();
        put(&mut snapshot, 1, 3);
        let mut engine = engine(Allocator::new(maps.capacity().unwrap(), 0));
        succeed(&maps.apply(&engine.update(&snapshot, now)));
        let wanted = engine.allocator().tables();
        let (key, frontend) =
            wanted.frontends.iter().find(|(_, frontend)| frontend.slots.len() == 3).unwrap();
        succeed(&maps.apply(&[
            Op::DeleteFrontend(*key),
            Op::DeleteBackend(frontend.slots[0]),
            Op::WriteSlots(frontend.value.range.offset, [7, 7].into()),
        ]));
        succeed(&maps.apply(&diff(&wanted, &maps.read().unwrap())));
        assert_eq!(maps.read().unwrap(), wanted);
    });
}

#[test]
fn a_service_that_does_not_fit_is_reported_and_the_others_are_in_the_maps() {
    let small = Capacities::default().with(map::BACKENDS_V4, 5).with(map::SLOTS, 64);
    with_maps(&small, |pins| {
        let (mut maps, now) = (Maps::open(pins).unwrap(), Instant::now());
        let mut snapshot = Snapshot::default();
        (1..=3).for_each(|number| put(&mut snapshot, number, 2));
        let mut engine = engine(Allocator::new(maps.capacity().unwrap(), 0));
        succeed(&maps.apply(&engine.update(&snapshot, now)));
        let problems: Vec<String> = engine
            .allocator()
            .problems()
            .map(|(name, problem)| format!("{name}: {problem}"))
            .collect();
        assert_eq!(problems, ["ns/s3: no room for 2 backends: 4 of 5 are in use"]);
        assert_eq!(maps.read().unwrap(), engine.allocator().tables());
        assert_eq!(maps.read().unwrap().frontends.len(), 8);
    });
}

#[test]
fn operations_that_depend_on_a_refused_one_are_skipped() {
    let small = Capacities::default().with(map::BACKENDS_V4, 1);
    with_maps(&small, |pins| {
        let (mut maps, now) = (Maps::open(pins).unwrap(), Instant::now());
        let mut snapshot = Snapshot::default();
        (1..=2).for_each(|number| put(&mut snapshot, number, 2));
        // An allocator that assumes more room than there is.
        let capacity =
            weir_services::allocator::Capacity { backends: 1000, ..maps.capacity().unwrap() };
        let mut engine = engine(Allocator::new(capacity, 0));
        let failures = maps.apply(&engine.update(&snapshot, now));
        assert!(failures.iter().any(|failure| matches!(failure, Failure::Skipped(_))));
        let observed = maps.read().unwrap();
        for frontend in observed.frontends.values() {
            assert!(frontend.slots.iter().all(|id| observed.backends.contains_key(id)));
        }
        assert_eq!(
            observed.frontends.len(),
            6,
            "the IPv6 frontends of both, and the unknown-port guards"
        );
    });
}
