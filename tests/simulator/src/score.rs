//! How well a scan did, beside the truth. It knows verdicts by number only, so that it needs no
//! scanner.

use crate::network::Truth;

/// How well a scan did, verdict by verdict.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// What was said (open, closed, filtered, not open, unscanned) of endpoints that are open,
    /// closed, rejected, silent.
    pub said: [[u64; 5]; 4],
}

impl Score {
    /// `state` is the position in [`said`](Self::said).
    pub fn count(&mut self, truth: Truth, state: usize) {
        self.said[truth as usize][state] += 1;
    }

    /// The share of open ports that was found.
    pub fn recall(&self) -> f64 {
        let [found, ..] = self.said[Truth::Open as usize];
        let open: u64 = self.said[Truth::Open as usize].iter().sum();
        if open == 0 {
            1.0
        } else {
            found as f64 / open as f64
        }
    }

    /// Open ports that were not found.
    pub fn missed(&self) -> u64 {
        self.said[Truth::Open as usize][1..].iter().sum()
    }

    /// Verdicts that are wrong whatever was lost: open or closed that is not.
    pub fn invented(&self) -> u64 {
        let said_open: u64 = self.said[1..].iter().map(|said| said[0]).sum();
        let said_closed: u64 = [0, 2, 3].map(|truth| self.said[truth][1]).iter().sum();
        said_open + said_closed
    }
}
