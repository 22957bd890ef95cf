//! Measures how long the directory source takes to load a large cluster, and to take in one change:
//! `cargo run --release -p weir-cluster --example load`.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use tempfile::TempDir;
use weir_cluster::{Published, Source, directory::DirectorySource};

const SERVICES: usize = 50_000;
const SERVICES_PER_FILE: usize = 100;

/// The documents of one Service and its EndpointSlice.
fn documents(number: usize) -> String {
    let (high, low) = (number / 250, number % 250 + 1);
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s{number}\n  namespace: load\n  \
         uid: 5f0c7c5e-0000-4000-8000-{number:012}\nspec:\n  type: ClusterIP\n  clusterIP: 10.96.{high}.{low}\n  \
         ports:\n  - {{name: http, protocol: TCP, port: 80, targetPort: 8080}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{number}-1\n  \
         namespace: load\n  labels: {{kubernetes.io/service-name: s{number}}}\naddressType: IPv4\n\
         ports:\n- {{name: http, protocol: TCP, port: 8080}}\nendpoints:\n\
         - {{addresses: [10.244.{high}.{low}], nodeName: a}}\n"
    )
}

fn write_file(directory: &Path, file: usize, services: usize) -> io::Result<()> {
    let first = file * SERVICES_PER_FILE;
    let text: String = (first..first + services).map(documents).collect();
    let path = directory.join(format!("f{file:04}.yaml"));
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

/// The largest amount of memory that the process has used so far.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    for file in 0..SERVICES / SERVICES_PER_FILE {
        write_file(folder.path(), file, SERVICES_PER_FILE)?;
    }
    let (publisher, mut reader) = tokio::sync::watch::channel(Published::default());
    let started = Instant::now();
    tokio::spawn(DirectorySource::new(folder.path()).run(publisher));
    let mut wait_for = async |services: usize| {
        let fits = |published: &Published| {
            let snapshot = published.snapshot.as_ref();
            snapshot.is_some_and(|snapshot| snapshot.services.len() == services)
        };
        let waited = tokio::time::timeout(Duration::from_secs(300), reader.wait_for(fits)).await;
        waited.map(drop)
    };
    wait_for(SERVICES).await?;
    eprintln!(
        "load of {SERVICES} Services: {:?}, peak memory {}",
        started.elapsed(),
        peak_memory()
    );
    let started = Instant::now();
    write_file(folder.path(), 7, SERVICES_PER_FILE - 1)?;
    wait_for(SERVICES - 1).await?;
    eprintln!("change of one file: {:?}", started.elapsed());
    Ok(())
}
