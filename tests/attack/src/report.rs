//! The table of what each attacker got.

use comfy_table::{ContentArrangement, Table, presets};

use crate::attack::Attack;
use crate::gain::Gain;
use crate::setting::Setting;

/// The gains so far: for each setting, those of the attackers in their order.
pub(crate) struct Report {
    attacks: Vec<&'static Attack>,
    lines: Vec<(Setting, Vec<Gain>)>,
}

impl Report {
    pub(crate) fn new(attacks: &[&'static Attack]) -> Self {
        Self { attacks: attacks.to_vec(), lines: Vec::new() }
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

    /// The attackers that only the check stops, and that got nothing in some setting.
    pub(crate) fn failed_unchecked(&self) -> Vec<&'static str> {
        let got_nothing = |number: usize| {
            self.lines.iter().any(|(_, gains)| gains.get(number) == Some(&Gain::Nothing))
        };
        let attacks = self.attacks.iter().enumerate();
        let failed = attacks.filter(|(number, attack)| attack.needs_check && got_nothing(*number));
        failed.map(|(_, attack)| attack.name).collect()
    }

    /// The text: a line for each attacker, or one for each setting if it got something.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["ATTACKER", "CLUSTER", "GOT"]);
        for (number, attack) in self.attacks.iter().enumerate() {
            let lines = self.lines.iter();
            let gains = lines.filter_map(|(setting, gains)| Some((setting, gains.get(number)?)));
            if gains.clone().all(|(_, gain)| *gain == Gain::Nothing) {
                let all = format!("all {}", gains.count());
                table.add_row([attack.name.to_owned(), all, Gain::Nothing.to_string()]);
                continue;
            }
            for (setting, gain) in gains {
                table.add_row([attack.name.to_owned(), setting.to_string(), gain.to_string()]);
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
        assert!(!report.failed_unchecked().is_empty());
        assert_eq!(report.table().lines().count(), 1 + ATTACKS.len());
        let mut report = Report::new(&ATTACKS[..1]);
        report.add(Setting::all()[0], Gain::Nothing);
        report.add(Setting::all()[1], Gain::of_datagrams(1, 1));
        assert!(!report.is_clean());
        assert_eq!(report.table().lines().count(), 1 + 2);
    }
}
