//! The table of what each attacker got.

use comfy_table::{ContentArrangement, Table, presets};

use crate::attack::Attack;
use crate::gain::Gain;
use crate::setting::Setting;

/// The gains so far: for each setting, those of the attackers in their order.
pub(crate) struct Report {
    attackers: Vec<&'static str>,
    lines: Vec<(Setting, Vec<Gain>)>,
}

impl Report {
    pub(crate) fn new(attacks: &[&Attack]) -> Self {
        Self { attackers: attacks.iter().map(|attack| attack.name).collect(), lines: Vec::new() }
    }

    /// Adds what the next attacker got.
    pub(crate) fn add(&mut self, setting: Setting, gain: Gain) {
        match self.lines.last_mut() {
            Some((last, gains)) if *last == setting => gains.push(gain),
            _ => self.lines.push((setting, vec![gain])),
        }
    }

    /// Whether no attacker got anything.
    pub(crate) fn is_clean(&self) -> bool {
        self.lines.iter().flat_map(|(_, gains)| gains).all(|gain| *gain == Gain::Nothing)
    }

    /// The text: a line for each attacker and setting.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["ATTACKER", "CLUSTER", "GOT"]);
        for (number, attacker) in self.attackers.iter().enumerate() {
            for (setting, gains) in &self.lines {
                let gain = gains.get(number).map(ToString::to_string).unwrap_or_default();
                table.add_row([(*attacker).to_owned(), setting.to_string(), gain]);
            }
        }
        table.lines().map(|line| line.trim().to_owned() + "\n").collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::ATTACKS;

    #[test]
    fn one_gain_makes_the_report_unclean() {
        let mut report = Report::new(ATTACKS);
        for setting in Setting::all() {
            for _ in ATTACKS {
                report.add(setting, Gain::Nothing);
            }
        }
        assert!(report.is_clean());
        assert_eq!(report.table().lines().count(), 1 + 8 * ATTACKS.len());
        report.add(Setting::all()[0], Gain::of_datagrams(1, 1));
        assert!(!report.is_clean());
    }
}
