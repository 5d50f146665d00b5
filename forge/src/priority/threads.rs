//! Threads for work of which nobody knows how long it takes. One that has done short work waits for more: a new thread for
//! each would cost more than the work, and begin with cold memory. One that was lowered ends: a priority is not given back.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::gettid;

/// How many wait for work at once; more end.
const IDLE_MAX: usize = 16;
/// How long one waits for work.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Work, which leaves how it is answered.
pub(super) type Job = Box<dyn FnOnce() -> Answer + Send>;

/// Tells what came of it: when the work is over for its thread, so that whoever knows it lowers no thread any more.
pub(super) type Answer = Box<dyn FnOnce()>;

/// Threads that wait, by their numbers.
type Idle = Vec<(Pid, Sender<Turn>)>;

/// Those that wait: the last one that came is taken first, its memory is warm.
static IDLE: Mutex<Idle> = Mutex::new(Vec::new());

struct Turn {
    job: Job,
    running: Running,
}

/// Work that a thread does.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Its number, while it does this.
    thread: Option<Pid>,
    lowered: bool,
    over: bool,
}

impl Running {
    /// Lowers the thread, unless the work is done.
    pub(super) fn lower(&self) {
        // Held meanwhile: after its work a thread does another's.
        let mut state = self.state();
        if !state.lowered && !state.over {
            state.lowered = true;
            if let Some(thread) = state.thread {
                super::lower(Some(thread));
            }
        }
    }

    fn begin(&self) {
        let mut state = self.state();
        state.thread = Some(gettid());
        if state.lowered {
            super::lower(None);
        }
    }

    /// True if the thread can go on to other work.
    fn end(&self) -> bool {
        let mut state = self.state();
        (state.thread, state.over) = (None, true);
        !state.lowered
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the work to a thread that waits, or to a new one.
///
/// # Errors
/// Where no thread can be made.
pub(super) fn begin(job: Job) -> io::Result<Running> {
    let running = Running::default();
    let mut turn = Turn { job, running: running.clone() };
    loop {
        let Some((_, thread)) = idle().pop() else { break };
        match thread.send(turn) {
            Ok(()) => return Ok(running),
            // It has ended: by a panic of its own.
            Err(unsent) => turn = unsent.0,
        }
    }
    std::thread::Builder::new().name("work".to_owned()).spawn(move || serve(turn))?;
    Ok(running)
}

fn serve(mut turn: Turn) {
    let (here, turns) = mpsc::channel();
    loop {
        turn.running.begin();
        // The panic is told by its hook, and by the answer that does not come.
        let answer = catch_unwind(AssertUnwindSafe(turn.job)).ok();
        let may_go_on = turn.running.end();
        if let Some(answer) = answer {
            answer();
        }
        if !may_go_on {
            return;
        }
        match next(&here, &turns) {
            Some(more) => turn = more,
            None => return,
        }
    }
}

fn next(here: &Sender<Turn>, turns: &Receiver<Turn>) -> Option<Turn> {
    let me = gettid();
    {
        let mut idle = idle();
        if idle.len() >= IDLE_MAX {
            return None;
        }
        idle.push((me, here.clone()));
    }
    if let Ok(turn) = turns.recv_timeout(IDLE_TIME) {
        return Some(turn);
    }
    let waits = {
        let mut idle = idle();
        let place = idle.iter().position(|(thread, _)| *thread == me);
        place.map(|at| idle.remove(at)).is_some()
    };
    // Whoever took it from the list is giving it work just now.
    if waits { None } else { turns.recv().ok() }
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that tells.
    fn telling<T: Send + 'static>(tell: Sender<T>, job: impl FnOnce() -> T + Send + 'static) -> Job {
        Box::new(move || {
            let done = job();
            Box::new(move || tell.send(done).expect("told"))
        })
    }

    fn run<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Running, T) {
        let (tell, told) = mpsc::channel();
        let running = begin(telling(tell, job)).expect("a thread");
        (running, told.recv().expect("done"))
    }

    #[test]
    fn an_answer_comes_when_the_work_is_over() {
        for _ in 0..500 {
            let (running, _) = run(gettid);
            running.lower();
            assert!(!running.state().lowered, "its thread may do another's work by now");
        }
    }

    #[test]
    fn a_thread_does_more_than_one_work_unless_it_was_lowered() {
        let short = || -> bool {
            let (_, first) = run(gettid);
            // It takes a moment to wait again.
            std::thread::sleep(Duration::from_millis(50));
            run(gettid).1 == first
        };
        assert!((0..20).any(|_| short()), "none was taken twice");
        let (go, gone) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let work = move || {
            gone.recv().expect_err("nothing is sent");
            gettid()
        };
        let long = begin(telling(tell, work)).expect("a thread");
        long.lower();
        drop(go);
        let lowered = told.recv().expect("done");
        for _ in 0..50 {
            assert_ne!(run(gettid).1, lowered);
        }
    }

    #[test]
    fn a_panic_costs_no_thread_and_much_at_once_loses_nothing() {
        drop(begin(Box::new(|| -> Answer { panic!("on purpose") })).expect("a thread"));
        let (tell, told) = mpsc::channel();
        for i in 0..200 {
            let tell = tell.clone();
            drop(begin(telling(tell, move || i)).expect("a thread"));
        }
        drop(tell);
        let mut all: Vec<i32> = told.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        assert!(idle().len() <= IDLE_MAX);
    }
}
