//! That following changes leads to what reading everything anew does.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

#[test]
fn unfinished_copies_of_editors_are_not_manifests() {
    for name in ["a.yaml", "a.yml", "a.b.json"] {
        assert!(is_manifest(OsStr::new(name)), "{name}");
    }
    for name in [".a.yaml.swp", ".#a.yaml", "#a.yaml#", "a.yaml~", "4913", "..data", "yaml"] {
        assert!(!is_manifest(OsStr::new(name)), "{name}");
    }
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

fn anywhere() -> impl Strategy<Value = Vec<(u8, Option<Content>)>> {
    let content = prop::collection::vec((0_u8..4, 0_u8..3, 1_u8..4), 0..4);
    prop::collection::vec((0_u8..4, prop::option::weighted(0.8, content)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_catalog_that_is_told_what_changed_is_one_that_has_read_everything(steps in anywhere()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = TempDir::new().unwrap();
        let mut told = Catalog::new(folder.path().to_owned());
        for (file, content) in steps {
            let name = format!("{file}.yaml");
            let path = folder.path().join(&name);
            match content {
                Some(content) => fs::write(&path, text(&content)).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
            let mut anew = Catalog::new(folder.path().to_owned());
            runtime.block_on(async {
                told.read(&Changes::of([name.into()])).await.unwrap();
                anew.read(&Changes::default()).await.unwrap();
            });
            let ((snapshot, problems), (expected, due)) = (told.snapshot(), anew.snapshot());
            prop_assert_eq!(&snapshot, &expected);
            prop_assert_eq!(&problems, &due);
            // And then there is nothing more to find.
            runtime.block_on(told.read(&Changes::default())).unwrap();
            prop_assert_eq!(told.snapshot(), (snapshot, problems));
        }
    }
}

#[tokio::test]
async fn a_file_that_is_gone_with_the_directory_is_out_of_sight_and_still_counts() {
    let folder = TempDir::new().unwrap();
    let directory = folder.path().join("manifests");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("a.yaml"), text(&vec![(0, 1, 1)])).unwrap();
    let mut catalog = Catalog::new(directory.clone());
    catalog.read(&Changes::default()).await.unwrap();
    fs::rename(&directory, folder.path().join("away")).unwrap();
    assert!(catalog.read(&Changes::of(["a.yaml".into()])).await.is_err());
    assert_eq!(catalog.snapshot().0.nodes.len(), 1);
}
