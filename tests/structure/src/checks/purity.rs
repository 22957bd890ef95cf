//! Pure crates are built of nothing that talks to the kernel or to a cluster.

use crate::finding::Finding;

/// What of `built_of` a pure crate must not be built of.
pub(crate) fn check(package: &str, built_of: &[String], impure: &[&str]) -> Option<Finding> {
    let is_impure = |name: &&String| {
        impure.iter().any(|wrong| {
            name.strip_prefix(wrong).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    };
    let wrong: Vec<_> = built_of.iter().filter(is_impure).collect();
    let first = wrong.first()?;
    Some(Finding {
        mend: format!(
            "`cargo tree --package {package} --edges normal,build --invert {first}` shows how it \
             gets there; what needs it belongs to another crate"
        ),
        what: format!("{package} must build without {}", impure.join(", ")),
        places: wrong.into_iter().map(|name| format!("it is built of {name}")).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(built_of: &[&str]) -> Vec<String> {
        let built_of: Vec<_> = built_of.iter().map(|&name| name.to_owned()).collect();
        let finding = check("weir-services", &built_of, &["aya", "kube"]);
        finding.map(|finding| finding.places).unwrap_or_default()
    }

    #[test]
    fn a_crate_of_plain_data_is_pure() {
        assert!(wrong(&["weir-services", "serde", "ayatana", "kubelet"]).is_empty());
    }

    #[test]
    fn a_part_of_an_impure_crate_is_impure_too() {
        let expected = ["it is built of aya", "it is built of kube-core"];
        assert_eq!(wrong(&["serde", "aya", "kube-core"]), expected);
    }
}
