//! Cutting a file into its documents.

/// One document of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text, with the separator that starts it.
    pub text: &'a str,
    /// How many lines of the file are before it.
    pub lines_before: u64,
}

/// The documents of a file. As in `kubectl`, a line that starts with `---` starts one, whatever the
/// text around it looks like: so a document that is broken does not reach into the next.
pub fn documents(text: &str) -> Vec<Document<'_>> {
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

    fn cut(text: &str) -> Vec<(&str, u64)> {
        documents(text).iter().map(|document| (document.text, document.lines_before)).collect()
    }

    #[test]
    fn documents_start_at_separators_and_know_their_line() {
        assert_eq!(
            cut("a: 1\n---\nb: 2\n--- # c\nc: 3"),
            [("a: 1\n", 0), ("---\nb: 2\n", 1), ("--- # c\nc: 3", 3),]
        );
        assert_eq!(cut("---\na: 1\n"), [("---\na: 1\n", 0)]);
        assert_eq!(cut(""), []);
    }

    #[test]
    fn what_only_looks_like_a_separator_is_none() {
        assert_eq!(cut("a: |\n  ---\n---b: 1\n").len(), 1);
        assert_eq!(cut("a: 1\r\n---\r\nb: 2\r\n").len(), 2);
    }
}
