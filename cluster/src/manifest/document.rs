//! Splitting a file into its documents.

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The text, with the separator that begins it.
    pub(super) text: &'a str,
    /// The number of lines of the file before it.
    pub(super) lines_before: u64,
}

/// Splits a file into its documents. As in `kubectl`, a line that begins with `---` begins a document
/// whatever comes before it, so a broken document does not affect the next one.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    let (mut position, mut line) = (0, 0);
    for piece in text.split_inclusive('\n') {
        if is_separator(piece) && position > start {
            documents.push(Document { text: &text[start..position], lines_before });
            (start, lines_before) = (position, line);
        }
        position += piece.len();
        line += 1;
    }
    if position > start {
        documents.push(Document { text: &text[start..], lines_before });
    }
    documents
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.chars().all(char::is_whitespace) || rest.starts_with([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(&str, u64)> {
        documents(text).iter().map(|document| (document.text, document.lines_before)).collect()
    }

    #[test]
    fn documents_begin_at_separators_and_have_a_line() {
        assert_eq!(
            split("a: 1\n---\nb: 2\n--- # c\nc: 3"),
            [("a: 1\n", 0), ("---\nb: 2\n", 1), ("--- # c\nc: 3", 3),]
        );
        assert_eq!(split("---\na: 1\n"), [("---\na: 1\n", 0)]);
        assert_eq!(split(""), []);
    }

    #[test]
    fn similar_lines_are_not_separators() {
        assert_eq!(split("a: |\n  ---\n---b: 1\n").len(), 1);
        assert_eq!(split("a: 1\r\n---\r\nb: 2\r\n").len(), 2);
    }
}
