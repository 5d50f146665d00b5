//! What the desk is tried in: records in memory that keep the rule of the lease, and hands that follow a script.

use super::*;

/// Hands that take a moment, and fail where they are told to.
#[derive(Default)]
pub(super) struct Script {
    pub(super) pause: Duration,
    /// How often the errand of that number fails.
    pub(super) fails: Mutex<BTreeMap<u64, u32>>,
    pub(super) running: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) log: Mutex<Vec<String>>,
    pub(super) records: Mutex<Option<Arc<InMemory>>>,
    /// Effects that were carried out before their state was recorded.
    pub(super) unrecorded: Mutex<Vec<u64>>,
}

impl Script {
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().expect("lock").clone()
    }

    fn write(&self, line: String) {
        self.log.lock().expect("lock").push(line);
    }
}

#[async_trait]
impl Hands<Errand> for Script {
    async fn carry_out(
        &self,
        errand: &Errand,
        effect: &u32,
        progress: Progress<Errand>,
        stop: &CancellationToken,
    ) -> Input {
        let records = self.records.lock().expect("lock").clone().expect("set");
        if records.find(errand.number).is_some_and(|on_record| on_record.run.state != ErrandState::Running) {
            self.unrecorded.lock().expect("lock").push(errand.number);
        }
        self.write(format!("do {}.{effect}", errand.number));
        drop(progress.send(Input::Note).await);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let stopped = tokio::time::timeout(self.pause, stop.cancelled()).await.is_ok();
        self.running.fetch_sub(1, Ordering::SeqCst);
        let fails = match self.fails.lock().expect("lock").get_mut(&errand.number) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => stopped,
        };
        if !fails {
            return Input::Done;
        }
        let problem = Problem::new(ProblemKind::Unavailable, "It failed.", "Try again.");
        Input::Failed(Failure { class: FailureClass::Infra, problem })
    }

    async fn conclude(&self, errand: &Errand) {
        self.write(format!("conclude {}", errand.number));
    }

    async fn finish(&self, errand: &Errand) {
        self.write(format!("finish {}", errand.number));
    }
}

/// Records as a store keeps them.
#[derive(Default)]
pub(super) struct InMemory {
    errands: Mutex<BTreeMap<u64, Errand>>,
    /// How many writes fail from now on.
    failing: AtomicUsize,
}

impl InMemory {
    pub(super) fn find(&self, number: u64) -> Option<Errand> {
        self.errands.lock().expect("lock").get(&number).cloned()
    }

    pub(super) fn get(&self, number: u64) -> Errand {
        self.find(number).expect("there")
    }

    pub(super) fn write(&self, errand: Errand) {
        self.errands.lock().expect("lock").insert(errand.number, errand);
    }

    pub(super) fn forget(&self, number: u64) {
        self.errands.lock().expect("lock").remove(&number);
    }

    pub(super) fn fail(&self, times: usize) {
        self.failing.store(times, Ordering::SeqCst);
    }
}

impl Records<Errand> for InMemory {
    fn unfinished(&self) -> Result<Vec<Errand>, Problem> {
        let all = self.errands.lock().expect("lock");
        Ok(all.values().filter(|errand| !errand.run.is_over()).cloned().collect())
    }

    fn put(&self, errand: &Errand) -> Result<Kept, Problem> {
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Err(Problem::new(ProblemKind::Broken, "The disk is full.", "Make room."));
        }
        let mut all = self.errands.lock().expect("lock");
        let Some(old) = all.get(&errand.number) else { return Ok(Kept::Gone) };
        if old.run.is_taken_from(&errand.run) {
            return Ok(Kept::Taken);
        }
        all.insert(errand.number, errand.clone());
        Ok(Kept::Written)
    }
}

/// One node with its records.
pub(super) struct World {
    pub(super) desk: Desk<Errand>,
    pub(super) records: Arc<InMemory>,
    pub(super) script: Arc<Script>,
}

impl World {
    pub(super) fn new(script: Script) -> Self {
        Self::over(Arc::default(), "node", 2, script)
    }

    fn over(records: Arc<InMemory>, node: &str, slots: usize, script: Script) -> Self {
        *script.records.lock().expect("lock") = Some(records.clone());
        let script = Arc::new(script);
        let rules = Rules { lease: Duration::from_millis(90), ..Rules::new(node, slots) };
        let parts =
            Parts { records: records.clone(), hands: script.clone(), changes: Changes::default(), rules };
        let desk = Desk::new(parts);
        desk.open();
        Self { desk, records, script }
    }

    /// Another node over the same records.
    pub(super) fn beside(&self, node: &str) -> Self {
        Self::over(self.records.clone(), node, 2, Script { pause: self.script.pause, ..Script::default() })
    }

    /// The node dies where it stands, and starts again.
    pub(super) async fn killed_and_started(self, script: Script) -> Self {
        self.with_slots(2, script).await
    }

    pub(super) async fn with_slots(self, slots: usize, script: Script) -> Self {
        self.desk.abandon();
        self.desk.drain(Duration::from_secs(5)).await;
        let next = Self::over(self.records, "node", slots, script);
        next.desk.resume().await.expect("resumed");
        next
    }

    pub(super) fn id(&self, number: u64) -> WorkId {
        WorkId { repo: RepoId(1), number }
    }

    pub(super) fn errand(&self, number: u64) -> Errand {
        Errand {
            repo: RepoId(1),
            number,
            lane: "a",
            gives_way: false,
            stops_for_newer: false,
            steps: 1,
            done: 0,
            notes: 0,
            run: Run::new(ErrandState::Queued, now()),
        }
    }

    /// Records one and starts it.
    pub(super) fn order(&self, number: u64, change: impl Fn(&mut Errand)) {
        let mut errand = self.errand(number);
        change(&mut errand);
        self.records.write(errand.clone());
        self.desk.start(&errand);
    }

    pub(super) async fn becomes(&self, number: u64, want: ErrandState) {
        for _ in 0..1000 {
            let state = self.records.get(number).run.state;
            if state == want {
                return;
            }
            assert_ne!(state.standing(), Standing::Over, "errand {number} is {state:?}, not {want:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("errand {number} does not become {want:?}");
    }

    /// Nothing is under way any more, without a drain.
    pub(super) async fn stops_by_itself(&self) {
        for _ in 0..1000 {
            if self.desk.unfinished() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it goes on");
    }
}
