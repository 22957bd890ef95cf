//! One body for every way that a packet to a Service can take: through a tunnel or by routes, past
//! the stack or through it, to the client's node or to another, in both families.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use anyhow::{Context, Result};
use weir_tests::lab::{Attached, Builder, Cluster, Families, Member, Mode, ServiceManifest, World};

use super::{Backend, PORT, TARGET, reaches, with};

/// How packets get to another node, and whether past the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) mode: Mode,
    pub(crate) fast: bool,
}

/// All of them.
pub(crate) const WAYS: [Way; 4] = [
    Way { mode: Mode::Vxlan, fast: true },
    Way { mode: Mode::Vxlan, fast: false },
    Way { mode: Mode::HostGw, fast: true },
    Way { mode: Mode::HostGw, fast: false },
];

impl Way {
    /// Two nodes that both families of pods and of the underlay reach this way.
    pub(crate) fn cluster(self) -> Builder {
        let Self { mode, fast } = self;
        let builder = Cluster::new(2).mode(mode).pods(Families::Dual).underlay(Families::Dual);
        builder.services().flag(&format!("--fast-path={fast}"))
    }
}

/// A cluster with backends.
pub(crate) struct Stage {
    // The pods go before their nodes.
    /// Two on the client's node, two on the other.
    backends: [[Backend; 2]; 2],
    way: Way,
    cluster: Cluster,
}

impl Stage {
    pub(crate) fn new(way: Way, builder: Builder) -> Result<Self> {
        let cluster = builder.build()?;
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let backends = [
            [Backend::on(near, "near-a")?, Backend::on(near, "near-b")?],
            [Backend::on(far, "far-a")?, Backend::on(far, "far-b")?],
        ];
        Ok(Self { backends, way, cluster })
    }

    /// One that tests share, because to make it takes longer than what most do on it. What a test
    /// uses of it has to be its own, see [`Part`].
    fn shared(index: usize) -> Result<Arc<Self>> {
        let mut place = SHARED[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = &*place {
            return Ok(Arc::clone(stage));
        }
        let stage = Arc::new(Self::new(WAYS[index], WAYS[index].cluster())?);
        *place = Some(Arc::clone(&stage));
        static AT_EXIT: Once = Once::new();
        // SAFETY: the function is safe to call at any time.
        AT_EXIT.call_once(|| unsafe { _ = libc::atexit(clear) });
        Ok(stage)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A test's own part of it.
    pub(crate) fn part(&self) -> Result<Part<'_>> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let client = self.cluster.node(1)?.pod(&format!("client{number}"))?;
        Ok(Part { stage: self, number, client })
    }
}

static SHARED: [Mutex<Option<Arc<Stage>>>; WAYS.len()] = [const { Mutex::new(None) }; WAYS.len()];

/// Ends what nobody can use any more: the process exits.
extern "C" fn clear() {
    for place in &SHARED {
        drop(place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What a test has for itself on a stage: a client, and addresses and ports that no other test uses.
pub(crate) struct Part<'a> {
    pub(crate) stage: &'a Stage,
    number: u8,
    pub(crate) client: Attached,
}

/// A client, and two backends that are reached in the same way, in one family.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    number: u8,
    cluster: &'a Cluster,
    pub(crate) way: Way,
    pub(crate) client: &'a Attached,
    pub(crate) backends: &'a [Backend; 2],
    /// The backends are on another node than the client.
    pub(crate) across: bool,
    pub(crate) ipv4: bool,
}

impl Part<'_> {
    /// Everybody.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Attached> {
        let backends = self.stage.backends.as_flattened();
        [&self.client].into_iter().chain(backends.iter().map(|one| &one.pod))
    }

    /// Runs `body` for both places of backends and both families.
    pub(crate) fn everywhere(&self, body: impl Fn(&Spot<'_>) -> Result<()>) -> Result<()> {
        let Self { stage: Stage { backends, way, cluster }, number, client } = self;
        for across in [false, true] {
            for ipv4 in [true, false] {
                let backends = &backends[usize::from(across)];
                let (number, way) = (*number, *way);
                let spot = Spot { number, cluster, way, client, backends, across, ipv4 };
                body(&spot).with_context(|| spot.described())?;
            }
        }
        Ok(())
    }
}

impl Spot<'_> {
    fn described(&self) -> String {
        let family = if self.ipv4 { "IPv4" } else { "IPv6" };
        let place = if self.across { "another node" } else { "the same node" };
        format!("{family}, backends on {place}, {:?}", self.way)
    }

    /// The client's node.
    pub(crate) fn node(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    pub(crate) fn world(&self) -> Result<&World> {
        self.cluster.world()
    }

    /// A port for sockets of the test itself.
    pub(crate) fn spare(&self) -> u16 {
        10_000 + u16::from(self.number)
    }

    /// Service number `number` of this spot, in its family, without endpoints.
    pub(crate) fn service(&self, number: u8) -> ServiceManifest {
        let host = number + if self.across { 100 } else { 0 };
        let vip: IpAddr = if self.ipv4 {
            [10, 96, self.number, host].into()
        } else {
            [0xfd96, 0, 0, 0, 0, 0, self.number.into(), host.into()].into()
        };
        let name = format!("web-{}", vip.to_string().replace([':', '.'], "-"));
        ServiceManifest::new(&name, &[vip], PORT, TARGET)
    }

    /// Has a Service lead to these backends, waits until the client reaches the first of them, and
    /// tells the Service's address.
    pub(crate) fn serve(&self, number: u8, backends: &[&Backend]) -> Result<SocketAddr> {
        let service = with(self.service(number), backends);
        self.world()?.put_service(&service)?;
        let first = backends.first().context("no backend")?;
        let target = service.targets()[0];
        reaches(self.client, target, &first.name)?;
        Ok(target)
    }

    /// The address of one of this spot's pods in its family.
    pub(crate) fn address_of(&self, pod: &Attached) -> Result<IpAddr> {
        let mut addresses = pod.addresses().into_iter();
        addresses.find(|ip| ip.is_ipv4() == self.ipv4).context("a pod without such an address")
    }
}

/// Runs `body` on a cluster of every kind, which it shares with other tests.
pub(crate) fn on_each_way(body: impl Fn(&Part<'_>) -> Result<()>) -> Result<()> {
    for index in 0..WAYS.len() {
        let stage = Stage::shared(index)?;
        body(&stage.part()?).inspect_err(|_| eprintln!("{}", stage.cluster.logs()))?;
    }
    Ok(())
}

/// Runs `body` on a cluster of every kind that the test has for itself, made as `bend` says.
pub(crate) fn alone_on_each_way(
    bend: impl Fn(Builder) -> Builder,
    body: impl Fn(&Part<'_>) -> Result<()>,
) -> Result<()> {
    for way in WAYS {
        let stage = Stage::new(way, bend(way.cluster()))?;
        body(&stage.part()?).inspect_err(|_| eprintln!("{}", stage.cluster.logs()))?;
    }
    Ok(())
}

/// Runs `body` on a cluster of every kind, for both places of backends and in both families.
pub(crate) fn everywhere(body: impl Fn(&Spot<'_>) -> Result<()>) -> Result<()> {
    on_each_way(|part| part.everywhere(&body))
}
