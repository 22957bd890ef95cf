//! Circles: sets of files each of which uses all others, directly or by way of one another.

use std::collections::{BTreeMap, BTreeSet};

/// The circles of more than one member, each sorted.
pub(crate) fn all<T: Copy + Ord>(arrows: impl IntoIterator<Item = (T, T)>) -> Vec<Vec<T>> {
    let mut next: BTreeMap<T, BTreeSet<T>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().insert(to);
    }
    let reach: BTreeMap<T, BTreeSet<T>> =
        next.keys().map(|start| (*start, reachable(&next, *start))).collect();
    let mut circles = BTreeSet::new();
    for (start, reached) in &reach {
        let back = |other: &T| reach.get(other).is_some_and(|reached| reached.contains(start));
        let circle: Vec<T> = reached.iter().copied().filter(back).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// What can be reached from `start` by one arrow or more.
fn reachable<T: Copy + Ord>(next: &BTreeMap<T, BTreeSet<T>>, start: T) -> BTreeSet<T> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(one) = open.pop() {
        for to in next.get(&one).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(*to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_use_one_another_by_way_of_a_third_are_a_circle() {
        assert_eq!(all([(1, 2), (2, 3), (3, 1), (3, 4), (4, 5)]), [[1, 2, 3]]);
    }

    #[test]
    fn a_diamond_is_not_a_circle() {
        assert!(all([(1, 2), (1, 3), (2, 4), (3, 4), (4, 4)]).is_empty());
    }

    #[test]
    fn two_circles_are_told_apart() {
        assert_eq!(all([(1, 2), (2, 1), (2, 3), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
    }
}
