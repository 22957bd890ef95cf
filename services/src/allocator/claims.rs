//! Who has a frontend that several Services want.

use std::collections::BTreeSet;

use super::super::compile::{Compiled, Rank};
use super::super::tables::FrontendKey;
use super::{Ledger, Problem};
use weir_model::ObjectName;

impl Ledger {
    /// Makes the Service the owner of its frontends, but for those of older ones. Tells who loses
    /// some.
    pub(super) fn claim(&mut self, name: &ObjectName) -> BTreeSet<ObjectName> {
        let mut losers = BTreeSet::new();
        let Some(compiled) = self.wanted.get(name) else { return losers };
        for key in compiled.keys() {
            match self.owners.get(&key) {
                Some(owner) if owner.name() != name && *owner < compiled.rank => {}
                owner => {
                    let loser = owner.map(Rank::name).filter(|loser| *loser != name);
                    losers.extend(loser.cloned());
                    self.owners.insert(key, compiled.rank.clone());
                }
            }
        }
        losers
    }

    /// The first frontend of a Service that another one has.
    pub(super) fn lost(&self, compiled: &Compiled) -> Option<Problem> {
        let name = compiled.rank.name();
        compiled.keys().find_map(|key| {
            let owner = self.owners.get(&key).map(Rank::name).filter(|owner| *owner != name)?;
            Some(Problem::Taken { key, owner: owner.clone() })
        })
    }

    pub(super) fn owns(&self, name: &ObjectName, key: &FrontendKey) -> bool {
        self.owners.get(key).is_some_and(|owner| owner.name() == name)
    }
}
