//! Which Service gets a frontend that several Services want.

use std::collections::BTreeSet;

use super::problem::Problem;
use super::state::Allocator;
use crate::compile::{Compiled, Precedence};
use crate::tables::FrontendKey;
use weir_model::ObjectName;

impl Allocator {
    /// Makes a Service the owner of its frontends, except those that an older Service owns. Returns
    /// the Services that lose a frontend.
    pub(super) fn claim_frontends(&mut self, name: &ObjectName) -> BTreeSet<ObjectName> {
        let mut losers = BTreeSet::new();
        let Some(compiled) = self.wanted.get(name) else { return losers };
        for key in compiled.keys() {
            match self.owners.get(&key) {
                Some(owner) if owner.name() != name && *owner < compiled.precedence => {}
                owner => {
                    let loser = owner.map(Precedence::name).filter(|loser| *loser != name);
                    losers.extend(loser.cloned());
                    self.owners.insert(key, compiled.precedence.clone());
                }
            }
        }
        losers
    }

    /// The first frontend of a Service that another Service owns, as a problem.
    pub(super) fn lost_frontend(&self, compiled: &Compiled) -> Option<Problem> {
        let name = compiled.precedence.name();
        compiled.keys().find_map(|key| {
            let owner = self.owners.get(&key).map(Precedence::name);
            let owner = owner.filter(|owner| *owner != name)?;
            Some(Problem::Taken { key, owner: owner.clone() })
        })
    }

    pub(super) fn owns(&self, name: &ObjectName, key: &FrontendKey) -> bool {
        self.owners.get(key).is_some_and(|owner| owner.name() == name)
    }
}
