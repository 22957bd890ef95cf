//! Reading changed files gives the same state as reading all files.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn new_catalog(folder: &std::path::Path) -> (Catalog, StateAssembler) {
    let mut assembler = StateAssembler::new(Kind::ALL.iter().copied());
    assembler.mark_all_synced();
    (Catalog::new(folder.to_owned()), assembler)
}

/// Objects of a file: what kind, which name, which value.
type Content = Vec<(u8, u8, u8)>;

fn text(content: &Content) -> String {
    let documents = content.iter().map(|(kind, name, value)| match kind {
        0 => format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: n{name}, uid: u{value}}}\n\
             status: {{addresses: [{{type: InternalIP, address: 192.0.2.{value}}}]}}\n"
        ),
        1 => format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{name}}}\n\
             spec: {{clusterIP: 10.96.0.{value}}}\n"
        ),
        2 => format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{name}}}\n"),
        _ => format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{name: e{name}, labels: {{kubernetes.io/service-name: s{value}}}}}\n"
        ),
    });
    documents.collect()
}

fn steps() -> impl Strategy<Value = Vec<(u8, Option<Content>)>> {
    let content = prop::collection::vec((0_u8..4, 0_u8..3, 1_u8..4), 0..4);
    prop::collection::vec((0_u8..4, prop::option::weighted(0.8, content)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn reading_changed_files_gives_the_same_state_as_reading_all_files(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = TempDir::new().unwrap();
        let (mut catalog, mut assembler) = new_catalog(folder.path());
        for (file, content) in steps {
            let name = format!("{file}.yaml");
            let path = folder.path().join(&name);
            match content {
                Some(content) => fs::write(&path, text(&content)).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
            let (mut fresh, mut expected) = new_catalog(folder.path());
            runtime.block_on(async {
                catalog.read(&Changes::of([name.into()]), &mut assembler).await.unwrap();
                fresh.read(&Changes::default(), &mut expected).await.unwrap();
            });
            let (snapshot, problems) = (assembler.snapshot(), catalog.problems());
            prop_assert_eq!(&snapshot, &expected.snapshot());
            prop_assert_eq!(&problems, &fresh.problems());
            runtime.block_on(catalog.read(&Changes::default(), &mut assembler)).unwrap();
            prop_assert_eq!(assembler.snapshot(), snapshot, "nothing more has changed");
            prop_assert_eq!(catalog.problems(), problems);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_gone_with_the_directory_keeps_its_objects() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("manifests");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), text(&vec![(0, 1, 1)])).unwrap();
    let (mut catalog, mut assembler) = new_catalog(&directory);
    catalog.read(&Changes::default(), &mut assembler).await.unwrap();
    fs::rename(&directory, folder.path().join("away")).unwrap();
    assert!(catalog.read(&Changes::of(["a.yaml".into()]), &mut assembler).await.is_err());
    assert_eq!(assembler.snapshot().unwrap().nodes.len(), 1);
}

#[tokio::test]
async fn a_uid_of_two_nodes_belongs_to_the_first_and_may_pass_from_one_to_the_other() {
    let folder = TempDir::new().unwrap();
    let (mut catalog, mut assembler) = new_catalog(folder.path());
    let mut names = async |steps: &[(&str, Option<Content>)]| {
        for (file, content) in steps {
            let path = folder.path().join(file);
            match content {
                Some(content) => fs::write(path, text(content)).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        catalog.read(&Changes::default(), &mut assembler).await.unwrap();
        let snapshot = assembler.snapshot().unwrap();
        let nodes = snapshot.nodes.iter().map(|(uid, node)| format!("{}={}", uid.0, node.name));
        (nodes.collect::<Vec<_>>(), catalog.problems())
    };
    let (nodes, problems) =
        names(&[("a.yaml", Some(vec![(0, 1, 1)])), ("b.yaml", Some(vec![(0, 2, 1)]))]).await;
    assert_eq!(nodes, ["u1=n1"]);
    assert!(problems[0].contains("b.yaml:2: node n2 has the uid of node n1"), "{problems:?}");
    assert_eq!(names(&[("a.yaml", None)]).await.0, ["u1=n2"]);
    let exchanged = names(&[("b.yaml", Some(vec![(0, 1, 1), (0, 2, 2)]))]).await;
    assert_eq!(exchanged, (vec!["u1=n1".to_owned(), "u2=n2".to_owned()], vec![]));
    let exchanged = names(&[("b.yaml", Some(vec![(0, 1, 2), (0, 2, 1)]))]).await;
    assert_eq!(exchanged, (vec!["u1=n2".to_owned(), "u2=n1".to_owned()], vec![]));
}
