//! A page of documentation whose tables are generated.
//!
//! The text between `<!-- NAME: generated -->` and `<!-- NAME: end -->` is replaced. All other
//! bytes of the page are kept.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Replaces the generated parts, all of them or none.
pub(crate) fn update(file: &Path, parts: &[(&str, String)]) -> Result<()> {
    let mut text = read(file)?;
    for (name, content) in parts {
        text = splice(&text, name, content).with_context(|| file.display().to_string())?;
    }
    let new = file.with_extension("md.new");
    fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("write {}", file.display()))
}

/// Checks that the page has the markers of these parts. Called before the benchmarks, which take
/// long.
pub(crate) fn check(file: &Path, names: &[&str]) -> Result<()> {
    let text = read(file)?;
    for name in names {
        splice(&text, name, "").with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn splice(text: &str, name: &str, content: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}: generated -->"), format!("<!-- {name}: end -->"));
    for marker in [&begin, &end] {
        ensure!(
            text.matches(marker.as_str()).count() == 1,
            "there must be exactly one line {marker}"
        );
    }
    let (before, rest) = text.split_once(&begin).context("the first marker is missing")?;
    let (_, after) =
        rest.split_once(&end).with_context(|| format!("{end} comes before {begin}"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", content.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Prose.\n<!-- a: generated -->\nold\n<!-- a: end -->\nMore.\n";

    #[test]
    fn prose_is_kept() {
        let wanted = "Prose.\n<!-- a: generated -->\n\n| new |\n\n<!-- a: end -->\nMore.\n";
        let once = splice(PAGE, "a", "| new |\n").unwrap();
        assert_eq!(once, wanted);
        assert_eq!(splice(&once, "a", "| new |").unwrap(), wanted, "a second time");
    }

    #[test]
    fn a_page_with_missing_or_repeated_markers_is_an_error() {
        for malformed in [
            "Prose.\n".to_owned(),
            format!("{PAGE}{PAGE}"),
            "<!-- a: end -->\n<!-- a: generated -->\n".to_owned(),
            PAGE.replace("<!-- a: end -->", ""),
        ] {
            assert!(splice(&malformed, "a", "new").is_err(), "{malformed}");
        }
    }

    #[test]
    fn no_part_is_replaced_when_one_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.md");
        fs::write(&file, PAGE).unwrap();
        assert!(update(&file, &[("a", "new".to_owned()), ("b", "new".to_owned())]).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), PAGE);
    }
}
