use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::tables::{Frontend, FrontendPolicy, Range, Scope};
use weir_model::Protocol;

/// The maps as the kernel has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    pub(crate) frontends: BTreeMap<FrontendKey, FrontendValue>,
    pub(crate) slots: Vec<BackendId>,
    pub(crate) backends: BTreeMap<BackendId, Backend>,
}

impl Maps {
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::PutBackend(id, backend) => {
                self.backends.insert(*id, *backend);
            }
            Op::WriteSlots(offset, ids) => {
                let (start, end) = (*offset as usize, *offset as usize + ids.len());
                if self.slots.len() < end {
                    self.slots.resize(end, 0);
                }
                self.slots[start..end].copy_from_slice(ids);
            }
            Op::PutFrontend(key, value) => {
                self.frontends.insert(*key, *value);
            }
            Op::DeleteFrontend(key) => {
                self.frontends.remove(key);
            }
            Op::DeleteBackend(id) => {
                self.backends.remove(id);
            }
        }
    }

    pub(crate) fn apply_all(&mut self, ops: &[Op]) {
        ops.iter().for_each(|op| self.apply(op));
    }

    /// The contents as the agent reads them.
    pub(crate) fn read(&self) -> Tables {
        let frontends = self.frontends.iter().map(|(key, value)| {
            let range = value.range.offset as usize..value.range.end() as usize;
            let slots = self.slots.get(range).unwrap_or_default().into();
            (*key, Frontend { value: *value, slots })
        });
        Tables { frontends: frontends.collect(), backends: self.backends.clone() }
    }

    /// The backends that a packet may get which has found this value. None if a backend is missing.
    pub(crate) fn backends_of(&self, value: &FrontendValue) -> Option<Vec<(IpAddr, u16)>> {
        let slots = self.slots.get(value.range.offset as usize..value.range.end() as usize);
        let slots = if value.range.count == 0 { Some(&[][..]) } else { slots };
        let backends = slots?.iter().map(|id| self.backends.get(id));
        backends.map(|backend| backend.map(|backend| (backend.ip, backend.port))).collect()
    }
}

/// Sets of backends (as numbers) by frontend, in ranges that begin at `base`.
fn tables(sets: &BTreeMap<u8, Vec<u8>>, base: u32) -> Tables {
    let mut tables = Tables::default();
    let mut offset = base;
    for (number, set) in sets {
        let ids: Arc<[u32]> =
            set.iter().map(|last| u32::from(*number) * 100 + u32::from(*last)).collect();
        for (last, id) in set.iter().zip(ids.iter()) {
            let ip = IpAddr::from([10, 244, *number, *last]);
            let (in_cluster_set, in_local_set) = (true, base.is_multiple_of(2));
            let backend = Backend { ip, port: 80, serving: true, in_cluster_set, in_local_set };
            tables.backends.insert(*id, backend);
        }
        let key = FrontendKey {
            ip: IpAddr::from([10, 96, 0, *number]),
            port: Some((80, Protocol::Tcp)),
            scope: Scope::Internal,
        };
        let count = u32::try_from(ids.len()).unwrap();
        let range = if count == 0 { Range::default() } else { Range { offset, count } };
        offset += count;
        let value = FrontendValue {
            service: u32::from(*number) + 1,
            range,
            policy: FrontendPolicy { affinity: base % 3, ..FrontendPolicy::default() },
        };
        tables.frontends.insert(key, Frontend { value, slots: ids });
    }
    tables
}

fn sets() -> impl Strategy<Value = BTreeMap<u8, Vec<u8>>> {
    let set = proptest::collection::btree_set(0u8..6, 0..5)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>());
    proptest::collection::btree_map(0u8..5, set, 0..5)
}

fn maps(tables: &Tables) -> Maps {
    let mut maps = Maps::default();
    maps.apply_all(&diff(tables, &Tables::default()));
    maps
}

#[test]
fn a_new_set_is_written_before_its_frontend_and_the_old_set_is_deleted_last() {
    let old = tables(&[(1, vec![1, 2])].into(), 0);
    let new = tables(&[(1, vec![2, 3])].into(), 50);
    let kinds: Vec<_> = diff(&new, &old).iter().map(Op::kind).collect();
    assert_eq!(kinds, ["backend_put", "slots_write", "frontend_put", "backend_delete"]);
}

#[test]
fn entries_that_are_as_desired_are_not_written() {
    let old = tables(&[(1, vec![1, 2]), (2, vec![1])].into(), 0);
    assert_eq!(diff(&old, &old), []);
    let mut new = old.clone();
    let removed = *new.frontends.keys().next_back().unwrap();
    new.frontends.remove(&removed);
    new.backends.remove(&201);
    assert_eq!(diff(&new, &old), [Op::DeleteFrontend(removed), Op::DeleteBackend(201)]);
}

#[test]
fn damaged_slots_are_written_again() {
    let desired = tables(&[(1, vec![1, 2])].into(), 0);
    let mut maps = maps(&desired);
    maps.slots[1] = 7;
    let ops = diff(&desired, &maps.read());
    assert_eq!(ops, [Op::WriteSlots(0, Arc::new([101, 102]))]);
}

proptest! {
    #[test]
    fn applying_a_diff_gives_the_desired_contents_and_a_second_diff_is_empty(
        (old, new) in (sets(), sets()), base in 0u32..40, damage in proptest::option::of(0usize..30),
    ) {
        let (old, new) = (tables(&old, 0), tables(&new, base));
        let mut maps = maps(&old);
        if let Some(slot) = damage.and_then(|at| maps.slots.get_mut(at)) {
            *slot = 12_345;
        }
        let observed = maps.read();
        maps.apply_all(&diff(&new, &observed));
        prop_assert_eq!(maps.read(), new.clone());
        prop_assert_eq!(diff(&new, &maps.read()), []);
    }

    #[test]
    fn at_any_time_a_packet_sees_the_old_set_or_the_new_set((old, new) in (sets(), sets())) {
        let (old, new) = (tables(&old, 0), tables(&new, 100));
        let mut now = maps(&old);
        let (before, mut after) = (now.clone(), now.clone());
        let ops = diff(&new, &old);
        after.apply_all(&ops);
        let seen = |maps: &Maps, key: &FrontendKey| {
            maps.frontends.get(key).map(|value| maps.backends_of(value))
        };
        for op in &ops {
            now.apply(op);
            for key in before.frontends.keys().chain(after.frontends.keys()) {
                let found = seen(&now, key);
                prop_assert!(found != Some(None), "a backend of {} is missing", key);
                prop_assert!(found == seen(&before, key) || found == seen(&after, key));
            }
        }
    }
}
