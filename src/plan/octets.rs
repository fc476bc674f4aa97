//! nmap's octet ranges: which values each of an address's four parts takes. It knows numbers, no
//! targets.

use std::fmt;

use super::TargetError;

/// The most separate ranges that one octet pattern may fall into: 8 MiB of memory.
pub const MAX_PIECES: usize = 1 << 20;

/// Which values one octet takes: a bit for each of 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OctetSet([u64; 4]);

impl OctetSet {
    pub(super) fn parse(text: &str, octet: &str) -> Result<Self, TargetError> {
        let mut set = OctetSet::default();
        let not_v4 = || TargetError::NotV4(text.into());
        let number = |digits: &str, if_empty: u8| match digits {
            "" => Ok(if_empty),
            // Some programs read it as octal, others as decimal.
            _ if digits.len() > 1 && digits.starts_with('0') => Err(not_v4()),
            _ => digits.parse::<u8>().map_err(|_| not_v4()),
        };
        for part in octet.split(',') {
            let (first, last) = match part.split_once('-') {
                None if part == "*" => (0, 255),
                None if part.is_empty() => return Err(not_v4()),
                None => (number(part, 0)?, number(part, 0)?),
                Some((first, last)) => (number(first, 0)?, number(last, 255)?),
            };
            if first > last {
                return Err(TargetError::Backwards {
                    text: text.into(),
                    part: part.into(),
                    turned: format!("{last}-{first}"),
                });
            }
            (first..=last).for_each(|value| set.0[usize::from(value >> 6)] |= 1 << (value & 63));
        }
        Ok(set)
    }

    /// The value, if there is only one.
    pub(super) fn single(&self) -> Option<u8> {
        match self.runs()[..] {
            [(first, last)] if first == last => u8::try_from(first).ok(),
            _ => None,
        }
    }

    /// The runs of neighbouring values, ascending.
    fn runs(&self) -> Vec<(u32, u32)> {
        let has = |value: &u32| self.0[(value >> 6) as usize] >> (value & 63) & 1 == 1;
        let values: Vec<u32> = (0..256).filter(has).collect();
        values
            .chunk_by(|a, b| a + 1 == *b)
            .filter_map(|run| Some((*run.first()?, *run.last()?)))
            .collect()
    }
}

impl fmt::Display for OctetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.runs().into_iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (first, last) {
                (0, 255) => write!(f, "{comma}*")?,
                _ if first == last => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The address ranges of an octet pattern, or `None` if there are more than [`MAX_PIECES`].
pub(super) fn octet_ranges(octets: &[OctetSet; 4]) -> Option<Vec<(u32, u32)>> {
    let mut ranges = vec![(0, 0)];
    for octet in octets {
        let runs = octet.runs();
        if let [(0, 255)] = runs[..] {
            for (first, last) in &mut ranges {
                *first <<= 8;
                *last = *last << 8 | 255;
            }
            continue;
        }
        // Combine every address prefix so far with every run of this octet.
        let prefixes: u64 = ranges
            .iter()
            .map(|&(first, last)| u64::from(last - first) + 1)
            .sum();
        if prefixes.saturating_mul(runs.len() as u64) > MAX_PIECES as u64 {
            return None;
        }
        ranges = ranges
            .iter()
            .flat_map(|&(first, last)| first..=last)
            .flat_map(|prefix| {
                runs.iter()
                    .map(move |&(first, last)| (prefix << 8 | first, prefix << 8 | last))
            })
            .collect();
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;

    #[test]
    fn octets_become_few_ranges() {
        let ranges = |text: &str| match Target::parse(text) {
            Ok(Target::V4Octets(octets)) => octet_ranges(&octets),
            other => panic!("{other:?}"),
        };
        assert_eq!(ranges("10.0-1.1,3.0-255").unwrap().len(), 4);
        assert_eq!(
            ranges("10.*.*.*").unwrap(),
            [(10 << 24, (10 << 24) + 0xFF_FFFF)]
        );
        assert_eq!(ranges("0-255.*.*.*").unwrap(), [(0, u32::MAX)]);
        assert_eq!(ranges("10.*.*.1").unwrap().len(), 65_536);
        assert_eq!(ranges("*.*.*.1"), None);
    }
}
