use std::fs;

use tempfile::TempDir;

use super::*;

const KUBELET_CONF: &str = "\
apiVersion: v1
kind: Config
current-context: system:node:a@kubernetes
clusters:
- name: other
  cluster: {server: 'https://198.51.100.1:6443'}
- name: kubernetes
  cluster: {server: 'https://192.0.2.1:6443', certificate-authority: /no/such/file}
contexts:
- name: system:node:a@kubernetes
  context: {cluster: kubernetes, user: system:node:a}
users:
- name: system:node:a
  user: {client-certificate: /no/such/file, client-key: /no/such/file}
";

/// A pod with a ServiceAccount and this kubelet.conf.
fn pod(kubelet_conf: &str) -> (TempDir, Connection) {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("kubelet.conf"), kubelet_conf).unwrap();
    fs::write(path("token"), "secret").unwrap();
    fs::write(path("ca.crt"), "").unwrap();
    let connection = Connection {
        kubelet_conf: Some(path("kubelet.conf")),
        service_account: folder.path().to_owned(),
        ..Connection::default()
    };
    (folder, connection)
}

async fn error_of(connection: &Connection) -> String {
    with_causes(&connection.config().await.unwrap_err())
}

#[tokio::test]
async fn the_address_is_the_kubelets_and_the_credentials_are_the_service_accounts() {
    let (folder, connection) = pod(KUBELET_CONF);
    let config = connection.config().await.unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://192.0.2.1:6443/");
    assert_eq!(config.root_cert_file, Some(folder.path().join("ca.crt")));
    let token = folder.path().join("token").display().to_string();
    assert_eq!(config.auth_info.token_file, Some(token));
    assert_eq!(config.auth_info.client_certificate, None);
}

#[tokio::test]
async fn an_address_on_the_command_line_has_precedence_over_the_kubelets() {
    let (_folder, mut connection) = pod(KUBELET_CONF);
    connection.api_server = Some("[2001:db8::1]:6443".into());
    let config = connection.config().await.unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://[2001:db8::1]:6443/");
    connection.api_server = Some("https://".into());
    assert!(error_of(&connection).await.starts_with("`https://` (--api-server) is not the URL"));
}

#[tokio::test]
async fn a_kubelet_conf_without_an_address_is_reported_with_the_missing_key() {
    let (folder, connection) =
        pod(&KUBELET_CONF.replace("server: 'https://192", "x: 'https://192"));
    let path = folder.path().join("kubelet.conf");
    let expected = format!(
        "{} has no key clusters[name=kubernetes].cluster.server, so the API server's address is \
         unknown (--api-server sets it)",
        path.display()
    );
    assert_eq!(error_of(&connection).await, expected);

    fs::write(&path, KUBELET_CONF.replace("- name: kubernetes", "- name: k8s")).unwrap();
    assert!(error_of(&connection).await.contains("has no key clusters[name=kubernetes],"));
    fs::write(&path, "clusters: []").unwrap();
    assert!(error_of(&connection).await.contains("has no key clusters,"));
    fs::write(&path, "clusters: 7").unwrap();
    assert!(error_of(&connection).await.starts_with(&format!("read {}: ", path.display())));
}

#[tokio::test]
async fn a_token_that_is_not_mounted_is_reported() {
    let (folder, connection) = pod(KUBELET_CONF);
    fs::remove_file(folder.path().join("token")).unwrap();
    let token = folder.path().join("token");
    assert!(error_of(&connection).await.starts_with(&format!("read {}", token.display())));
}

#[tokio::test]
async fn a_kubeconfig_has_its_own_credentials() {
    let (folder, mut connection) = pod(KUBELET_CONF);
    let path = folder.path().join("admin.conf");
    let file = KUBELET_CONF.replace(", certificate-authority: /no/such/file", "");
    fs::write(&path, file.replace("192.0.2.1", "192.0.2.9")).unwrap();
    connection.kubeconfig = Some(path);
    let config = connection.config().await.unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://192.0.2.9:6443/");
    assert!(config.auth_info.client_certificate.is_some());
}
