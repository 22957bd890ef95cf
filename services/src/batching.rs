//! Operations of many Services in long runs of one kind, which the kernel is told at once. Pure.
//!
//! What a Service needs is made before what leads to it, and of two Services neither needs what the
//! other makes. So all may make their backends first, then fill their slots, then lead there. Where a
//! Service takes something away, all that was before it is done first: somebody may be waiting for
//! what it gives up.

use super::diff::Op;

/// Puts the operations of these Services in an order that packets may watch, as theirs are. Each has
/// its own in such an order.
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

/// Whether a Service makes backends, fills slots and leads there, once each and in this order.
fn only_adds(ops: &[Op]) -> bool {
    ops.iter().all(|op| phase(op).is_some()) && ops.is_sorted_by_key(phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Backend, FrontendKey, FrontendValue, Range, Scope};

    fn backend(id: u32) -> Op {
        let ip = [10, 0, 0, 1].into();
        let (serving, in_cluster_set, in_local_set) = (true, true, false);
        Op::PutBackend(id, Backend { ip, port: 1, serving, in_cluster_set, in_local_set })
    }

    fn key(last: u8) -> FrontendKey {
        FrontendKey { ip: [10, 96, 0, last].into(), port: None, scope: Scope::Internal }
    }

    fn frontend(last: u8) -> Op {
        let value = FrontendValue {
            service: 1,
            range: Range::default(),
            affinity: 0,
            drop_if_empty: false,
            local_set: false,
            masquerade: false,
        };
        Op::PutFrontend(key(last), value)
    }

    fn slots(offset: u32) -> Op {
        Op::WriteSlots(offset, [offset].into())
    }

    #[test]
    fn services_that_only_add_are_written_in_three_runs() {
        let of = |number: u8| vec![backend(number.into()), slots(number.into()), frontend(number)];
        let merged = merge([of(1), of(2)]);
        let wanted = [backend(1), backend(2), slots(1), slots(2), frontend(1), frontend(2)];
        assert_eq!(merged, wanted);
    }

    #[test]
    fn what_a_service_takes_away_stays_in_its_place() {
        let gives_up = vec![frontend(7), Op::DeleteFrontend(key(1)), backend(1)];
        let merged = merge([vec![backend(5), frontend(5)], gives_up.clone(), vec![frontend(1)]]);
        let wanted = [vec![backend(5), frontend(5)], gives_up, vec![frontend(1)]].concat();
        assert_eq!(merged, wanted);
        // And so does what is changed after something else: a backend that stops serving is that only
        // when nobody is led to it any more.
        let moves = vec![slots(1), frontend(1), backend(1)];
        assert_eq!(merge([moves.clone(), vec![backend(2)]]), [moves, vec![backend(2)]].concat());
    }
}
