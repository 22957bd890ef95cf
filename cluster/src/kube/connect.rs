//! The connection to the API server.
//!
//! Pods usually connect to the address of the Service `kubernetes.default`. It works only once Services
//! are served, which is not yet the case on a starting node. So the address comes from elsewhere, and the
//! environment that names the Service is the last resort.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// The folder with the token and the certificate authority of a pod's ServiceAccount.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the API server. The first of these that is set is used: `kubeconfig`, `api_server`,
/// `kubelet_conf` if that file exists, and finally the environment of the pod.
#[derive(Debug, Clone)]
pub struct Connection {
    /// A file with address and credentials.
    pub kubeconfig: Option<PathBuf>,
    /// The address; credentials are those of the ServiceAccount.
    pub api_server: Option<String>,
    /// The node's kubelet.conf, of which only the address is used; credentials are those of the
    /// ServiceAccount.
    pub kubelet_conf: Option<PathBuf>,
    /// The folder with the ServiceAccount's `token` and `ca.crt`. Both are read again when they are
    /// renewed.
    pub service_account: PathBuf,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            api_server: None,
            kubelet_conf: None,
            service_account: SERVICE_ACCOUNT.into(),
        }
    }
}

/// Why a client cannot be made. No request has been sent to the API server yet.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig or the kubelet.conf cannot be read.
    #[error("read {}", path.display())]
    ReadKubeconfig {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<KubeconfigError>,
    },
    /// A key that leads to the address of the API server is missing.
    #[error("{} has no key {key}, so the API server's address is unknown (--api-server sets it)",
        path.display())]
    NoServer {
        /// The file.
        path: PathBuf,
        /// The key that is missing.
        key: String,
    },
    /// An address is not a URL.
    #[error(
        "`{address}` ({origin}) is not the URL of an API server, for example \
             https://192.0.2.1:6443"
    )]
    InvalidAddress {
        /// The address.
        address: String,
        /// The setting or file that has the address.
        origin: String,
    },
    /// The ServiceAccount's token or certificate authority cannot be read.
    #[error("read {}, which Kubernetes mounts into pods that have a ServiceAccount", path.display())]
    ServiceAccount {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No setting, and not even the pod's environment, has the address of the API server.
    #[error(
        "the address of the API server is unknown: set --kubeconfig or --api-server, or mount the \
             node's kubelet.conf"
    )]
    NoAddress(#[source] kube::config::InClusterError),
    /// The credentials cannot be used.
    #[error("make a client for {address}")]
    Client {
        /// The API server.
        address: String,
        /// The cause.
        source: Box<kube::Error>,
    },
}

impl Connection {
    /// Makes a client. The API server need not be reachable.
    ///
    /// # Errors
    /// When files or settings are missing or invalid.
    pub async fn connect(&self) -> Result<(Client, String), ConnectError> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // The watches try again themselves, and report errors at once.
        config.default_retry = false;
        let address = config.cluster_url.to_string();
        let address = address.trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|source| ConnectError::Client {
            address: address.clone(),
            source: Box::new(source),
        })?;
        Ok((client, address))
    }

    async fn config(&self) -> Result<Config, ConnectError> {
        if let Some(path) = &self.kubeconfig {
            let failed = |source| ConnectError::ReadKubeconfig {
                path: path.clone(),
                source: Box::new(source),
            };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            let options = KubeConfigOptions::default();
            return Config::from_custom_kubeconfig(file, &options).await.map_err(failed);
        }
        if let Some(address) = &self.api_server {
            return self.with_service_account(address, None, "--api-server");
        }
        if let Some(path) = self.kubelet_conf.as_ref().filter(|path| path.exists()) {
            let file = Kubeconfig::read_from(path).map_err(|source| {
                ConnectError::ReadKubeconfig { path: path.clone(), source: Box::new(source) }
            })?;
            let (address, tls_server_name) =
                server(&file).map_err(|key| ConnectError::NoServer { path: path.clone(), key })?;
            let origin = path.display().to_string();
            return self.with_service_account(&address, tls_server_name, &origin);
        }
        Config::incluster_env().map_err(ConnectError::NoAddress)
    }

    fn with_service_account(
        &self,
        address: &str,
        tls_server_name: Option<String>,
        origin: &str,
    ) -> Result<Config, ConnectError> {
        let invalid = || ConnectError::InvalidAddress {
            address: address.to_owned(),
            origin: origin.to_owned(),
        };
        let url =
            if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let mut config = Config::new(url.parse().map_err(|_| invalid())?);
        if config.cluster_url.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        let (token, ca) = (self.service_account.join("token"), self.service_account.join("ca.crt"));
        must_be_readable(&token)?;
        must_be_readable(&ca)?;
        // Only the authority in the file is trusted, and none of the system's.
        config.root_cert = Some(Vec::new());
        config.auth_info.token_file = Some(token.display().to_string());
        config.root_cert_file = Some(ca);
        config.tls_server_name = tls_server_name;
        Ok(config)
    }
}

fn must_be_readable(path: &Path) -> Result<(), ConnectError> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(source) => Err(ConnectError::ServiceAccount { path: path.to_owned(), source }),
    }
}

/// The address of the API server in a kubeconfig, and the name in its certificate if the file has one.
///
/// # Errors
/// The key that is missing.
fn server(file: &Kubeconfig) -> Result<(String, Option<String>), String> {
    let named = match &file.current_context {
        Some(current) if !current.is_empty() => {
            let mut contexts = file.contexts.iter().filter(|context| context.name == *current);
            let context = contexts.next().and_then(|named| named.context.as_ref());
            let context = context.ok_or_else(|| format!("contexts[name={current}].context"))?;
            let mut clusters =
                file.clusters.iter().filter(|cluster| cluster.name == context.cluster);
            clusters.next().ok_or_else(|| format!("clusters[name={}]", context.cluster))?
        }
        _ => file.clusters.first().ok_or("clusters")?,
    };
    let cluster = named.cluster.as_ref();
    let server = cluster.and_then(|cluster| cluster.server.clone()).filter(|url| !url.is_empty());
    let server = server.ok_or_else(|| format!("clusters[name={}].cluster.server", named.name))?;
    Ok((server, cluster.and_then(|cluster| cluster.tls_server_name.clone())))
}

/// An error with its causes on one line. A cause that the error's text repeats is left out.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text_of_cause = error.to_string();
        if !text.contains(&text_of_cause) {
            text = format!("{text}: {text_of_cause}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
