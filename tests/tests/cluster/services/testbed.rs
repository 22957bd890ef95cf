//! Runs a test on every path that a packet to a Service can take: through a tunnel or by routes,
//! bypassing the network stack or through it, to the client's node or to another, in both families.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use anyhow::{Context, Result};
use weir_tests::lab::{
    AttachedPod, Builder, Cluster, Families, ManifestDir, Member, Mode, ServiceManifest,
};

use super::{Backend, PORT, TARGET_PORT, reaches, with};

/// How packets get to another node, and whether they bypass the network stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathVariant {
    pub(crate) mode: Mode,
    pub(crate) fast: bool,
}

/// All variants.
pub(crate) const VARIANTS: [PathVariant; 4] = [
    PathVariant { mode: Mode::Vxlan, fast: true },
    PathVariant { mode: Mode::Vxlan, fast: false },
    PathVariant { mode: Mode::HostGw, fast: true },
    PathVariant { mode: Mode::HostGw, fast: false },
];

impl PathVariant {
    /// A dual-stack cluster of two nodes whose packets take this path.
    pub(crate) fn cluster(self) -> Builder {
        let Self { mode, fast } = self;
        let builder = Cluster::new(2).mode(mode).pods(Families::Dual).underlay(Families::Dual);
        builder.services().flag(&format!("--fast-path={fast}"))
    }
}

/// A cluster with two backends on each node.
pub(crate) struct Testbed {
    // Fields are dropped in order: pods before their nodes.
    /// On the client's node, and on the other node.
    backends: [[Backend; 2]; 2],
    variant: PathVariant,
    cluster: Cluster,
}

impl Testbed {
    pub(crate) fn new(variant: PathVariant, builder: Builder) -> Result<Self> {
        let cluster = builder.build()?;
        let (near, far) = (cluster.node(1)?, cluster.node(2)?);
        let backends = [
            [Backend::on(near, "near-a")?, Backend::on(near, "near-b")?],
            [Backend::on(far, "far-a")?, Backend::on(far, "far-b")?],
        ];
        Ok(Self { backends, variant, cluster })
    }

    /// A testbed that tests share, because creating it takes longer than most tests run. Each test
    /// uses its own pods, addresses and ports on it, see [`TestScope`].
    fn shared(index: usize) -> Result<Arc<Self>> {
        let mut slot = SHARED[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(testbed) = &*slot {
            return Ok(Arc::clone(testbed));
        }
        let testbed = Arc::new(Self::new(VARIANTS[index], VARIANTS[index].cluster())?);
        *slot = Some(Arc::clone(&testbed));
        static AT_EXIT: Once = Once::new();
        // SAFETY: the function is safe to call at any time.
        AT_EXIT.call_once(|| unsafe { _ = libc::atexit(clear) });
        Ok(testbed)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A new scope for a test.
    pub(crate) fn scope(&self) -> Result<TestScope<'_>> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let client = self.cluster.node(1)?.pod(&format!("client{number}"))?;
        Ok(TestScope { testbed: self, number, client })
    }
}

static SHARED: [Mutex<Option<Arc<Testbed>>>; VARIANTS.len()] =
    [const { Mutex::new(None) }; VARIANTS.len()];

/// Drops the shared testbeds when the process exits.
extern "C" fn clear() {
    for slot in &SHARED {
        drop(slot.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A test's own client on a testbed, and addresses and ports that no other test uses.
pub(crate) struct TestScope<'a> {
    pub(crate) testbed: &'a Testbed,
    number: u8,
    pub(crate) client: AttachedPod,
}

/// A client and two backends, on one path and in one family.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    number: u8,
    cluster: &'a Cluster,
    pub(crate) variant: PathVariant,
    pub(crate) client: &'a AttachedPod,
    pub(crate) backends: &'a [Backend; 2],
    /// The backends are on another node than the client.
    pub(crate) remote: bool,
    pub(crate) ipv4: bool,
}

impl TestScope<'_> {
    /// All pods that the test may use.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &AttachedPod> {
        let backends = self.testbed.backends.as_flattened();
        [&self.client].into_iter().chain(backends.iter().map(|one| &one.pod))
    }

    /// Runs `body` with local and with remote backends, in both families.
    pub(crate) fn in_each_case(&self, body: impl Fn(&Case<'_>) -> Result<()>) -> Result<()> {
        let Self { testbed: Testbed { backends, variant, cluster }, number, client } = self;
        for remote in [false, true] {
            for ipv4 in [true, false] {
                let backends = &backends[usize::from(remote)];
                let (number, variant) = (*number, *variant);
                let case = Case { number, cluster, variant, client, backends, remote, ipv4 };
                body(&case).with_context(|| case.described())?;
            }
        }
        Ok(())
    }
}

impl Case<'_> {
    fn described(&self) -> String {
        let family = if self.ipv4 { "IPv4" } else { "IPv6" };
        let node = if self.remote { "another node" } else { "the same node" };
        format!("{family}, backends on {node}, {:?}", self.variant)
    }

    /// The client's node.
    pub(crate) fn node(&self) -> Result<&Member> {
        self.cluster.node(1)
    }

    pub(crate) fn manifests(&self) -> Result<&ManifestDir> {
        self.cluster.manifests()
    }

    /// A port for the test's own sockets.
    pub(crate) fn spare_port(&self) -> u16 {
        10_000 + u16::from(self.number)
    }

    /// Service number `number` of this case, in its family, without endpoints.
    pub(crate) fn service(&self, number: u8) -> ServiceManifest {
        let host = number + if self.remote { 100 } else { 0 };
        let vip: IpAddr = if self.ipv4 {
            [10, 96, self.number, host].into()
        } else {
            [0xfd96, 0, 0, 0, 0, 0, self.number.into(), host.into()].into()
        };
        let name = format!("web-{}", vip.to_string().replace([':', '.'], "-"));
        ServiceManifest::new(&name, &[vip], PORT, TARGET_PORT)
    }

    /// Writes a Service with these backends, waits until the client reaches the first of them, and
    /// returns the Service's address and port.
    pub(crate) fn serve(&self, number: u8, backends: &[&Backend]) -> Result<SocketAddr> {
        let service = with(self.service(number), backends);
        self.manifests()?.put_service(&service)?;
        let first = backends.first().context("no backend")?;
        let target = service.frontends()[0];
        reaches(self.client, target, &first.name)?;
        Ok(target)
    }

    /// The address of a pod in this case's family.
    pub(crate) fn address_of(&self, pod: &AttachedPod) -> Result<IpAddr> {
        let mut addresses = pod.addresses().into_iter();
        addresses.find(|ip| ip.is_ipv4() == self.ipv4).context("a pod without such an address")
    }
}

/// Runs `body` on a testbed of every variant, which it shares with other tests.
pub(crate) fn on_shared_testbeds(body: impl Fn(&TestScope<'_>) -> Result<()>) -> Result<()> {
    for index in 0..VARIANTS.len() {
        let testbed = Testbed::shared(index)?;
        body(&testbed.scope()?).inspect_err(|_| eprintln!("{}", testbed.cluster.logs()))?;
    }
    Ok(())
}

/// Runs `body` on a testbed of every variant that no other test uses. `configure` may change how its
/// cluster is built.
pub(crate) fn on_own_testbeds(
    configure: impl Fn(Builder) -> Builder,
    body: impl Fn(&TestScope<'_>) -> Result<()>,
) -> Result<()> {
    for variant in VARIANTS {
        let testbed = Testbed::new(variant, configure(variant.cluster()))?;
        body(&testbed.scope()?).inspect_err(|_| eprintln!("{}", testbed.cluster.logs()))?;
    }
    Ok(())
}

/// Runs `body` on a testbed of every variant, with local and with remote backends, in both families.
pub(crate) fn in_each_case(body: impl Fn(&Case<'_>) -> Result<()>) -> Result<()> {
    on_shared_testbeds(|scope| scope.in_each_case(&body))
}
