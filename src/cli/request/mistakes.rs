//! What was not understood in lists, told all at once: whoever has mended one line should not meet
//! the next one. It knows sentences, no targets.

use portreeve::report::counted;

/// More mistakes than these are only counted.
const MOST_TOLD: usize = 20;

/// The first mistakes, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    first: Vec<String>,
    count: u64,
}

impl Mistakes {
    pub fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < MOST_TOLD {
            self.first.push(what);
        }
    }

    /// How many there are, and the first one.
    pub fn first(&self) -> Option<(u64, &str)> {
        Some((self.count, self.first.first()?))
    }

    /// All of them in a message, of which `hint` says how to go on. Alone, a mistake needs none.
    pub fn message(&self, hint: &str) -> String {
        if let [only] = &self.first[..] {
            return only.clone();
        }
        let all = counted(self.count, "mistake", "mistakes");
        let mut lines = vec![format!("{all}{hint}:")];
        lines.extend(self.first.iter().map(|what| format!("  {what}")));
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            lines.push(format!("  and {}", counted(more, "more", "more")));
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_twenty_are_told_and_the_others_counted() {
        let told = |count: usize| {
            let mut mistakes = Mistakes::default();
            (1..=count).for_each(|number| mistakes.add(format!("no. {number}")));
            mistakes.message("; mend them")
        };
        assert_eq!(told(1), "no. 1");
        assert_eq!(told(2), "2 mistakes; mend them:\n  no. 1\n  no. 2");
        assert_eq!(told(20).lines().last(), Some("  no. 20"));
        assert_eq!(told(2_021).lines().count(), 22);
        assert_eq!(told(2_021).lines().last(), Some("  and 2,001 more"));
    }
}
