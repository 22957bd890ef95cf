//! The figures as tables for people.

use comfy_table::Table;

use super::boots::BootTimes;
use super::effects::Effects;
use super::figures::Figures;
use super::usage::Usage;
use crate::churn;

/// A table for each part that was measured.
pub(super) fn all(figures: &Figures) -> String {
    let [before, after] = figures.load;
    let mut parts = vec![format!("load average of a minute: {before} before, {after} after")];
    if !figures.boots.is_empty() {
        parts.push(boots(&figures.boots));
    }
    let churned = figures.churn.as_ref();
    if !figures.idle.is_empty() || !figures.busy.is_empty() {
        parts.push(agents(&figures.idle, &figures.busy, churned.map_or(0, churn::Outcome::total)));
    }
    parts.extend(churned.map(churn::table));
    if !figures.effects.is_empty() {
        parts.push(effects(&figures.effects));
    }
    parts.join("\n\n")
}

fn boots(starts: &[BootTimes]) -> String {
    let mut table = Table::new();
    let title = format!("agent's start to, {} boots", starts.len());
    table.set_header([title.as_str(), "median", "least", "most"]);
    table.add_row(row("its conflist", starts.iter().map(|start| start.conflist)));
    table.add_row(row("a Ready node", starts.iter().map(|start| start.ready)));
    let answered = starts.iter().map(|start| start.answered);
    table.add_row(row("a pod's first answer to another node", answered));
    table.to_string()
}

/// Targets for the medians, in seconds.
const CREATED_TARGET: f64 = 0.050;
const MOVED_TARGET: f64 = 0.020;

fn effects(all: &[Effects]) -> String {
    let mut table = Table::new();
    table.set_header(["from the API write to", "Services", "median", "least", "most", "target"]);
    for Effects { services, created, moved } in all {
        for (name, times, target) in [
            ("a new Service's first connection", created, CREATED_TARGET),
            ("a connection with another endpoint", moved, MOVED_TARGET),
        ] {
            let mut times = times.clone();
            times.sort_by(f64::total_cmp);
            let show = |time: Option<&f64>| format!("{:.1} ms", time.unwrap_or(&f64::NAN) * 1e3);
            let middle = median(&times);
            let verdict = if middle <= target { "met" } else { "MISSED" };
            table.add_row([
                name.to_owned(),
                services.to_string(),
                show(Some(&middle)),
                show(times.first()),
                show(times.last()),
                format!("≤ {:.0} ms {verdict}", target * 1e3),
            ]);
        }
    }
    table.to_string()
}

fn row(name: &str, values: impl Iterator<Item = f64>) -> [String; 4] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let show = |value: Option<&f64>| format!("{:.2} s", value.unwrap_or(&f64::NAN));
    let middle = median(&values);
    [name.to_owned(), show(Some(&middle)), show(values.first()), show(values.last())]
}

fn agents(idle: &[Usage], busy: &[Usage], pods: u32) -> String {
    let mut table = Table::new();
    let header = ["agent of", "while", "memory", "peak memory", "processor", "CPU time per pod"];
    table.set_header(header);
    let idle = idle.iter().map(|usage| ("idle", usage));
    for (what, usage) in idle.chain(busy.iter().map(|usage| ("churn", usage))) {
        let per_pod = usage.cpu * 1000.0 / f64::from(pods);
        table.add_row([
            usage.node.clone(),
            format!("{what}, {:.0} s", usage.seconds),
            mebibytes(usage.memory),
            mebibytes(usage.peak_memory),
            format!("{:.2} %", usage.cpu * 100.0 / usage.seconds),
            // The pods are those of all nodes.
            if what == "churn" { format!("{per_pod:.2} ms") } else { String::new() },
        ]);
    }
    table.to_string()
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// The median of sorted values: of an even number of them the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.get(half), sorted.len() % 2) {
        (Some(upper), 0) => f64::midpoint(sorted[half - 1], *upper),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert!((median(&[1.0, 2.0, 9.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 4.0, 9.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn boots_are_shown_by_their_median_and_extremes() {
        let start = |ready| BootTimes { conflist: 0.1, ready, answered: 7.0 };
        let table = boots(&[start(3.0), start(1.0), start(2.0)]);
        let line = table.lines().find(|line| line.contains("Ready")).unwrap();
        let cells: Vec<_> = line.split_whitespace().filter(|word| word.contains('.')).collect();
        assert_eq!(cells, ["2.00", "1.00", "3.00"]);
    }

    #[test]
    fn the_target_of_an_effect_is_for_its_median() {
        let seen = Effects { services: 5, created: vec![0.9, 0.04, 0.03], moved: vec![0.03] };
        let table = effects(&[seen]);
        for cell in ["40.0 ms", "900.0 ms", "≤ 50 ms met", "≤ 20 ms MISSED"] {
            assert!(table.contains(cell), "{table}");
        }
    }

    #[test]
    fn parts_that_were_not_measured_are_left_out() {
        let text = all(&Figures { load: [0.5, 1.0], ..Figures::default() });
        assert_eq!(text, "load average of a minute: 0.5 before, 1 after");
    }

    #[test]
    fn processor_time_is_shown_as_a_share_of_the_time_and_per_pod() {
        let usage = Usage {
            node: "node1".to_owned(),
            memory: 8 << 20,
            peak_memory: 9 << 20,
            cpu: 0.3,
            seconds: 30.0,
        };
        let table = agents(&[], &[usage], 150);
        for cell in ["8.0 MiB", "9.0 MiB", "1.00 %", "2.00 ms"] {
            assert!(table.contains(cell), "{table}");
        }
    }
}
