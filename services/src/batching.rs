//! Merges the operations of many Services into long runs of one kind, for batched system calls.
//!
//! One Service does not depend on entries of another. So the backends of all Services may be
//! written first, then all slots, then all frontends. If a Service also removes entries, everything
//! before it is done first and its own operations keep their order: a later Service may use what it
//! gives up.

use super::diff::Op;

/// Merges the operations of several Services. The operations of each Service must be in a safe
/// order, see [`diff`](crate::diff). The result is in a safe order too.
pub fn merge(services: impl IntoIterator<Item = Vec<Op>>) -> Vec<Op> {
    let mut merged = Vec::new();
    let mut phases: [Vec<Op>; 3] = Default::default();
    for ops in services {
        if only_adds(&ops) {
            for op in ops {
                if let Some(phase) = phase(&op).and_then(|phase| phases.get_mut(phase)) {
                    phase.push(op);
                }
            }
        } else {
            phases.iter_mut().for_each(|phase| merged.append(phase));
            merged.extend(ops);
        }
    }
    phases.iter_mut().for_each(|phase| merged.append(phase));
    merged
}

const fn phase(op: &Op) -> Option<usize> {
    match op {
        Op::PutBackend(..) => Some(0),
        Op::WriteSlots(..) => Some(1),
        Op::PutFrontend(..) => Some(2),
        Op::DeleteFrontend(_) | Op::DeleteBackend(_) => None,
    }
}

/// Whether the operations only write backends, slots and frontends, in this order.
fn only_adds(ops: &[Op]) -> bool {
    ops.iter().all(|op| phase(op).is_some()) && ops.is_sorted_by_key(phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Backend, FrontendKey, FrontendValue, Scope};

    fn backend(id: u32) -> Op {
        let ip = [10, 0, 0, 1].into();
        let (serving, in_cluster_set, in_local_set) = (true, true, false);
        Op::PutBackend(id, Backend { ip, port: 1, serving, in_cluster_set, in_local_set })
    }

    fn key(last: u8) -> FrontendKey {
        FrontendKey { ip: [10, 96, 0, last].into(), port: None, scope: Scope::Internal }
    }

    fn frontend(last: u8) -> Op {
        let value = FrontendValue { service: 1, ..FrontendValue::default() };
        Op::PutFrontend(key(last), value)
    }

    fn slots(offset: u32) -> Op {
        Op::WriteSlots(offset, [offset].into())
    }

    #[test]
    fn services_that_only_add_entries_are_written_in_three_runs() {
        let of = |number: u8| vec![backend(number.into()), slots(number.into()), frontend(number)];
        let merged = merge([of(1), of(2)]);
        let wanted = [backend(1), backend(2), slots(1), slots(2), frontend(1), frontend(2)];
        assert_eq!(merged, wanted);
    }

    #[test]
    fn operations_of_a_service_that_removes_entries_keep_their_order() {
        let removes = vec![frontend(7), Op::DeleteFrontend(key(1)), backend(1)];
        let merged = merge([vec![backend(5), frontend(5)], removes.clone(), vec![frontend(1)]]);
        let wanted = [vec![backend(5), frontend(5)], removes, vec![frontend(1)]].concat();
        assert_eq!(merged, wanted);
        // The same holds if a backend is changed last: it stops serving when no frontend leads to
        // it.
        let moves = vec![slots(1), frontend(1), backend(1)];
        assert_eq!(merge([moves.clone(), vec![backend(2)]]), [moves, vec![backend(2)]].concat());
    }
}
