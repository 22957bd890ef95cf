//! A tree for a terminal.

/// A line with its branches.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    label: String,
    children: Vec<Tree>,
}

impl Tree {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), children: Vec::new() }
    }

    /// With one more branch.
    pub(crate) fn with(mut self, child: impl Into<Self>) -> Self {
        self.children.push(child.into());
        self
    }

    /// With more branches.
    pub(crate) fn with_all(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The lines to print.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.label.clone()];
        let last = self.children.len().saturating_sub(1);
        for (index, child) in self.children.iter().enumerate() {
            let (first, further) =
                if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            for (row, line) in child.lines().into_iter().enumerate() {
                lines.push(format!("{}{line}", if row == 0 { first } else { further }));
            }
        }
        lines
    }
}

impl From<String> for Tree {
    fn from(label: String) -> Self {
        Self::new(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_drawn_down_to_the_last_one() {
        let tree = Tree::new("a")
            .with(Tree::new("b").with_all([Tree::new("c")]))
            .with(Tree::new("d").with(Tree::new("e")));
        assert_eq!(tree.lines(), ["a", "├─ b", "│  └─ c", "└─ d", "   └─ e"]);
    }
}
