//! What an attacker got.

use std::fmt;

/// What an attacker got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gain {
    /// What it wanted is as it was.
    Nothing,
    /// It got this.
    Something(String),
}

impl Gain {
    /// The gain of an attacker that wants to have its datagrams delivered.
    pub(crate) fn of_datagrams(delivered: usize, sent: usize) -> Self {
        Self::of_count(delivered, sent, "datagrams")
    }

    /// The gain of an attacker that wants each of so many things.
    pub(crate) fn of_count(got: usize, of: usize, what: &str) -> Self {
        match got {
            0 => Self::Nothing,
            _ => Self::Something(format!("{got} of {of} {what}")),
        }
    }

    /// What an attacker got that attacks twice.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Something(one), Self::Something(other)) => {
                Self::Something(format!("{one}; {other}"))
            }
            (Self::Nothing, gain) | (gain, Self::Nothing) => gain,
        }
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Something(what) => write!(f, "GOT {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attacker_gains_what_is_delivered() {
        assert_eq!(Gain::of_datagrams(0, 5), Gain::Nothing);
        assert_eq!(Gain::of_datagrams(2, 5).to_string(), "GOT 2 of 5 datagrams");
        let both = Gain::of_datagrams(2, 5).and(Gain::Something("more".to_owned()));
        assert_eq!(both.to_string(), "GOT 2 of 5 datagrams; more");
        assert_eq!(Gain::Nothing.and(Gain::of_datagrams(2, 5)), Gain::of_datagrams(2, 5));
    }
}
