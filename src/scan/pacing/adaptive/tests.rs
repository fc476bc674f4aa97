//! The controller on paths that the tests make up: what it finds there, and through which modes.

use std::collections::VecDeque;

use super::*;

const WAIT: Wait = Wait {
    answer_us: 25_000,
    retry_us: 100_000,
};

/// Attempts on a path that takes `capacity_per_s`, answers after 20 ms and always loses the
/// share `lost`. Half of the ports answer, one attempt in eight is a canary, and what is lost
/// is asked again. As many begin as the controller allows, for this many seconds. Returns how
/// many began in each of the last five, and the share of these that was above the capacity.
fn drive(controller: &mut Adaptive, capacity_per_s: f64, lost: f64, seconds: u64) -> (f64, f64) {
    drive_through(
        controller,
        &Way {
            capacity_per_s,
            saves_s: 0.01,
            lost,
            is_away: |_| false,
        },
        seconds,
    )
}

/// A path that saves up unused capacity for `saves_s` and lets nothing pass in the
/// milliseconds for which `is_away`.
struct Way {
    capacity_per_s: f64,
    saves_s: f64,
    lost: f64,
    is_away: fn(u64) -> bool,
}

fn drive_through(controller: &mut Adaptive, way: &Way, seconds: u64) -> (f64, f64) {
    drive_and_look(controller, way, seconds, &mut |_| {})
}

/// The same; `look` sees the controller each millisecond.
fn drive_and_look(
    controller: &mut Adaptive,
    way: &Way,
    seconds: u64,
    look: &mut dyn FnMut(&Adaptive),
) -> (f64, f64) {
    let &Way {
        capacity_per_s,
        saves_s,
        lost,
        is_away,
    } = way;
    let mut random = fastrand::Rng::with_seed(1);
    let mut answers: VecDeque<(u64, Observation, IntervalId)> = VecDeque::new();
    let mut again: VecDeque<(u64, Time)> = VecDeque::new();
    let (mut room, mut last, mut begun, mut dropped) = (0.0f64, 0u32, 0, 0u32);
    for ms in 0..seconds * 1_000 {
        let now = Time::from_us(ms * 1_000);
        room = (room + capacity_per_s / 1e3).min((capacity_per_s * saves_s).max(10.0));
        while answers.front().is_some_and(|&(at, ..)| at <= ms) {
            let (_, answered, interval) = answers.pop_front().expect("it is there");
            controller.on_observation(&answered, interval, WAIT, None);
        }
        look(controller);
        // No machine sends more in a millisecond.
        for _ in 0..200 {
            if controller.next_send(now).is_some() {
                break;
            }
            controller.on_interval(None, WAIT, None, now);
            begun += 1;
            let is_canary = begun % 8 == 0;
            let lost_at = again
                .front()
                .is_some_and(|&(at, _)| at <= ms && !is_canary)
                .then(|| again.pop_front().expect("it is there").1);
            let (prior, answers_at_all) = match lost_at {
                Some(_) => (Prior::Chance(0.1), true),
                None if is_canary => (Prior::Certain, true),
                None => (Prior::Chance(0.5), random.bool()),
            };
            let interval = controller.on_sent(prior, now);
            let is_late = ms >= seconds.saturating_sub(5) * 1_000;
            last += u32::from(is_late);
            let passes = room >= 1.0;
            room -= f64::from(u8::from(passes));
            dropped += u32::from(is_late && !passes);
            if answers_at_all && passes && !is_away(ms) && random.f64() >= lost {
                answers.push_back((
                    ms + 20,
                    Observation {
                        sent: now,
                        lost_at,
                        prior,
                        ..Observation::default()
                    },
                    interval,
                ));
            } else if answers_at_all && !matches!(prior, Prior::Certain) {
                again.push_back((ms + 100, now));
            }
        }
    }
    (f64::from(last) / 5.0, f64::from(dropped) / f64::from(last))
}

#[test]
fn a_wide_path_is_filled() {
    assert!(drive(&mut Adaptive::default(), 1e9, 0.0, 5).0 > 150_000.0);
}

#[test]
fn a_narrow_path_is_filled_and_not_overrun() {
    for capacity_per_s in [200.0, 2_000.0, 20_000.0] {
        for lost in [0.0, 0.1, 0.3] {
            let (last, dropped) = drive(&mut Adaptive::default(), capacity_per_s, lost, 30);
            let case = format!(
                "{last}/s where {capacity_per_s}/s pass and {lost} is lost; {dropped} did not get through"
            );
            assert!(
                (0.7..1.15).contains(&(last / capacity_per_s)) && dropped < 0.15,
                "{case}"
            );
        }
    }
}

#[test]
fn each_mode_leads_where_it_should() {
    let stalls: fn(u64) -> bool = |ms| (1_000..1_150).contains(&ms);
    let never: fn(u64) -> bool = |_| false;
    for (capacity_per_s, lost, is_away, expect) in [
        (1e9, 0.0, never, &["startup"][..]),
        (
            2_000.0,
            0.0,
            never,
            &["startup", "trial", "hold", "hold and probe"],
        ),
        (1e9, 0.3, never, &["startup", "trial", "startup"]),
        (1e9, 0.0, stalls, &["startup", "trial", "startup"]),
    ] {
        let mut controller = Adaptive::default();
        let mut seen: Vec<&str> = Vec::new();
        let way = Way {
            capacity_per_s,
            saves_s: 0.01,
            lost,
            is_away,
        };
        drive_and_look(&mut controller, &way, 10, &mut |controller| {
            let mode = match controller.mode {
                Mode::Startup => "startup",
                Mode::Trial(_) => "trial",
                Mode::Hold if controller.is_above_limit() => "hold and probe",
                Mode::Hold => "hold",
            };
            if seen.last() != Some(&mode) {
                seen.push(mode);
            }
        });
        assert!(
            seen.starts_with(expect),
            "{expect:?} where {capacity_per_s}/s pass and {lost} is lost: {seen:?}"
        );
    }
    let mut controller = Adaptive::default();
    drive(&mut controller, 2_000.0, 0.0, 5);
    assert!(!controller.is_starting());
    controller.on_outage(Ended::Outage, Time::from_us(5_000_000));
    assert!(
        controller.is_starting(),
        "after an outage all is learned anew"
    );
}

#[test]
fn what_is_always_lost_slows_nothing_down_for_good() {
    for lost in [0.1, 0.3, 0.6] {
        let last = drive(&mut Adaptive::default(), 1e9, lost, 10).0;
        assert!(last > 100_000.0, "{last}/s where {lost} is lost");
    }
}

#[test]
fn a_limit_that_saves_up_is_found() {
    for capacity_per_s in [200.0, 2_000.0] {
        let way = Way {
            capacity_per_s,
            saves_s: 1.0,
            lost: 0.0,
            is_away: |_| false,
        };
        let (last, dropped) = drive_through(&mut Adaptive::default(), &way, 30);
        let case = format!("{last}/s where {capacity_per_s}/s pass; {dropped} did not get through");
        assert!(
            (0.7..1.15).contains(&(last / capacity_per_s)) && dropped < 0.15,
            "{case}"
        );
    }
}

#[test]
fn troubles_that_pass_slow_nothing_down_for_good() {
    let stalls: [fn(u64) -> bool; 4] = [
        |ms| ms % 500 < 40,
        |ms| ms % 1_000 < 100,
        |ms| ms % 2_000 < 200,
        |ms| ms % 1_000 < 5,
    ];
    for is_away in stalls {
        for (capacity_per_s, least_per_s) in [(20_000.0, 14_000.0), (1e9, 100_000.0)] {
            let way = Way {
                capacity_per_s,
                saves_s: 0.01,
                lost: 0.0,
                is_away,
            };
            let (last, _) = drive_through(&mut Adaptive::default(), &way, 20);
            assert!(last > least_per_s, "{last}/s where {capacity_per_s}/s pass");
        }
    }
}

#[test]
fn silence_from_the_start_is_no_reason_to_stay_slow_nor_to_flood() {
    let mut controller = Adaptive::default();
    let begun = |controller: &mut Adaptive, from_ms: u64, to_ms: u64| -> u64 {
        let times = (from_ms..to_ms).map(|ms| Time::from_us(ms * 1_000));
        times
            .map(|now| {
                (0..1_000)
                    .take_while(|_| {
                        controller
                            .next_send(now)
                            .is_none()
                            .then(|| {
                                controller.on_interval(None, WAIT, None, now);
                                controller.on_sent(Prior::Unknown, now)
                            })
                            .is_some()
                    })
                    .count() as u64
            })
            .sum()
    };
    assert!(
        (64..300).contains(&begun(&mut controller, 0, 20)),
        "the first burst, and little more"
    );
    let second = begun(&mut controller, 20, 1_020);
    assert!(
        (60_000..=101_000).contains(&second),
        "{second} attempts in the first second"
    );
}

#[test]
fn what_the_path_loses_at_the_time_is_no_limit_of_a_host() {
    let heard = Evidence {
        asked: 20,
        expected: 20.0,
        answered: 4,
    };
    let mut host = Adaptive::default();
    host.detector.heard = heard;
    // A hundred attempts in 10 ms, at a moment when half of them must have been answered.
    for (answered, explains) in [(49, false), (40, false), (20, true), (0, true)] {
        let mut path = Adaptive::default();
        (0..100).for_each(|n| _ = path.on_sent(Prior::Chance(1.0), Time::from_us(1_000 + n * 100)));
        let answer = |at| Observation {
            sent: Time::from_us(at),
            lost_at: None,
            prior: Prior::Chance(1.0),
            ..Observation::default()
        };
        (0..answered)
            .for_each(|n| path.on_observation(&answer(1_000 + n * 100), IntervalId(0), WAIT, None));
        let seen = path.view(WAIT, Time::from_us(6_000 + WAIT.answer_us));
        assert_eq!(
            host.is_explained_by(&seen),
            explains,
            "{answered} of 50 answered: {seen:?}"
        );
    }
}

#[test]
fn attempts_at_a_rate_that_was_too_much_are_known() {
    let mut controller = Adaptive::default();
    drive(&mut controller, 500.0, 0.0, 3);
    assert!(
        controller.was_too_fast(Time::from_us(30_000))
            || controller.too_fast.1 > Time::from_us(30_000),
        "{:?}",
        controller.too_fast
    );
    assert!(!controller.was_too_fast(Time::from_us(3_000_000)));
}

#[test]
fn thousands_of_hosts_have_one() {
    let bytes = size_of::<Adaptive>();
    assert!(bytes <= 512, "{bytes} bytes");
}
