//! Whether a host that has answered still does: the odds against it, when to ask it again, and how
//! fast it may be asked once it is back. It knows counts and times of one host, no ports.

use crate::scan::pacing::Gcra;
use crate::scan::time::Time;

/// What is known of a host's willingness to answer.
#[derive(Clone, Debug, Default)]
pub(in crate::scan) struct Contact {
    /// When its last answer came, and the attempts that had begun until then.
    heard_at: Time,
    sent_until_heard: u32,
    /// Attempts since it first was asked, or came back.
    sent: u32,
    since: Time,
    /// Attempts since it last proved that it still answers, and how many may follow a proof.
    unproven: u32,
    /// When it last did so, and the attempts since then.
    proven_at: Time,
    since_proof: u32,
    window: Window,
    /// When the canary began that is under way.
    canary: Option<Time>,
    /// The odds that it has stopped answering (a logarithm), since its last answer.
    doubt: f32,
    asking: Option<Box<Asking>>,
    limit: Option<Box<Limit>>,
}

/// So many attempts may be made until it has to prove that it still answers: a detector that was
/// set off meanwhile has made all of them worthless.
#[derive(Clone, Copy, Debug)]
struct Window(u32);

impl Default for Window {
    fn default() -> Self {
        Window(WINDOW_LEAST)
    }
}

impl Window {
    /// There is none any more.
    const ENDLESS: Window = Window(u32::MAX);

    /// The one that follows a proof.
    fn next(self) -> Self {
        if self.0 < WINDOW_MOST {
            Window(self.0 * WINDOW_GROWS)
        } else {
            Window::ENDLESS
        }
    }
}

/// It is asked whether it still answers, and nothing else.
#[derive(Clone, Copy, Debug)]
struct Asking {
    since: Time,
    next: Time,
    /// How often that was not answered, and how often it waited because of that.
    unanswered: u8,
    waits: u8,
}

/// How fast it may be asked, as its absences taught.
#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    absences: u8,
    gap_ns: u64,
    /// Holds only for a while.
    passing_gap_ns: u64,
    gcra: Gcra,
}

/// At first; four times as many after each proof, and then as many as there are. Where a detector
/// is known to be, as many as before.
const WINDOW_LEAST: u32 = 64;
const WINDOW_MOST: u32 = 1_024;
const WINDOW_GROWS: u32 = 4;
/// Odds from which on what was silent since its last answer says nothing: it is asked again.
const DOUBTED: f32 = 6.0;
/// Odds from which on it has stopped answering.
const ABSENT: f32 = 12.0;
/// It is asked again after 1, 2, 4 and then each 8 s, since who asks too often may not be forgiven.
const ASK_AFTER_US: u64 = 1_000_000;
const ASK_DOUBLINGS: u8 = 3;
/// Before it is taken to be absent it is asked so often at once: an answer may have been lost.
const ASK_AT_ONCE: u8 = 8;
/// A network or host that was away for less was not shutting us out: that teaches nothing.
pub(in crate::scan) const SHUT_OUT_US: u64 = 5_000_000;
/// Detectors count attempts over seconds at least. After each further absence over four times as
/// long.
const COUNTED_OVER_US: u64 = 5_000_000;
/// So many times as slowly it is asked where answers were lost to the rate.
const SLOWER: u64 = 4;
/// The share of what was too much that is not.
const TOLERATED: f64 = 0.75;

impl Contact {
    /// An attempt begins.
    pub fn begin(&mut self, now: Time) {
        if self.sent == 0 {
            self.since = now;
        }
        self.sent = self.sent.saturating_add(1);
        self.unproven = self.unproven.saturating_add(1);
        self.since_proof = self.since_proof.saturating_add(1);
        if let Some(limit) = &mut self.limit {
            limit
                .gcra
                .begin(limit.gap_ns.max(limit.passing_gap_ns), now);
        }
    }

    /// Until when its limit holds the next attempt back, if it does.
    pub fn wait_until(&self, now: Time) -> Option<Time> {
        self.limit.as_ref()?.gcra.wait_until(0, now)
    }

    /// Whether it has to prove that it still answers before it is asked anything else.
    pub fn is_unproven(&self) -> bool {
        self.unproven >= self.window.0
    }

    /// So many times it will have to.
    pub fn proofs_to_come(&self) -> u32 {
        std::iter::successors(Some(self.window), |window| Some(window.next()))
            .take_while(|window| window.0 < Window::ENDLESS.0)
            .count() as u32
    }

    /// It answered an attempt that was sent then; `is_alone`: nobody else answers. Whether it had
    /// been away for so long that it has to be asked more slowly.
    pub fn answered(&mut self, sent: Time, is_alone: bool, now: Time) -> bool {
        if sent >= self.proven_at {
            self.unproven = self.since_proof;
            (self.proven_at, self.since_proof) = (now, 0);
        }
        // What was sent before it was asked proves nothing, unless it was taken to be away.
        let is_absent = self.is_absent();
        let asked = self
            .asking
            .take_if(|asking| is_absent || sent >= asking.since);
        if asked.is_some() {
            self.window = match self.limit {
                Some(_) => Window::default(),
                None => self.window.next(),
            };
        }
        let away_us = asked.map_or(0, |asking| now.us_since(asking.since));
        // It is called absent only while others answer; alone it may have been away all the same.
        let was_away = is_absent || (is_alone && self.is_doubted());
        let was_absent = was_away && away_us >= SHUT_OUT_US;
        if was_absent {
            self.slow_down(now);
        }
        self.canary = None;
        (self.heard_at, self.sent_until_heard, self.doubt) = (now, self.sent, 0.0);
        was_absent
    }

    /// From now on it is asked no more often than each `gap_us`, or (0) as often as before.
    pub fn ask_each(&mut self, gap_us: u64, now: Time) {
        let limit = self.limit.get_or_insert_default();
        limit.passing_gap_ns = gap_us * 1_000;
        limit.gcra = Gcra::from_now(now);
    }

    /// Answers were lost to the rate, and are not at one attempt each `most_us`.
    pub fn ask_slower(&mut self, most_us: u64, now: Time) {
        let limit = self.limit.get_or_insert_default();
        let gap_ns = 1_000 * now.us_since(self.since) / u64::from(self.sent.max(1));
        limit.gap_ns = (SLOWER * gap_ns.max(limit.gap_ns)).min(1_000 * most_us);
        limit.passing_gap_ns = 0;
        limit.gcra = Gcra::from_now(now);
        self.sent = 0;
    }

    /// It has shut us out for what we sent before: less of that from now on.
    pub fn slow_down(&mut self, now: Time) {
        let absences = self.limit.as_ref().map_or(0, |limit| limit.absences);
        let counted_us = COUNTED_OVER_US << (2 * absences).min(8);
        let lasted_us = self.heard_at.us_since(self.since).max(counted_us);
        let gap_us = lasted_us as f64 / (f64::from(self.sent_until_heard.max(1)) * TOLERATED);
        self.limit = Some(Box::new(Limit {
            absences: absences.saturating_add(1),
            gap_ns: (gap_us * 1e3) as u64,
            passing_gap_ns: 0,
            gcra: Gcra::from_now(now),
        }));
        (self.sent, self.sent_until_heard) = (0, 0);
    }

    /// An answer stayed away, as happens with this `chance` while it answers.
    pub fn missed(&mut self, chance: f32) {
        self.doubt -= chance.ln();
    }

    /// What was missing was not its fault.
    pub fn forgive(&mut self) {
        self.doubt = 0.0;
    }

    /// Whether silence since its last answer says nothing.
    pub fn is_doubted(&self) -> bool {
        self.doubt >= DOUBTED
    }

    /// Whether it has stopped answering.
    pub fn is_absent(&self) -> bool {
        self.doubt >= ABSENT
    }

    /// Whether it has answered since then.
    pub fn has_answered_since(&self, then: Time) -> bool {
        self.heard_at > then
    }

    /// From now on it is asked only whether it still answers.
    pub fn ask(&mut self, now: Time) {
        let waits = self.is_absent() || self.canary.is_some();
        let after_us = if waits { ASK_AFTER_US } else { 0 };
        let since = self.canary.unwrap_or(now);
        self.asking.get_or_insert_with(|| {
            Box::new(Asking {
                since,
                next: now.plus_us(after_us),
                unanswered: 0,
                waits: 0,
            })
        });
    }

    /// It is not asked that any more.
    pub fn end_asking(&mut self) {
        self.asking = None;
    }

    /// It is being asked whether it still answers.
    pub fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// How long it has been asked that, in microseconds.
    pub fn asked_us(&self, now: Time) -> u64 {
        self.asking
            .as_ref()
            .map_or(0, |asking| now.us_since(asking.since))
    }

    /// When it is to be asked that again.
    pub fn asks_at(&self) -> Option<Time> {
        self.asking.as_ref().map(|asking| asking.next)
    }

    /// A canary begins.
    pub fn begin_canary(&mut self, now: Time) {
        self.canary = Some(now);
        self.ask_later(now);
    }

    /// A canary is under way.
    pub fn awaits_canary(&self) -> bool {
        self.canary.is_some()
    }

    /// It cannot be asked just now, or has just been.
    pub fn ask_later(&mut self, now: Time) {
        if let Some(asking) = &mut self.asking {
            asking.next = now.plus_us(ASK_AFTER_US);
        }
    }

    /// That was not answered; `is_out`: nobody was.
    pub fn ask_ended(&mut self, is_out: bool, now: Time) {
        self.canary = None;
        let is_gone = is_out || self.is_absent();
        let Some(asking) = &mut self.asking else {
            return;
        };
        asking.unanswered = asking.unanswered.saturating_add(1);
        let waits = is_gone || asking.unanswered >= ASK_AT_ONCE;
        let after_us = if waits {
            ASK_AFTER_US << asking.waits
        } else {
            0
        };
        asking.waits = (asking.waits + u8::from(waits)).min(ASK_DOUBLINGS);
        asking.next = now.plus_us(after_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    fn begin(contact: &mut Contact, attempts: u32, ms: u64) {
        (0..attempts).for_each(|_| contact.begin(at(ms)));
    }

    #[test]
    fn a_host_has_to_prove_that_it_answers_and_less_often_each_time() {
        let mut contact = Contact::default();
        for (round, window) in [64, 256, 1_024].into_iter().enumerate() {
            let ms = 100 * round as u64;
            assert_eq!(contact.proofs_to_come(), 3 - round as u32);
            begin(&mut contact, window - 1, ms);
            assert!(!contact.is_unproven(), "{window}");
            begin(&mut contact, 1, ms);
            assert!(contact.is_unproven(), "{window}");
            contact.ask(at(ms + 10));
            contact.answered(at(ms + 5), false, at(ms + 20));
            assert!(contact.is_asking(), "that was sent before it was asked");
            contact.answered(at(ms + 30), false, at(ms + 40));
            assert!(!contact.is_asking() && !contact.is_unproven());
        }
        begin(&mut contact, 100_000, 900);
        assert!(!contact.is_unproven(), "it has proven enough");
    }

    #[test]
    fn any_answer_proves_what_was_sent_before() {
        let mut contact = Contact::default();
        begin(&mut contact, 60, 0);
        contact.answered(at(0), false, at(10));
        begin(&mut contact, 60, 20);
        assert!(contact.is_unproven(), "120 since the first one");
        contact.answered(at(20), false, at(30));
        assert!(!contact.is_unproven(), "60 since the second one");
    }

    #[test]
    fn who_shuts_us_out_is_asked_more_slowly_each_time() {
        let mut contact = Contact::default();
        for (round, gap_ms) in [(0, 66), (1, 264), (2, 1_056)] {
            let ms = round * 9_010;
            begin(&mut contact, 100, ms);
            contact.answered(at(ms), false, at(ms + 1));
            contact.missed(0.002);
            assert!(contact.is_doubted() && !contact.is_absent());
            contact.missed(0.002);
            assert!(contact.is_absent());
            contact.ask(at(ms + 100));
            assert_eq!(contact.asks_at(), Some(at(ms + 1_100)));
            assert!(contact.answered(at(ms + 9_000), false, at(ms + 9_001)));
            begin(&mut contact, 1, ms + 9_001);
            let until = contact.wait_until(at(ms + 9_001)).expect("a limit");
            // Three quarters of 100 in 5, 20, 80 s.
            assert_eq!(until.us_since(at(ms + 9_001)) / 1_000, gap_ms);
        }
    }

    #[test]
    fn so_is_who_was_only_doubted_since_nobody_else_answers() {
        let mut contact = Contact::default();
        begin(&mut contact, 100, 0);
        contact.answered(at(0), false, at(1));
        contact.ask(at(10));
        contact.missed(0.02);
        contact.missed(0.02);
        assert!(contact.is_doubted() && !contact.is_absent());
        assert!(contact.answered(at(31_000), true, at(31_001)));
        assert!(contact.wait_until(at(31_001)).is_none(), "the first one");
        begin(&mut contact, 1, 31_001);
        assert!(contact.wait_until(at(31_001)).is_some(), "a limit");
    }

    #[test]
    fn it_is_asked_at_once_only_so_often() {
        let mut contact = Contact::default();
        contact.ask(at(0));
        let waits_ms = [0, 0, 0, 0, 0, 0, 0, 1_000, 2_000, 4_000, 8_000, 8_000];
        for (round, wait_ms) in waits_ms.into_iter().enumerate() {
            contact.ask_ended(false, at(100));
            assert_eq!(contact.asks_at(), Some(at(100 + wait_ms)), "{round}");
        }
    }

    #[test]
    fn a_moments_absence_teaches_nothing() {
        let mut contact = Contact::default();
        begin(&mut contact, 100, 0);
        contact.missed(1e-6);
        contact.ask(at(100));
        assert!(!contact.answered(at(1_100), false, at(1_101)));
        assert_eq!(contact.wait_until(at(1_101)), None);
    }
}
