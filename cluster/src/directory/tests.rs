use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch::Receiver;
use tokio::time::timeout;

use super::*;
use crate::Published;

fn node(name: &str, ip: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}\n"
    )
}

fn start(directory: &Path) -> Receiver<Published> {
    let (publisher, reader) = tokio::sync::watch::channel(Published::default());
    tokio::spawn(DirectorySource::new(directory).run(publisher));
    reader
}

/// Waits for a snapshot of exactly these nodes (`name=address`), and for whether there are problems.
async fn expect(reader: &mut Receiver<Published>, nodes: &[&str], problems: &[&str]) {
    let wanted: BTreeSet<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
    let fits = |published: &Published| {
        let snapshot = published.snapshot.as_ref().map(|snapshot| {
            let nodes = snapshot.nodes.values();
            nodes.map(|node| format!("{}={}", node.name, node.underlay_ips[0])).collect()
        });
        let found = &published.status.problems;
        snapshot.as_ref() == Some(&wanted)
            && found.len() == problems.len()
            && found.iter().zip(problems).all(|(found, part)| found.contains(part))
    };
    let found = timeout(Duration::from_secs(5), reader.wait_for(fits)).await.is_ok();
    assert!(found, "{nodes:?} {problems:?} is not {:?}", reader.borrow());
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn new_changed_and_deleted_files_change_the_snapshot() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("b.yaml");
    fs::write(folder.path().join("a.yaml"), node("a", "192.0.2.1")).unwrap();
    let mut reader = start(folder.path());
    expect(&mut reader, &["a=192.0.2.1"], &[]).await;
    fs::write(&file, node("b", "192.0.2.2")).unwrap();
    expect(&mut reader, &["a=192.0.2.1", "b=192.0.2.2"], &[]).await;
    replace(&file, &node("b", "192.0.2.9"));
    expect(&mut reader, &["a=192.0.2.1", "b=192.0.2.9"], &[]).await;
    fs::remove_file(&file).unwrap();
    expect(&mut reader, &["a=192.0.2.1"], &[]).await;
}

#[tokio::test]
async fn a_broken_file_keeps_its_objects_and_is_reported_with_its_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, node("a", "192.0.2.1")).unwrap();
    let mut reader = start(folder.path());
    expect(&mut reader, &["a=192.0.2.1"], &[]).await;
    replace(&file, "kind: [\n");
    expect(&mut reader, &["a=192.0.2.1"], &["a.yaml:"]).await;
    replace(&file, &node("a", "192.0.2.2"));
    expect(&mut reader, &["a=192.0.2.2"], &[]).await;
}

#[tokio::test]
async fn a_node_in_two_files_is_used_once_and_reported() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), node("a", "192.0.2.1")).unwrap();
    fs::write(folder.path().join("b.yaml"), node("a", "192.0.2.2")).unwrap();
    let mut reader = start(folder.path());
    expect(&mut reader, &["a=192.0.2.1"], &["b.yaml:2: node a is also defined at"]).await;
}

#[tokio::test]
async fn the_directory_may_be_created_later_deleted_and_created_again() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("deep/manifests");
    let mut reader = start(&directory);
    let missing = reader.wait_for(|published| !published.status.problems.is_empty());
    timeout(Duration::from_secs(5), missing).await.unwrap().unwrap();
    assert_eq!(reader.borrow().snapshot, None, "a missing directory is not an empty cluster");

    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("a.yaml"), node("a", "192.0.2.1")).unwrap();
    expect(&mut reader, &["a=192.0.2.1"], &[]).await;

    fs::remove_dir_all(&directory).unwrap();
    // Between the deletion of the file and that of the directory the snapshot may be empty.
    let gone = reader.wait_for(|published| !published.status.problems.is_empty());
    timeout(Duration::from_secs(5), gone).await.unwrap().unwrap();

    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.yaml"), node("a", "192.0.2.3")).unwrap();
    fs::rename(&other, &directory).unwrap();
    expect(&mut reader, &["a=192.0.2.3"], &[]).await;
    fs::write(directory.join("a.yaml"), node("a", "192.0.2.4")).unwrap();
    expect(&mut reader, &["a=192.0.2.4"], &[]).await;
}

#[tokio::test]
async fn the_link_of_a_mounted_config_map_changes_all_files_at_once() {
    let folder = TempDir::new().unwrap();
    let version = |name: &str, ip: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        for node_name in ["a", "b"] {
            let path = folder.path().join(name).join(node_name).with_extension("yaml");
            fs::write(path, node(node_name, ip)).unwrap();
        }
    };
    version("..1", "192.0.2.1");
    symlink("..1", folder.path().join("..data")).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let mut reader = start(folder.path());
    expect(&mut reader, &["a=192.0.2.1", "b=192.0.2.1"], &[]).await;
    version("..2", "192.0.2.2");
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    expect(&mut reader, &["a=192.0.2.2", "b=192.0.2.2"], &[]).await;
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read_before_it_is_closed() {
    use std::io::Write;

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    let both = node("a", "192.0.2.1") + &node("b", "192.0.2.2");
    fs::write(&file, &both).unwrap();
    let mut reader = start(folder.path());
    expect(&mut reader, &["a=192.0.2.1", "b=192.0.2.2"], &[]).await;

    let mut writer = fs::File::create(&file).unwrap();
    writer.write_all(node("a", "192.0.2.3").as_bytes()).unwrap();
    // Longer than anything is waited for after an event, and much shorter than a hung writer's time.
    let early = timeout(Duration::from_millis(300), reader.changed()).await;
    assert!(early.is_err(), "half a file was read: {:?}", reader.borrow());
    writer.write_all(node("b", "192.0.2.4").as_bytes()).unwrap();
    drop(writer);
    expect(&mut reader, &["a=192.0.2.3", "b=192.0.2.4"], &[]).await;
}

#[tokio::test]
async fn only_services_and_slices_that_changed_are_new_in_the_snapshot() {
    let folder = TempDir::new().unwrap();
    let service = |name: &str, ip: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}}}\n"
        )
    };
    let file = folder.path().join("a.yaml");
    fs::write(&file, service("a", "10.96.0.1") + &service("b", "10.96.0.2")).unwrap();
    let mut reader = start(folder.path());
    let mut snapshots = async |count: usize, ip: &str| {
        let fits = |published: &Published| {
            let services = published.snapshot.as_ref().map(|snapshot| &snapshot.services);
            services.is_some_and(|services| {
                let mut all = services.iter().flat_map(|(_, service)| &service.cluster_ips);
                services.len() == count && all.any(|found| found.to_string() == ip)
            })
        };
        let found = timeout(Duration::from_secs(5), reader.wait_for(fits)).await;
        found.expect("no such snapshot").unwrap().snapshot.clone().unwrap()
    };
    let first = snapshots(2, "10.96.0.2").await;
    replace(&file, &(service("a", "10.96.0.1") + &service("b", "10.96.0.3")));
    let second = snapshots(2, "10.96.0.3").await;
    let changed: Vec<_> =
        second.services.changed_since(&first.services.revision()).unwrap().cloned().collect();
    assert_eq!(changed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["default/b"]);
    assert!(second.slices.changed_since(&first.slices.revision()).unwrap().next().is_none());
    replace(
        &file,
        &service("a", "10.96.0.1").replace("10.96.0.1", "10.96.0.1, type: ExternalName"),
    );
    let fits = |published: &Published| published.snapshot.as_ref().unwrap().services.is_empty();
    timeout(Duration::from_secs(5), reader.wait_for(fits)).await.unwrap().unwrap();
}
