//! A page of documentation, whose tables are generated and whose prose is not.
//!
//! What is between `<!-- NAME: generated -->` and `<!-- NAME: end -->` is replaced; everything else
//! stays as it is, to the last byte.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Replaces the generated parts, all of them or none.
pub(crate) fn update(file: &Path, parts: &[(&str, String)]) -> Result<()> {
    let mut text = read(file)?;
    for (name, content) in parts {
        text = spliced(&text, name, content).with_context(|| file.display().to_string())?;
    }
    let beside = file.with_extension("md.new");
    fs::write(&beside, text).with_context(|| format!("write {}", beside.display()))?;
    fs::rename(&beside, file).with_context(|| format!("write {}", file.display()))
}

/// That the page has the places for these parts: better known before an hour of measuring.
pub(crate) fn check(file: &Path, names: &[&str]) -> Result<()> {
    let text = read(file)?;
    for name in names {
        spliced(&text, name, "").with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn spliced(text: &str, name: &str, content: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}: generated -->"), format!("<!-- {name}: end -->"));
    for marker in [&begin, &end] {
        ensure!(text.matches(marker.as_str()).count() == 1, "there is not one line {marker}");
    }
    let (before, rest) = text.split_once(&begin).context("no beginning")?;
    let (_, after) =
        rest.split_once(&end).with_context(|| format!("{end} comes before {begin}"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", content.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "Prose.\n<!-- a: generated -->\nold\n<!-- a: end -->\nMore.\n";

    #[test]
    fn prose_stays_as_it_is() {
        let wanted = "Prose.\n<!-- a: generated -->\n\n| new |\n\n<!-- a: end -->\nMore.\n";
        let once = spliced(PAGE, "a", "| new |\n").unwrap();
        assert_eq!(once, wanted);
        assert_eq!(spliced(&once, "a", "| new |").unwrap(), wanted, "a second time");
    }

    #[test]
    fn a_page_without_its_markers_or_with_two_of_them_is_left_alone() {
        for wrong in [
            "Prose.\n".to_owned(),
            format!("{PAGE}{PAGE}"),
            "<!-- a: end -->\n<!-- a: generated -->\n".to_owned(),
            PAGE.replace("<!-- a: end -->", ""),
        ] {
            assert!(spliced(&wrong, "a", "new").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_that_cannot_be_replaced_keeps_the_others_from_being_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("page.md");
        fs::write(&file, PAGE).unwrap();
        assert!(update(&file, &[("a", "new".to_owned()), ("b", "new".to_owned())]).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), PAGE);
    }
}
