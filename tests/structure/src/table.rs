//! The stated structure: which crate may use which, and which module of a crate may use which.
//!
//! ARCHITECTURE.md says why. A new crate, and a new module of a crate in [`LAYERS`], needs a line
//! here.

/// A crate of the repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    /// The crates of the repository that it may depend on. Dev-dependencies are free: a test may
    /// use the lab.
    pub(crate) may_use: &'static [&'static str],
    /// Whether it must build without what [`IMPURE`] names.
    pub(crate) pure: bool,
}

const fn krate(name: &'static str, may_use: &'static [&'static str]) -> Crate {
    Crate { name, may_use, pure: false }
}

/// A crate of decisions and plain data, which is built and tested without the kernel and a cluster.
const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Crate {
    Crate { name, may_use, pure: true }
}

/// All crates, those that use nothing first.
pub(crate) const CRATES: &[Crate] = &[
    pure("weir-ebpf-common", &[]),
    pure("weir-node", &[]),
    pure("weir-model", &[]),
    pure("weir-services", &["weir-ebpf-common", "weir-model"]),
    krate("weir-cluster", &["weir-model"]),
    krate("weir-netlink", &[]),
    krate("weir-ebpf", &["weir-ebpf-common"]),
    krate("weir-datapath", &["weir-ebpf-common"]),
    krate("weir-cni", &["weir-datapath", "weir-netlink", "weir-node"]),
    krate(
        "weir-agent",
        &[
            "weir-cluster",
            "weir-datapath",
            "weir-model",
            "weir-netlink",
            "weir-node",
            "weir-services",
        ],
    ),
    krate(
        "weir",
        &["weir-datapath", "weir-ebpf-common", "weir-netlink", "weir-node", "weir-services"],
    ),
    // They test programs, and not the crates that the programs are made of.
    krate("weir-tests", &[]),
    krate("weir-api-tests", &["weir-tests"]),
    krate("weir-attack", &["weir-tests"]),
    krate("weir-e2e", &["weir-tests"]),
    krate("weir-bench", &["weir-api-tests", "weir-datapath", "weir-ebpf-common", "weir-tests"]),
    krate("weir-structure", &[]),
    // It starts, and can say what is wrong, also when the others do not build.
    krate("xtask", &[]),
    krate("weir-images", &["xtask"]),
    krate("weir-kernels", &["weir-images", "xtask"]),
];

/// What a pure crate must not be built of, with the crates whose names begin so: `kube-client`.
pub(crate) const IMPURE: &[&str] =
    &["aya", "bpf-linker", "k8s-openapi", "kube", "rtnetlink", "tokio"];

/// The modules of one crate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layers {
    pub(crate) package: &'static str,
    /// Each top-level module of the crate's library, and those that it may use. The root may use
    /// all of them.
    pub(crate) modules: &'static [(&'static str, &'static [&'static str])],
}

/// The crates whose modules have a stated direction.
///
/// For a new crate, start with an empty list of modules: the check prints the line of each module,
/// with what it uses today.
pub(crate) const LAYERS: &[Layers] = &[Layers {
    package: "weir-agent",
    modules: &[
        ("causes", &[]),
        ("headroom", &[]),
        ("map_capacity", &[]),
        ("net_conf", &[]),
        ("nft", &[]),
        ("underlay", &[]),
        ("options", &["map_capacity"]),
        ("install", &["options"]),
        ("firewall_check", &["nft"]),
        ("masquerade", &["nft"]),
        ("overlay", &["net_conf", "underlay"]),
        ("datapath", &["map_capacity", "net_conf", "options", "overlay", "underlay"]),
        ("events", &["headroom"]),
        ("node_condition", &["events"]),
        ("metrics", &["headroom"]),
        ("health", &["events", "metrics"]),
        ("services", &["causes", "datapath", "events", "health"]),
        (
            "reconcile",
            &[
                "causes",
                "datapath",
                "events",
                "firewall_check",
                "headroom",
                "health",
                "install",
                "masquerade",
                "net_conf",
                "node_condition",
                "options",
                "overlay",
                "underlay",
            ],
        ),
    ],
}];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circle;

    #[test]
    fn the_stated_direction_of_the_crates_has_no_circle() {
        let arrows = CRATES.iter().flat_map(|one| one.may_use.iter().map(|to| (one.name, *to)));
        assert!(circle::all(arrows).is_empty());
    }

    #[test]
    fn the_stated_direction_of_modules_has_no_circle() {
        for Layers { package, modules } in LAYERS {
            let arrows = modules.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to)));
            assert_eq!(circle::all(arrows), Vec::<Vec<&str>>::new(), "{package}");
        }
    }

    #[test]
    fn a_pure_crate_may_use_pure_crates_only() {
        for one in CRATES.iter().filter(|one| one.pure) {
            for used in one.may_use {
                let used = CRATES.iter().find(|other| other.name == *used);
                assert!(used.is_some_and(|used| used.pure), "{}", one.name);
            }
        }
    }
}
