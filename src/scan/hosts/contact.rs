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
    fresh: Fresh,
    /// The odds that it is asked too fast.
    too_fast: f32,
    asking: Option<Box<Asking>>,
    limit: Option<Box<Limit>>,
}

/// So many attempts may be made until it has to prove that it still answers: a detector that was
/// set off meanwhile has made all of them worthless.
#[derive(Clone, Copy, Debug)]
struct Window {
    attempts: u32,
    grows: u32,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            attempts: WINDOW_LEAST,
            grows: WINDOW_GROWS,
        }
    }
}

impl Window {
    /// The one that follows a proof.
    fn next(self) -> Self {
        let attempts = self.attempts.saturating_mul(self.grows);
        Window { attempts, ..self }
    }

    /// The first one, as after a loss.
    fn first(self) -> Self {
        let attempts = WINDOW_LEAST;
        Window { attempts, ..self }
    }
}

/// Why answers had stayed away, as it seems now that one has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) enum Lapse {
    /// None had, or for no reason that is known.
    None,
    /// It was asked too fast: behind a window a canary was lost, and in the quiet after it none is.
    Rate,
    /// It had shut us out.
    Absence,
}

/// First attempts at ports that nobody chose: a fair sample of all.
#[derive(Clone, Copy, Debug, Default)]
struct Fresh {
    answered: u32,
    /// Those that were silent, until the last answer of any port and since then.
    silent: u32,
    silent_since: u32,
}

impl Fresh {
    /// The odds that so many in a row are not silent by chance (a logarithm): none of them was
    /// among the ports that answer, which are spread evenly.
    fn odds(&self) -> f32 {
        let before = (self.answered + self.silent) as f32;
        (self.answered as f32 + 0.5) * (self.silent_since as f32 / before.max(1.0)).ln_1p()
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
    /// When it was last found not to answer.
    lost_at: Time,
    /// The odds that what was lost was lost to the rate; below 0 where nothing was.
    lost: f32,
}

impl Asking {
    /// How long it was away: about twice as long as is known for sure. What it was not asked
    /// meanwhile, because its services had to be left alone, does not count.
    fn away_us(&self, now: Time) -> u64 {
        let known_us = self.lost_at.us_since(self.since);
        now.us_since(self.since).min(2 * known_us + ASK_AFTER_US)
    }
}

/// How fast it may be asked, as its absences taught.
#[derive(Clone, Copy, Debug, Default)]
struct Limit {
    /// How often it had shut us out, and how often answers were lost to the rate.
    absences: u8,
    losses: u8,
    gap_ns: u64,
    /// Holds only for a while.
    passing_gap_ns: u64,
    gcra: Gcra,
}

/// At first; four times as many after each proof. Where a detector is known to be, as many as
/// before.
const WINDOW_LEAST: u32 = 64;
const WINDOW_GROWS: u32 = 4;
const LONG_WINDOW_GROWS: u32 = 8;
/// Odds from which on what was silent since its last answer says nothing: it is asked again.
const DOUBTED: f32 = 6.0;
/// Odds from which on it has stopped answering.
const ABSENT: f32 = 12.0;
/// Odds from which on its ports are silent for too long. A scan has as many chances to get there
/// as it finds ports.
const SILENT: f32 = 12.0;
/// What is asked so long after a window shows nothing of the rate.
const PAUSE_US: u64 = 500_000;
/// Odds from which on a canary that was lost behind a window was lost to the rate.
const TOO_FAST: f32 = 4.5;
/// A canary is lost by chance as often as other packets are, as far as is known; what is lost to
/// the rate looks the same.
const LEAST_LOSS: f32 = 0.02;
const MOST_LOSS: f32 = 0.15;
/// Then an attempt is made each so many microseconds, or at the next of these distances: few
/// canaries find what many a firewall's `limit` grants.
const GAPS_US: [u64; 4] = [2_000, 15_000, 40_000, 100_000];
/// It is asked again after 1 s three times, to see short trouble end, then after 2, 4 and each 8 s,
/// since who asks too often may not be forgiven.
const ASK_AFTER_US: u64 = 1_000_000;
const ASK_SOON: u8 = 2;
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
    /// Of a host whose resets are ignored: a single service must do for the proofs of all its
    /// ports.
    pub fn with_long_windows() -> Self {
        let mut contact = Contact::default();
        contact.window.grows = LONG_WINDOW_GROWS;
        contact
    }

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
        self.unproven >= self.window.attempts
    }

    /// So many times it will have to in so many further attempts.
    pub fn proofs_to_come(&self, attempts: u32) -> u32 {
        let windows = std::iter::successors(Some(self.window), |window| Some(window.next()));
        let ends = windows.scan(0_u32, |end, window| {
            *end = end.saturating_add(window.attempts);
            Some(*end)
        });
        ends.take_while(|&end| end <= attempts && end < u32::MAX)
            .count() as u32
    }

    /// It answered an attempt that was sent then; `is_proof`: that shows that what was sent before
    /// would have been answered; `is_alone`: nobody else answers.
    pub fn answered(&mut self, sent: Time, is_proof: bool, is_alone: bool, now: Time) -> Lapse {
        // What was sent before it was asked proves nothing, unless it was taken to be away.
        let is_absent = self.is_absent();
        let asked = self
            .asking
            .take_if(|asking| is_absent || sent >= asking.since);
        let lapse = asked.map_or(Lapse::None, |asking| {
            self.is_back(&asking, sent, is_alone, now)
        });
        if is_proof && sent >= self.proven_at {
            self.unproven = self.since_proof;
            (self.proven_at, self.since_proof) = (now, 0);
        }
        self.canary = None;
        self.fresh.silent += std::mem::take(&mut self.fresh.silent_since);
        (self.heard_at, self.sent_until_heard, self.doubt) = (now, self.sent, 0.0);
        lapse
    }

    /// It answered what it was asked: what that teaches of how it may be asked from now on.
    fn is_back(&mut self, asking: &Asking, sent: Time, is_alone: bool, now: Time) -> Lapse {
        // It is called absent only while others answer; alone it may have been away all the same.
        let was_away = self.is_absent() || (is_alone && self.is_doubted());
        if was_away && asking.away_us(now) >= SHUT_OUT_US {
            self.slow_down(now);
            return Lapse::Absence;
        }
        // After a pause a limit lets through again what it did not.
        let had_pause = sent.us_since(asking.since) > PAUSE_US && self.may_be_rushed();
        if !had_pause {
            self.too_fast = (self.too_fast + asking.lost).max(0.0);
            if asking.unanswered == 0 {
                self.pass_window(now);
                return Lapse::None;
            }
        }
        // Once may be chance: then it is asked as fast again, and all of that anew.
        if self.too_fast >= TOO_FAST {
            self.too_fast = 0.0;
            self.ask_at_next_gap(asking.since, now);
        }
        self.window = self.window.first();
        (self.unproven, self.since_proof) = (0, 0);
        Lapse::Rate
    }

    /// It has proven that it still answers. What was lost to the rate may have been chance, if that
    /// was once, or if more attempts than then are not lost now.
    fn pass_window(&mut self, now: Time) {
        let is_long = self.window.attempts > WINDOW_LEAST;
        self.window = self.window.next();
        if let Some(limit) = &mut self.limit {
            if limit.losses > 0 && limit.absences == 0 && (limit.losses == 1 || is_long) {
                let slower = GAPS_US.into_iter().map(|gap_us| 1_000 * gap_us);
                let faster_ns = slower.rev().find(|&gap_ns| gap_ns < limit.gap_ns);
                limit.gap_ns = faster_ns.unwrap_or(0);
                limit.gcra = Gcra::from_now(now);
            }
            if limit.absences > 0 {
                self.window = self.window.first();
            }
        }
    }

    /// Answers were lost to the rate at which it was asked from the last proof until then.
    fn ask_at_next_gap(&mut self, until: Time, now: Time) {
        let since = self.proven_at.max(self.since);
        let gap_us = until.us_since(since) / u64::from(self.unproven.max(1));
        let limit = self.limit.get_or_insert_default();
        let too_fast_us = (2 * gap_us).max(limit.gap_ns / 1_000);
        let slower = GAPS_US.into_iter().find(|&gap_us| gap_us > too_fast_us);
        limit.gap_ns = 1_000 * slower.unwrap_or(too_fast_us.max(GAPS_US[GAPS_US.len() - 1]));
        limit.losses = limit.losses.saturating_add(1);
        limit.gcra = Gcra::from_now(now);
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
        // No detector minds fewer.
        let sent = self.sent_until_heard.max(WINDOW_LEAST);
        let gap_us = lasted_us as f64 / (f64::from(sent) * TOLERATED);
        self.limit = Some(Box::new(Limit {
            absences: absences.saturating_add(1),
            losses: 0,
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

    /// The first attempt at a port that nobody chose was answered.
    pub fn fresh_answered(&mut self) {
        self.fresh.answered += 1;
    }

    /// The same was silent, since it was sent then. Whether there have been too many in a row.
    pub fn fresh_silent(&mut self, sent: Time) -> bool {
        self.fresh.silent_since += u32::from(sent > self.heard_at);
        let is_too_long = self.doubt < DOUBTED && self.fresh.odds() >= SILENT;
        if is_too_long {
            self.doubt = DOUBTED;
        }
        is_too_long
    }

    /// A canary was lost, as happens with this `chance`.
    pub fn lost_canary(&mut self, chance: f32) {
        if let Some(asking) = &mut self.asking {
            asking.lost = asking.lost.max(0.0) - chance.clamp(LEAST_LOSS, MOST_LOSS).ln();
        }
    }

    /// What was missing was not its fault; `was_long`: nor was it the rate's, but what was sent
    /// before filled something up.
    pub fn forgive(&mut self, was_long: bool) {
        self.doubt = 0.0;
        if let Some(asking) = self.asking.as_mut().filter(|_| was_long) {
            asking.lost = -1.0;
            self.window = self.window.first();
        }
    }

    /// Whether it may be asked too fast, or was.
    pub fn may_be_rushed(&self) -> bool {
        self.too_fast > 0.0 || self.was_rushed()
    }

    /// Whether answers were lost to the rate, and not by chance as far as can be told.
    pub fn was_rushed(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.losses > 0)
    }

    /// Others can tell better from now on how fast it may be asked.
    pub fn forget_rate(&mut self) {
        self.limit.take_if(|limit| limit.absences == 0);
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
                lost_at: since,
                lost: -1.0,
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
        asking.lost_at = now;
        let waits = is_gone || asking.unanswered >= ASK_AT_ONCE;
        let after_us = if waits {
            ASK_AFTER_US << asking.waits.saturating_sub(ASK_SOON)
        } else {
            0
        };
        asking.waits = (asking.waits + u8::from(waits)).min(ASK_SOON + ASK_DOUBLINGS);
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
        for (round, window) in [64, 256, 1_024, 4_096].into_iter().enumerate() {
            let ms = 100 * round as u64;
            assert_eq!(contact.proofs_to_come(window - 1), 0);
            assert_eq!(contact.proofs_to_come(window + 4 * window), 2);
            begin(&mut contact, window - 1, ms);
            assert!(!contact.is_unproven(), "{window}");
            begin(&mut contact, 1, ms);
            assert!(contact.is_unproven(), "{window}");
            contact.ask(at(ms + 10));
            contact.answered(at(ms + 5), true, false, at(ms + 20));
            assert!(contact.is_asking(), "that was sent before it was asked");
            contact.answered(at(ms + 30), true, false, at(ms + 40));
            assert!(!contact.is_asking() && !contact.is_unproven());
        }
    }

    #[test]
    fn any_answer_proves_what_was_sent_before() {
        let mut contact = Contact::default();
        begin(&mut contact, 60, 0);
        contact.answered(at(0), true, false, at(10));
        begin(&mut contact, 60, 20);
        assert!(contact.is_unproven(), "120 since the first one");
        contact.answered(at(20), false, false, at(30));
        assert!(contact.is_unproven(), "that was no proof");
        contact.answered(at(20), true, false, at(30));
        assert!(!contact.is_unproven(), "60 since the second one");
    }

    /// The canary behind a window is lost, or not: what that was, and how far apart attempts are
    /// from then on.
    fn window(contact: &mut Contact, from_ms: u64, is_lost: bool) -> (Lapse, u64) {
        contact.ask(at(from_ms));
        if is_lost {
            contact.lost_canary(0.02);
            contact.ask_ended(false, at(from_ms + 100));
        }
        let lapse = contact.answered(at(from_ms + 100), true, false, at(from_ms + 101));
        begin(contact, 64, from_ms + 101);
        let limit = contact.limit.as_ref();
        (lapse, limit.map_or(0, |limit| limit.gap_ns / 1_000))
    }

    #[test]
    fn a_canary_that_is_lost_behind_a_window_but_not_after_it_was_lost_to_the_rate() {
        let mut contact = Contact::default();
        // Whether the canary is lost, and how far apart attempts are then.
        let steps = [
            (false, 0),
            // Once may be chance, even though all of it is asked again.
            (true, 0),
            (true, 2_000),
            (false, 0),
            (true, 0),
            (true, 2_000),
            (true, 2_000),
            (true, 15_000),
            (false, 15_000),
            // A longer window was not lost.
            (false, 2_000),
        ];
        contact.begin(at(1));
        for (round, (is_lost, gap_us)) in steps.into_iter().enumerate() {
            let told = window(&mut contact, 110 * (1 + round as u64), is_lost);
            let lapse = if is_lost { Lapse::Rate } else { Lapse::None };
            assert_eq!(told, (lapse, gap_us), "{round}");
        }
    }

    #[test]
    fn a_canary_long_after_a_window_shows_nothing_of_the_rate() {
        // Whether a canary was lost before, and how long after the next window one was answered.
        let check = |was_lost, after_ms: u64, expect| {
            let mut contact = Contact::default();
            contact.begin(at(1));
            if was_lost {
                window(&mut contact, 110, true);
            }
            begin(&mut contact, 64, 300);
            contact.ask(at(400));
            let lapse = contact.answered(at(400 + after_ms), true, false, at(401 + after_ms));
            assert_eq!(lapse, expect, "{was_lost} {after_ms}");
        };
        check(false, 31_000, Lapse::None);
        check(true, 500, Lapse::None);
        check(true, 501, Lapse::Rate);
    }

    #[test]
    fn ports_that_are_silent_for_too_long_cast_doubt() {
        // Answers and silent ports before, and how many more are too many.
        let check = |answered, silent, expect: u32| {
            let mut contact = Contact::default();
            (0..silent).for_each(|_| assert!(!contact.fresh_silent(at(10))));
            (0..answered).for_each(|_| contact.fresh_answered());
            contact.answered(at(20), true, false, at(30));
            let most = (1..100_000).find(|_| contact.fresh_silent(at(40)));
            assert_eq!(most, Some(expect), "{answered} of {silent}");
            assert!(contact.is_doubted() && !contact.fresh_silent(at(40)));
        };
        check(5, 995, 7_863);
        check(40, 9_960, 3_449);
    }

    #[test]
    fn who_shuts_us_out_is_asked_more_slowly_each_time() {
        let mut contact = Contact::default();
        for (round, gap_ms) in [(0, 66), (1, 264), (2, 1_056)] {
            let ms = round * 9_010;
            begin(&mut contact, 100, ms);
            contact.answered(at(ms), true, false, at(ms + 1));
            contact.missed(0.002);
            assert!(contact.is_doubted() && !contact.is_absent());
            contact.missed(0.002);
            assert!(contact.is_absent());
            contact.ask(at(ms + 100));
            assert_eq!(contact.asks_at(), Some(at(ms + 1_100)));
            contact.ask_ended(false, at(ms + 4_100));
            let lapse = contact.answered(at(ms + 9_000), true, false, at(ms + 9_001));
            assert_eq!(lapse, Lapse::Absence);
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
        contact.answered(at(0), true, false, at(1));
        contact.ask(at(10));
        contact.missed(0.02);
        contact.missed(0.02);
        assert!(contact.is_doubted() && !contact.is_absent());
        contact.ask_ended(false, at(15_000));
        let lapse = contact.answered(at(31_000), true, true, at(31_001));
        assert_eq!(lapse, Lapse::Absence);
        assert!(contact.wait_until(at(31_001)).is_none(), "the first one");
        begin(&mut contact, 1, 31_001);
        assert!(contact.wait_until(at(31_001)).is_some(), "a limit");
    }

    #[test]
    fn it_is_asked_at_once_only_so_often() {
        let mut contact = Contact::default();
        contact.ask(at(0));
        let waits_ms = [
            0, 0, 0, 0, 0, 0, 0, 1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 8_000,
        ];
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
        let lapse = contact.answered(at(1_100), true, false, at(1_101));
        assert_eq!(lapse, Lapse::None);
        assert_eq!(contact.wait_until(at(1_101)), None);
    }
}
