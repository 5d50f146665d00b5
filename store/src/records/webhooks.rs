//! Webhooks with their secrets, and what they owe: deliveries are recorded in the same change as what they tell of.

use slipway_core::accept::Orders;
use slipway_core::delivery::{Delivery, DeliveryState, Told};
use slipway_core::event::Event;
use slipway_core::limits::Limits;
use slipway_core::run::{Failure, FailureClass};
use slipway_core::webhook::{Webhook, WebhookEvent};
use slipway_core::{
    DeliveryNumber, EventId, Problem, ProblemKind, RepoId, Secret, UnixMillis, WebhookNumber,
};

use super::refusal;
use super::work::Numbered;
use crate::engine::Scan;
use crate::error::StoreError;
use crate::keys::{self, Counter, Key};
use crate::limits::{DELIVERIES_PER_PUSH_MAX, LIST_MAX, TEXT_BYTES_MAX};
use crate::store::Store;
use crate::tx::Tx;
use crate::view::View;

impl View<'_> {
    /// All webhooks of a repository, by number: a bounded number.
    pub fn webhooks(&self, repo: RepoId) -> Result<Vec<Webhook>, StoreError> {
        self.records(&keys::webhooks(repo), Scan::Up).collect()
    }

    /// The webhook of that number.
    pub fn webhook(&self, repo: RepoId, number: WebhookNumber) -> Result<Option<Webhook>, StoreError> {
        self.get(&keys::webhook(repo, number))
    }

    /// Its secret.
    pub fn webhook_secret(&self, repo: RepoId, number: WebhookNumber) -> Result<Option<Secret>, StoreError> {
        self.unseal(&keys::webhook_secret(repo, number))
    }

    /// Deliveries of one webhook or of all, newest first, those before `before`, at most `limit`.
    pub fn deliveries(
        &self,
        repo: RepoId,
        webhook: Option<WebhookNumber>,
        before: Option<DeliveryNumber>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let before = before.map(|number| keys::delivery(repo, number));
        let scan = before.as_ref().map_or(Scan::Down, Scan::DownFrom);
        let all = self.records::<Delivery>(&keys::deliveries(repo), scan);
        let wanted = all.filter(|found| match (found, webhook) {
            (Ok(delivery), Some(number)) => delivery.webhook == number,
            _ => true,
        });
        wanted.take(limit.min(LIST_MAX)).collect()
    }

    /// What is not delivered yet, of one repository or of all, oldest first.
    pub fn unfinished_deliveries(&self, repo: Option<RepoId>) -> Result<Vec<Delivery>, StoreError> {
        let marks = repo.map_or_else(keys::unfinished_deliveries, keys::unfinished_deliveries_of);
        let mut found: Vec<Delivery> = self.marked(&marks)?;
        found.sort_by_key(|delivery| (delivery.run.created, delivery.repo, delivery.number));
        Ok(found)
    }

    fn listening(&self, repo: RepoId, event: WebhookEvent) -> Result<Vec<Webhook>, StoreError> {
        let mut all = self.webhooks(repo)?;
        all.retain(|webhook| webhook.events.contains(&event));
        Ok(all)
    }
}

impl Tx<'_> {
    /// Records a new webhook under the next number of its repository, and its secret, encrypted; the number in `webhook`
    /// is ignored. From then on what it listens to owes it a delivery, recorded with what happened.
    pub fn add_webhook(
        &mut self,
        mut webhook: Webhook,
        secret: Option<&Secret>,
    ) -> Result<Webhook, StoreError> {
        refusal::check_length("webhook's address", &webhook.url, TEXT_BYTES_MAX)?;
        self.need_repo(webhook.repo)?;
        let most = self.limits.webhooks_per_repository_max;
        if self.view().keys(&keys::webhooks(webhook.repo), Scan::Up).count() >= most {
            return Err(refusal::full("webhooks", most));
        }
        webhook.number = WebhookNumber(self.count_up(Counter::Webhooks(webhook.repo))?);
        webhook.signed = secret.is_some();
        if let Some(secret) = secret {
            self.seal(keys::webhook_secret(webhook.repo, webhook.number), secret)?;
        }
        self.put(keys::webhook(webhook.repo, webhook.number), &webhook)?;
        Ok(webhook)
    }

    /// Forgets a webhook with everything that it was to deliver.
    pub fn remove_webhook(&mut self, repo: RepoId, number: WebhookNumber) -> Result<(), StoreError> {
        if !self.has(&keys::webhook(repo, number))? {
            return Err(refusal::missing("webhook", number));
        }
        self.remove(keys::webhook(repo, number))?;
        self.remove(keys::webhook_secret(repo, number))?;
        for key in self.view().all_keys(&keys::deliveries(repo))? {
            if let Some(delivery) = self.get::<Delivery>(&key)?.filter(|found| found.webhook == number) {
                self.forget_work(&delivery)?;
            }
        }
        Ok(())
    }

    /// Records a delivery that somebody asks for, if its webhook is there; its number is ignored.
    pub fn add_delivery(&mut self, delivery: Delivery) -> Result<Delivery, StoreError> {
        if !self.has(&keys::webhook(delivery.repo, delivery.webhook))? {
            return Err(refusal::missing("webhook", delivery.webhook));
        }
        self.insert(delivery)
    }

    /// What a push owes to those who hear of pushes, one delivery per ref that moved, as part of its acceptance; and what
    /// the ends of the work that it owes owe in turn, where work is over before it begins.
    pub(crate) fn owe_push(
        &mut self,
        event: &Event,
        orders: &Orders,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let listeners = self.view().listening(event.repo, WebhookEvent::Push)?;
        let told = event.updates.iter().take(DELIVERIES_PER_PUSH_MAX).map(|update| {
            let (push, actor, update) = (event.id, event.actor.clone(), update.clone());
            Told::Push { push, actor, update }
        });
        self.owe(&listeners, &told.collect::<Vec<_>>(), now)?;
        orders.builds.iter().filter(|build| build.is_final()).try_for_each(|build| self.owe_end(build))
    }

    /// What the end of work owes to those who hear of it, as part of the change that ends it.
    pub(crate) fn owe_end<W: Numbered>(&mut self, work: &W) -> Result<(), StoreError> {
        let Some(told) = work.told() else { return Ok(()) };
        let now = work.run().ended.unwrap_or(work.run().created);
        let listeners = self.view().listening(work.repo(), told.event())?;
        self.owe(&listeners, &[told], now)
    }

    /// Records them. What no longer has room to wait is recorded as failed: it can be asked for again.
    fn owe(&mut self, listeners: &[Webhook], told: &[Told], now: UnixMillis) -> Result<(), StoreError> {
        let Some(repo) = listeners.first().map(|webhook| webhook.repo) else { return Ok(()) };
        let marks = keys::unfinished_deliveries_of(repo);
        let most = self.limits.deliveries_waiting_max;
        let waiting = self.view().keys(&marks, Scan::Up).take(most).count();
        let mut room = most - waiting;
        for webhook in listeners {
            for told in told {
                let mut delivery = Delivery::queued(repo, webhook.number, told.clone(), now);
                match room.checked_sub(1) {
                    Some(left) => room = left,
                    None => refuse(&mut delivery, most, now),
                }
                self.insert(delivery)?;
            }
        }
        Ok(())
    }

    /// Forgets a repository's webhooks and deliveries, as part of its removal.
    pub(crate) fn remove_webhooks_of(&mut self, repo: RepoId) -> Result<(), StoreError> {
        for webhook in self.view().webhooks(repo)? {
            self.remove(keys::webhook(repo, webhook.number))?;
            self.remove(keys::webhook_secret(repo, webhook.number))?;
        }
        self.remove(keys::counter(Counter::Webhooks(repo)))?;
        self.remove_all_work::<Delivery>(repo)
    }
}

fn refuse(delivery: &mut Delivery, most: usize, now: UnixMillis) {
    delivery.run.failure = Some(Failure {
        class: FailureClass::Infra,
        problem: Problem::new(
            ProblemKind::TooLarge,
            format!("{most} deliveries of this repository wait already."),
            "Mend or remove the webhook that does not get through, then deliver this one again.",
        ),
    });
    delivery.run.state = DeliveryState::Failed;
    delivery.run.ended = Some(now);
}

impl Numbered for Delivery {
    const WHAT: &'static str = "delivery";
    fn kept(limits: &Limits) -> usize {
        limits.deliveries_kept
    }
    fn repo(&self) -> RepoId {
        self.repo
    }
    fn number(&self) -> u64 {
        self.number.0
    }
    fn set_number(&mut self, number: u64) {
        self.number = DeliveryNumber(number);
    }
    fn event(&self) -> Option<EventId> {
        match self.told {
            Told::Push { push, .. } => Some(push),
            Told::Build { .. } | Told::Deploy { .. } => None,
        }
    }
    fn is_final(&self) -> bool {
        self.run.is_over()
    }
    fn created(&self) -> UnixMillis {
        self.run.created
    }
    fn told(&self) -> Option<Told> {
        None
    }
    fn counter(repo: RepoId) -> Counter {
        Counter::Deliveries(repo)
    }
    fn all_of(repo: RepoId) -> Key {
        keys::deliveries(repo)
    }
    fn key(repo: RepoId, number: u64) -> Key {
        keys::delivery(repo, DeliveryNumber(number))
    }
    fn unfinished() -> Key {
        keys::unfinished_deliveries()
    }
    fn unfinished_mark(repo: RepoId, number: u64) -> Key {
        keys::unfinished_deliveries_of(repo).number(number)
    }
    fn of_event(event: EventId) -> Key {
        keys::deliveries_of_event(event)
    }
    fn event_mark(event: EventId, repo: RepoId, number: u64) -> Key {
        keys::deliveries_of_event(event).number(repo.0).number(number)
    }
}

impl Store {
    /// Records a new webhook: [`Tx::add_webhook`].
    pub fn add_webhook(&self, webhook: Webhook, secret: Option<&Secret>) -> Result<Webhook, Problem> {
        self.transact(|tx| tx.add_webhook(webhook.clone(), secret))
    }
    /// The webhook of that number.
    pub fn webhook(&self, repo: RepoId, number: WebhookNumber) -> Result<Option<Webhook>, Problem> {
        self.read(|view| view.webhook(repo, number))
    }
    /// Its secret.
    pub fn webhook_secret(&self, repo: RepoId, number: WebhookNumber) -> Result<Option<Secret>, Problem> {
        self.read(|view| view.webhook_secret(repo, number))
    }
    /// All webhooks of a repository, by number.
    pub fn webhooks(&self, repo: RepoId) -> Result<Vec<Webhook>, Problem> {
        self.read(|view| view.webhooks(repo))
    }
    /// Forgets a webhook with its deliveries.
    pub fn remove_webhook(&self, repo: RepoId, number: WebhookNumber) -> Result<(), Problem> {
        self.transact(|tx| tx.remove_webhook(repo, number))
    }
    /// The delivery of that number.
    pub fn delivery(&self, repo: RepoId, number: DeliveryNumber) -> Result<Option<Delivery>, Problem> {
        self.read(|view| view.one(repo, number.0))
    }
    /// Deliveries of one webhook or of all, newest first, those before `before`, at most `limit`.
    pub fn deliveries(
        &self,
        repo: RepoId,
        webhook: Option<WebhookNumber>,
        before: Option<DeliveryNumber>,
        limit: usize,
    ) -> Result<Vec<Delivery>, Problem> {
        self.read(|view| view.deliveries(repo, webhook, before, limit))
    }
    /// Deliveries that are not over, of one repository or of all, oldest first.
    pub fn unfinished_deliveries(&self, repo: Option<RepoId>) -> Result<Vec<Delivery>, Problem> {
        self.read(|view| view.unfinished_deliveries(repo))
    }
    /// Replaces a delivery's record; `Conflict` for who has lost its lease.
    pub fn put_delivery(&self, delivery: &Delivery) -> Result<(), Problem> {
        self.transact(|tx| tx.replace(delivery))
    }
    /// Records a delivery that is asked for again: [`Tx::add_delivery`].
    pub fn add_delivery(&self, delivery: Delivery) -> Result<Delivery, Problem> {
        self.transact(|tx| tx.add_delivery(delivery.clone()))
    }
}
