//! The control plane: etcd, the API server, the controllers and the scheduler, as processes on the
//! hub, with kubeadm's certificates.

pub(crate) mod certificates;
mod dns;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::environment::Environment;
use crate::kubectl::Kubectl;
use crate::member::Member;
use crate::process;
use crate::spec::{API_PORT, ClusterSpec};
use crate::wait;

const READY: Duration = Duration::from_secs(120);
/// Lets the API server use the kubelets' API: its certificate has no organization that allows it.
const KUBELET_ACCESS: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-apiserver-kubelet-client}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:kubelet-api-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: kube-apiserver-kubelet-client}]
";

/// Starts everything on the hub and waits until the API server is ready.
///
/// # Errors
/// When a program is missing or ends; the error has the end of its log.
pub(crate) fn start(environment: &Environment, hub: &mut Member, spec: &ClusterSpec) -> Result<()> {
    let dir = environment.state()?.to_owned();
    let programs = [
        ("etcd", etcd(&dir)),
        ("kube-apiserver", api_server(&dir, spec)?),
        ("kube-controller-manager", controller_manager(&dir, spec)),
        ("kube-scheduler", scheduler(&dir)),
    ];
    for (name, flags) in programs {
        hub.launch(environment, name, &environment.tool(name)?, &flags)?;
        if name == "kube-apiserver" {
            wait_ready(environment, hub)?;
        }
    }
    dns::start(environment, hub, spec)?;
    Kubectl::on(environment, &hub.machine)?.apply(KUBELET_ACCESS)
}

fn wait_ready(environment: &Environment, hub: &Member) -> Result<()> {
    let kubectl = Kubectl::on(environment, &hub.machine)?;
    wait::holds("the API server is ready", READY, || {
        for (name, process) in &hub.programs {
            if !process.is_alive() {
                let log = hub.log(environment, name)?;
                bail!("{name} has ended; {}", process::log_tail(&log));
            }
        }
        Ok(kubectl.run(&["get", "--raw", "/readyz"]).is_ok())
    })
}

fn etcd(dir: &Path) -> Vec<String> {
    vec![
        flag("--data-dir", dir.join("etcd")),
        // The cluster does not survive a crash of the host anyway.
        "--unsafe-no-fsync".to_owned(),
        "--logger=zap".to_owned(),
    ]
}

fn api_server(dir: &Path, spec: &ClusterSpec) -> Result<Vec<String>> {
    let pki = |file: &str| dir.join("pki").join(file);
    let family = spec.ip_family;
    let mut flags: Vec<_> = [
        ("--client-ca-file", "ca.crt"),
        ("--kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        ("--kubelet-client-key", "apiserver-kubelet-client.key"),
        ("--proxy-client-cert-file", "front-proxy-client.crt"),
        ("--proxy-client-key-file", "front-proxy-client.key"),
        ("--requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
        ("--tls-cert-file", "apiserver.crt"),
        ("--tls-private-key-file", "apiserver.key"),
    ]
    .into_iter()
    .map(|(name, file)| flag(name, pki(file)))
    .collect();
    flags.extend(
        [
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--etcd-servers=http://127.0.0.1:2379",
            "--kubelet-preferred-address-types=InternalIP",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            // It ends at once when it is asked to.
            "--shutdown-delay-duration=0s",
        ]
        .map(str::to_owned),
    );
    flags.push(format!("--advertise-address={}", certificates::server_address(spec)?));
    flags.push(format!("--secure-port={API_PORT}"));
    flags.push(format!("--service-cluster-ip-range={}", family.service_cidrs()));
    Ok(flags)
}

fn controller_manager(dir: &Path, spec: &ClusterSpec) -> Vec<String> {
    let pki = |file: &str| dir.join("pki").join(file);
    let config = dir.join("kubeconfigs/controller-manager.conf");
    vec![
        flag("--kubeconfig", &config),
        flag("--authentication-kubeconfig", &config),
        flag("--authorization-kubeconfig", &config),
        flag("--client-ca-file", pki("ca.crt")),
        flag("--cluster-signing-cert-file", pki("ca.crt")),
        flag("--cluster-signing-key-file", pki("ca.key")),
        flag("--root-ca-file", pki("ca.crt")),
        flag("--requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        flag("--service-account-private-key-file", pki("sa.key")),
        "--allocate-node-cidrs=true".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--cluster-cidr={}", spec.ip_family.pod_cidrs()),
        format!("--service-cluster-ip-range={}", spec.ip_family.service_cidrs()),
    ]
}

fn scheduler(dir: &Path) -> Vec<String> {
    let config = dir.join("kubeconfigs/scheduler.conf");
    vec![
        flag("--kubeconfig", &config),
        flag("--authentication-kubeconfig", &config),
        flag("--authorization-kubeconfig", &config),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}

fn flag(name: &str, value: impl Into<OsString>) -> String {
    format!("{name}={}", value.into().display())
}
