//! Who comes first where the processors are not enough for all: short work before long. Whatever takes long goes on with a
//! lower priority of its thread, so that a few clients who ask for much do not make everybody else wait. Where processors
//! are free, nothing is slower by it.

use std::num::NonZero;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, setpriority_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use self::debts::Debts;
use crate::shares::Party;

mod debts;
mod threads;

/// The niceness of long work (setpriority(2)); on Linux it is the thread's alone. With 10, whatever is asked beside it gets
/// nine times its share.
const NICE: i32 = 10;
/// Work that has not ended by then is long.
const SHORT: Duration = Duration::from_millis(50);

/// Threads for pieces of long work: as many as there are processors, so that the pieces of many clients do not push aside
/// what is asked meanwhile. Never driven: only its threads are used.
static PIECES: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get).max(2);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let built =
        builder.max_blocking_threads(threads).thread_name("pieces").on_thread_start(|| lower(None)).build();
    built.inspect_err(|error| tracing::warn!(%error, "long work has no threads of its own")).ok()
});

/// Who has had long work done lately.
static DEBTS: LazyLock<Mutex<Debts>> = LazyLock::new(Mutex::default);

/// A thread that could not be lowered still does its work.
fn lower(thread: Option<Pid>) {
    setpriority_process(thread, NICE).unwrap_or_default();
}

/// Runs a piece of an answer that takes long in all. May block. `None` if it panicked.
pub async fn piece<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let task = match &*PIECES {
        Some(threads) => threads.handle().spawn_blocking(work),
        None => tokio::task::spawn_blocking(work),
    };
    task.await.ok()
}

/// Processor time that the thread has had.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

fn debts() -> MutexGuard<'static, Debts> {
    DEBTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may be short or long, and is not known to be either, on a thread of its own, for that party. May block. `None` if it
/// panicked. It goes on to its end where nobody waits for it any more. To be called within a runtime, which the work can reach.
pub async fn work<T, F>(party: Party, work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (tell, mut told) = oneshot::channel();
    let runtime = Handle::current();
    let owes = debts().owes(&party, Instant::now());
    let job = move || {
        let _entered = runtime.enter();
        let before = spent();
        let done = work();
        let took = spent().saturating_sub(before);
        if took > SHORT {
            debts().add(party, took, Instant::now());
        }
        // Whoever waited may be gone.
        Box::new(move || drop(tell.send(done))) as threads::Answer
    };
    let long = match threads::begin(Box::new(job)) {
        Ok(running) => Long(running),
        Err(error) => {
            tracing::warn!(%error, "a thread cannot be made");
            return None;
        }
    };
    match tokio::time::timeout(if owes { Duration::ZERO } else { SHORT }, &mut told).await {
        Ok(done) => return done.ok(),
        Err(_) => drop(long),
    }
    told.await.ok()
}

/// Work whose thread is lowered when this is dropped, unless it is over.
struct Long(threads::Running);

impl Drop for Long {
    fn drop(&mut self) {
        self.0.lower();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    fn niceness() -> i32 {
        getpriority_process(None).expect("a number")
    }

    #[tokio::test]
    async fn long_work_is_lowered_and_short_work_is_not() {
        let before = niceness();
        assert_eq!(work(Party::Host, niceness).await, Some(before));
        let long = work(Party::Host, || {
            let begun = std::time::Instant::now();
            while niceness() < NICE && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            niceness()
        });
        assert_eq!(long.await, Some(before.max(NICE)));
        assert_eq!(piece(niceness).await, Some(before.max(NICE)));
        assert_eq!(niceness(), before, "this thread is as it was");
    }

    #[tokio::test]
    async fn who_has_had_much_is_lowered_at_once() {
        let party = || Party::at(std::net::IpAddr::from([192, 0, 2, 77]));
        let much = || {
            let begun = spent();
            while spent().saturating_sub(begun) < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
        };
        let before = niceness();
        assert_eq!(work(party(), much).await, Some(()));
        let next = || {
            let begun = Instant::now();
            while niceness() < NICE && begun.elapsed() < Duration::from_millis(40) {
                std::thread::sleep(Duration::from_millis(1));
            }
            niceness()
        };
        assert_eq!(work(party(), next).await, Some(before.max(NICE)), "before it is long by itself");
        assert_eq!(work(Party::at([192, 0, 2, 78].into()), niceness).await, Some(before));
    }

    #[tokio::test]
    async fn a_panic_is_nothing_and_work_that_nobody_waits_for_ends_all_the_same() {
        assert_eq!(work(Party::Host, || -> u8 { panic!("on purpose") }).await, None);
        assert_eq!(piece(|| -> u8 { panic!("on purpose") }).await, None);
        let (tell, told) = oneshot::channel();
        let left = work(Party::Host, move || tell.send(7));
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err() || told.await == Ok(7));
    }
}
