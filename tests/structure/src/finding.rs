//! What a check found to be wrong.

/// One finding: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) what: String,
    /// The places, one a line.
    pub(crate) places: Vec<String>,
    pub(crate) mend: String,
}

impl Finding {
    /// For standard error.
    pub(crate) fn text(&self) -> String {
        let mut text = self.what.clone();
        for place in &self.places {
            text += &format!("\n    {place}");
        }
        text + &format!("\n  To mend it: {}", self.mend)
    }
}
