//! A timer fires once its deadline has come: never before, not much after, and not when it was moved away.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::{FutureExt, StreamExt, future};
use untether::{MissedTicks, Timer, timeout};

use crate::case::{Case, Need};
use crate::gate::{Bell, Gate, announce, poll_with};
use crate::scene::Scene;
use crate::wires::{LATE, quiet};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::of(no_timer_is_early, "A time-out strikes before its time.").needs(&[Need::RealTime]),
        Case::of(
            short_timers_are_not_rounded_up,
            "Short sleeps take a millisecond or more longer than asked.",
        )
        .needs(&[Need::PollsAtOnce, Need::Alone, Need::RealTime]),
        Case::of(
            a_deadline_of_now_fires_at_once,
            "A sleep of no time sleeps, or a deadline that has passed never comes.",
        ),
        Case::of(
            an_interval_does_not_drift,
            "A periodic task runs slower than its period.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            an_interval_can_begin_at_an_instant,
            "A periodic task starts at the wrong time.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_timer_can_be_moved_later,
            "A time-out that was extended strikes at the old time.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_timer_can_be_moved_earlier,
            "A time-out that was shortened strikes at the old time.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_fired_timer_can_be_set_again,
            "A timer can be used only once, or fires again at once.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_timer_set_to_the_past_is_ready,
            "A timer that was set to a moment that has passed never fires.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            far_deadlines_neither_panic_nor_fire,
            "A very long time-out crashes the program, or strikes at once.",
        ),
        Case::of(
            never_is_never_until_it_is_set,
            "A timer without a deadline fires, or cannot be given one.",
        ),
        Case::of(
            a_thousand_zero_timers_end,
            "Timers of no time get lost among each other.",
        ),
        Case::of(
            ten_thousand_timers_all_fire,
            "With many timers some fire early, very late or never.",
        )
        .needs(&[Need::Alone, Need::RealTime]),
        Case::of(
            dropping_a_moved_timer_keeps_its_neighbour,
            "Cancelling one time-out cancels another with the same deadline.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_wake_may_drop_a_hundred_timers,
            "A task that is cancelled while timers fire deadlocks the reactor.",
        ),
        Case::of(
            a_timer_polled_here_can_be_awaited_there,
            "A timer that moves to another thread never wakes it.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_timer_moved_while_awaited_wakes_its_task,
            "A time-out that another task shortens strikes at the old time.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            an_interval_set_while_awaited_wakes_its_task,
            "A period that another task changes is not kept.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            an_earlier_timer_cuts_a_long_sleep_short,
            "A short time-out strikes late because the reactor sleeps towards a long one.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            a_dropped_timer_wakes_nobody,
            "Cancelled time-outs still wake their tasks, or keep their memory.",
        ),
        Case::of(
            timeout_gives_the_value_or_elapsed,
            "A time limit loses the value, or does not strike.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            missed_ticks_burst_by_default,
            "A periodic task that was held up loses ticks.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            missed_ticks_can_be_delayed,
            "A periodic task that was held up runs in a burst though told not to.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            missed_ticks_can_be_skipped,
            "A periodic task that was held up loses its rhythm though told to keep it.",
        )
        .needs(&[Need::RealTime]),
        Case::of(
            foreign_timers_fire_beside_ours,
            "A runtime's own timers stop while its tasks wait for our I/O, or ours stop.",
        )
        .needs(&[Need::OwnTimers]),
    ]
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Asserts that `now` is not before `deadline`, and not long after.
fn on_time(deadline: Instant, what: &str) {
    let now = Instant::now();
    assert!(now >= deadline, "{what} fired {:?} early", deadline - now);
    assert!(
        now < deadline + LATE,
        "{what} fired {:?} late",
        now - deadline
    );
}

fn poll_timer(timer: &mut Timer, bell: &Bell) -> Poll<Instant> {
    timer.poll(&mut Context::from_waker(&bell.waker()))
}

fn no_timer_is_early(scene: &Scene) {
    scene.run(async {
        for micros in [100, 999, 1_000, 1_001, 2_500, 5_000, 9_999] {
            let duration = Duration::from_micros(micros);
            let start = Instant::now();
            let timer = Timer::after(duration);
            let fired = timer.await;
            on_time(start + duration, &format!("a timer of {duration:?}"));
            assert!(
                fired <= Instant::now(),
                "it says that it fired later than now"
            );
        }
    });
}

fn short_timers_are_not_rounded_up(scene: &Scene) {
    // Windows counts time in steps of 16 ms, other systems than Linux in their own.
    let allowed = if cfg!(target_os = "linux") {
        ms(1)
    } else {
        ms(16)
    };
    scene.run(async move {
        let duration = Duration::from_micros(100);
        let mut best = Duration::MAX;
        for _ in 0..200 {
            let start = Instant::now();
            Timer::after(duration).await;
            best = best.min(start.elapsed());
        }
        assert!(best >= duration);
        assert!(
            best < duration + allowed,
            "the best of 200 sleeps of {duration:?} took {best:?}"
        );
    });
}

fn a_deadline_of_now_fires_at_once(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        steps.step("waiting for a timer of no time");
        let start = Instant::now();
        Timer::after(Duration::ZERO).await;
        steps.step("waiting for a timer at this instant");
        Timer::at(Instant::now()).await;
        let past = start.checked_sub(ms(1)).unwrap_or(start);
        steps.step("waiting for a timer of the past");
        Timer::at(past).await;
        on_time(start, "a timer of no time");
    });
}

fn an_interval_does_not_drift(scene: &Scene) {
    scene.run(async {
        let start = Instant::now();
        let mut interval = Timer::interval(ms(10));
        for tick in 1..=5 {
            let fired = interval.next().await.expect("an interval never ends");
            let due = start + ms(10) * tick;
            on_time(due, &format!("tick {tick}"));
            assert!(fired <= Instant::now());
            // A slow task: the next tick must not start from here.
            Timer::after(ms(3)).await;
        }
        assert!(
            start.elapsed() < ms(10) * 5 + LATE,
            "drifted by {:?}",
            start.elapsed() - ms(50)
        );
    });
}

fn an_interval_can_begin_at_an_instant(scene: &Scene) {
    scene.run(async {
        let first = Instant::now() + ms(5);
        let mut interval = Timer::interval_at(first, ms(10));
        interval.next().await;
        on_time(first, "the first tick");
        interval.next().await;
        on_time(first + ms(10), "the second tick");
    });
}

fn a_timer_can_be_moved_later(scene: &Scene) {
    scene.run(async {
        let bell = Bell::new();
        let mut timer = Timer::after(ms(5));
        assert!(poll_timer(&mut timer, &bell).is_pending());
        let deadline = Instant::now() + ms(30);
        timer.set_at(deadline);
        assert!(poll_timer(&mut timer, &bell).is_pending());
        timer.await;
        on_time(deadline, "a timer that was moved");
    });
}

fn a_timer_can_be_moved_earlier(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let bell = Bell::new();
        let mut timer = Timer::after(Duration::from_secs(3600));
        assert!(poll_timer(&mut timer, &bell).is_pending());
        let deadline = Instant::now() + ms(10);
        timer.set_at(deadline);
        steps.step("waiting for the earlier deadline");
        timer.await;
        on_time(deadline, "a timer that was moved");
    });
}

fn a_fired_timer_can_be_set_again(scene: &Scene) {
    scene.run(async {
        let mut timer = Timer::after(ms(1));
        (&mut timer).await;
        for _ in 0..3 {
            let start = Instant::now();
            timer.set_after(ms(15));
            (&mut timer).await;
            on_time(start + ms(15), "a timer that was set again");
        }
    });
}

fn a_timer_set_to_the_past_is_ready(scene: &Scene) {
    scene.run(async {
        let bell = Bell::new();
        let mut timer = Timer::after(Duration::from_secs(3600));
        assert!(poll_timer(&mut timer, &bell).is_pending());
        timer.set_at(Instant::now());
        assert!(
            poll_timer(&mut timer, &bell).is_ready(),
            "not ready at the next poll"
        );
    });
}

fn far_deadlines_neither_panic_nor_fire(scene: &Scene) {
    scene.run(async {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        for duration in [
            YEAR,
            YEAR * 30,
            YEAR * 1_000,
            Duration::from_nanos(u64::MAX),
            Duration::from_millis(u64::MAX),
            Duration::MAX - Duration::from_nanos(1),
            Duration::MAX,
        ] {
            let timer = future::or(Timer::after(duration), Timer::after(duration));
            quiet(&format!("a timer of {duration:?}"), timer).await;
            let mut interval = Timer::interval(duration);
            quiet(&format!("an interval of {duration:?}"), interval.next()).await;
        }
        // Other timers go on beside them.
        Timer::after(ms(1)).await;
    });
}

fn never_is_never_until_it_is_set(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let mut timer = Timer::never();
        assert!(!timer.will_fire());
        quiet("a timer without a deadline", &mut timer).await;
        timer.set_after(ms(1));
        assert!(timer.will_fire());
        steps.step("waiting for the deadline that it was given");
        (&mut timer).await;
        timer.set_after(ms(1));
        timer.clear();
        assert!(!timer.will_fire(), "cleared, and will fire");
        quiet("a timer that was cleared", &mut timer).await;
    });
}

fn a_thousand_zero_timers_end(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        let sleeps: Vec<_> = (0..1_000)
            .map(|_| tasks.spawn(async { Timer::after(Duration::ZERO).await }))
            .collect();
        for (number, sleep) in sleeps.into_iter().enumerate() {
            tasks.step(&format!("waiting for timer {number} of 1000"));
            sleep.await;
        }
    });
}

fn ten_thousand_timers_all_fire(scene: &Scene) {
    const TIMERS: usize = 10_000;
    let steps = scene.clone();
    scene.run(async move {
        let start = Instant::now();
        // Deadlines from 20 to 120 ms in no order: 7 and 10,000 have no common factor.
        let mut timers: Vec<_> = (0..TIMERS)
            .map(|number| {
                let micros = 20_000 + (number * 7 % TIMERS) as u64 * 10;
                let deadline = start + Duration::from_micros(micros);
                let own = Bell::new();
                let mut timer = Timer::at(deadline);
                let early = poll_timer(&mut timer, &own);
                if early.is_ready() {
                    assert!(Instant::now() >= deadline, "early at its first poll");
                    own.ring();
                }
                (timer, own, early.is_ready())
            })
            .collect();
        steps.step("waiting for 10,000 timers");
        for (number, (timer, own, ready)) in timers.iter_mut().enumerate() {
            own.heard(1).await;
            assert!(
                *ready || poll_timer(timer, own).is_ready(),
                "timer {number} woke its task before its time"
            );
        }
        let late = start.elapsed().saturating_sub(ms(120));
        assert!(late < LATE * 2, "the last timer was {late:?} late");
    });
}

fn dropping_a_moved_timer_keeps_its_neighbour(scene: &Scene) {
    let steps = scene.clone();
    scene.run(async move {
        let deadline = Instant::now() + ms(15);
        let (gone, stays) = (Bell::new(), Bell::new());
        let mut moved = Timer::after(ms(5));
        let mut other = Timer::at(deadline);
        assert!(poll_timer(&mut moved, &gone).is_pending());
        assert!(poll_timer(&mut other, &stays).is_pending());
        moved.set_at(deadline);
        assert!(poll_timer(&mut moved, &gone).is_pending());
        let before = gone.rings();
        drop(moved);
        steps.step("waiting for the neighbour");
        stays.heard(1).await;
        on_time(deadline, "the neighbour");
        assert_eq!(gone.rings(), before, "a dropped timer fired");
    });
}

fn a_wake_may_drop_a_hundred_timers(scene: &Scene) {
    use std::task::{Wake, Waker};

    struct DropsTimers(Mutex<Vec<Timer>>, Gate);
    impl Wake for DropsTimers {
        fn wake(self: Arc<Self>) {
            let timers = std::mem::take(&mut *self.0.lock().unwrap());
            drop(timers);
            self.1.open();
        }
    }

    let steps = scene.clone();
    scene.run(async move {
        let deadline = Instant::now() + ms(10);
        let mut gates = Vec::new();
        for _ in 0..10 {
            let gate = Gate::new();
            let killer = Arc::new(DropsTimers(Mutex::default(), gate.clone()));
            // Each holds a hundred timers of the same instant, and its own timer among them.
            let waker = Waker::from(killer.clone());
            let mut timers: Vec<_> = (0..100).map(|_| Timer::at(deadline)).collect();
            for timer in &mut timers {
                assert!(timer.poll(&mut Context::from_waker(&waker)).is_pending());
            }
            killer.0.lock().unwrap().append(&mut timers);
            gates.push(gate);
        }
        for (number, gate) in gates.iter().enumerate() {
            steps.step(&format!("waiting for wake {number} of 10"));
            gate.passed().await;
        }
        Timer::after(ms(1)).await;
    });
}

fn a_timer_polled_here_can_be_awaited_there(scene: &Scene) {
    let deadline = Instant::now() + ms(30);
    let mut timer = Timer::at(deadline);
    let bell = Bell::new();
    // Polled in a run on another thread, which ends before the timer fires.
    let (timer, _bell) = scene
        .thread(move |scene| {
            scene.run(async move {
                assert!(poll_timer(&mut timer, &bell).is_pending());
                (timer, bell)
            })
        })
        .join();
    scene.step("waiting for a timer that was polled on another thread");
    scene.run(timer);
    on_time(deadline, "a timer that moved");
}

fn a_timer_moved_while_awaited_wakes_its_task(scene: &Scene) {
    let start = Instant::now();
    let timer = Arc::new(Mutex::new(Timer::after(Duration::from_secs(3600))));
    let waiting = Gate::new();
    let mover = {
        let (timer, waiting) = (timer.clone(), waiting.clone());
        scene.thread(move |_| {
            waiting.passed_blocking();
            timer.lock().unwrap().set_after(ms(10));
        })
    };
    let shared = async move {
        std::future::poll_fn(|cx| Pin::new(&mut *timer.lock().unwrap()).poll(cx)).await
    };
    scene.step("waiting for the timer that another thread moves");
    scene.run(async move { announce(&waiting, shared).await });
    mover.join();
    on_time(start + ms(10), "a timer that was moved while awaited");
}

fn an_interval_set_while_awaited_wakes_its_task(scene: &Scene) {
    let start = Instant::now();
    let timer = Arc::new(Mutex::new(Timer::after(Duration::from_secs(3600))));
    let waiting = Gate::new();
    let mover = {
        let (timer, waiting) = (timer.clone(), waiting.clone());
        scene.thread(move |_| {
            waiting.passed_blocking();
            timer.lock().unwrap().set_interval(ms(5));
        })
    };
    let shared = async move {
        for _ in 0..3 {
            std::future::poll_fn(|cx| timer.lock().unwrap().poll_next(cx))
                .await
                .expect("an interval never ends");
        }
    };
    scene.step("waiting for the interval that another thread sets");
    scene.run(async move { announce(&waiting, shared).await });
    mover.join();
    on_time(start + ms(15), "the third tick");
}

fn an_earlier_timer_cuts_a_long_sleep_short(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        // The reactor sleeps towards this one.
        let waiting = Gate::new();
        let gate = waiting.clone();
        let far = tasks.spawn(async move {
            let far = Timer::after(Duration::from_secs(3600));
            future::or(
                async {
                    announce(&gate, far).await;
                },
                async {
                    Timer::after(Duration::from_secs(3)).await;
                },
            )
            .await;
        });
        waiting.passed().await;
        drop(far);
        // From a plain thread, and hence while the runtime sleeps.
        let late = tasks.thread(|_| {
            std::thread::sleep(ms(5));
            let deadline = Instant::now() + ms(10);
            future::block_on(Timer::at(deadline));
            Instant::now().saturating_duration_since(deadline)
        });
        tasks.step("waiting for a timer that is due before the one the reactor sleeps towards");
        let deadline = Instant::now() + ms(10);
        Timer::at(deadline).await;
        on_time(deadline, "the earlier timer");
        let late = late.join();
        assert!(late < LATE, "a thread's earlier timer fired {late:?} late");
    });
}

fn a_dropped_timer_wakes_nobody(scene: &Scene) {
    scene.run(async {
        let bell = Bell::new();
        for _ in 0..100 {
            let mut timer = Timer::after(ms(5));
            assert!(poll_timer(&mut timer, &bell).is_pending());
        }
        Timer::after(ms(15)).await;
        assert_eq!(bell.rings(), 0, "wakes by dropped timers");
        assert_eq!(bell.owners(), 1, "dropped timers kept their waker");
    });
}

fn timeout_gives_the_value_or_elapsed(scene: &Scene) {
    scene.run(async {
        let value = timeout(LATE, async {
            Timer::after(ms(1)).await;
            7
        });
        assert_eq!(value.await.ok(), Some(7));
        let start = Instant::now();
        let elapsed = timeout(ms(10), future::pending::<()>())
            .await
            .expect_err("a future that never ends has ended");
        on_time(start + ms(10), "the time-out");
        let error = std::io::Error::from(elapsed);
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        // A value that is there beats a time-out that is due.
        let both = timeout(Duration::ZERO, future::ready(7)).await;
        assert_eq!(both.ok(), Some(7), "a value was thrown away");
    });
}

/// Lets a period of 10 ms miss ticks for 35 ms; returns the start, and when the next two ticks came.
async fn held_up(policy: Option<MissedTicks>) -> (Instant, Instant, Instant) {
    let start = Instant::now();
    let mut interval = Timer::interval(ms(10));
    if let Some(policy) = policy {
        interval.set_missed_ticks(policy);
    }
    assert!(future::poll_once(interval.next()).await.is_none());
    // The task is busy, the reactor is not: a sleep of the thread, not of the task, so that it is held up wherever
    // it runs.
    std::thread::sleep(ms(35));
    interval.next().await;
    let first = Instant::now();
    interval.next().await;
    (start, first, Instant::now())
}

fn missed_ticks_burst_by_default(scene: &Scene) {
    scene.run(async {
        let (_, first, second) = held_up(None).await;
        assert!(
            second - first < ms(9),
            "the second missed tick came {:?} after the first",
            second - first
        );
    });
}

fn missed_ticks_can_be_delayed(scene: &Scene) {
    scene.run(async {
        let (_, first, second) = held_up(Some(MissedTicks::Delay)).await;
        // `first` is read a moment after the tick from which the period counts.
        assert!(
            second - first > ms(8),
            "a whole period after the late tick was asked for, but the next came after {:?}",
            second - first
        );
    });
}

fn missed_ticks_can_be_skipped(scene: &Scene) {
    scene.run(async {
        let (start, first, second) = held_up(Some(MissedTicks::Skip)).await;
        // The rhythm is that of the start: 40 ms at the earliest, and one of 40, 50, 60 ...
        assert!(
            second - start >= ms(40),
            "a missed tick came {:?} after the start",
            second - start
        );
        assert!(second > first);
    });
}

fn foreign_timers_fire_beside_ours(scene: &Scene) {
    let tasks = scene.clone();
    scene.run(async move {
        for round in 0..5 {
            let mut foreign = tasks
                .subject()
                .own_sleep(ms(4))
                .expect("the subject says that it has timers");
            tasks.step(&format!("waiting for the runtime's timer in round {round}"));
            let far = async {
                Timer::after(Duration::from_secs(3600)).await;
            };
            future::or(foreign.as_mut(), far).await;
            let foreign = tasks
                .subject()
                .own_sleep(Duration::from_secs(3600))
                .expect("the subject says that it has timers");
            tasks.step(&format!("waiting for our timer in round {round}"));
            let near = async {
                Timer::after(ms(4)).await;
            };
            future::or(near, foreign).await;
        }
        let mut never = pin!(future::pending::<()>());
        assert!(poll_with(never.as_mut(), &Bell::new().waker()).is_pending());
    });
}
