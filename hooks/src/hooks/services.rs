//! The services of a test: started before it in its own network, removed after it.

use std::time::Duration;

use futures_util::future::try_join_all;
use slipway_core::ceilings::{Bytes, Capabilities};
use slipway_core::spec::{ServiceSpec, TestSpec};
use tokio_util::sync::CancellationToken;

use super::testing::{Environment, environment};
use super::{Hooks, Job};
use crate::engine::Labels;
use crate::engine::service::ServiceRun;
use crate::error::HookError;
use crate::limits::{SERVICE_LINES, TEST_PIDS};
use crate::permit;

/// Services that run.
pub(super) struct Services {
    running: Vec<(String, String)>,
}

/// Refuses what no service of this repository may have, and gives what it is given.
pub(super) fn check(job: &Job, name: &str, spec: &ServiceSpec) -> Result<Environment, HookError> {
    if job.permit.forbidden().has(&spec.image) {
        return Err(permit::not_yours(&format!("slipway.toml: the service {name}"), &spec.image));
    }
    environment(job, &spec.env, &spec.secrets)
}

impl Hooks {
    /// Starts them all at once and waits until each is ready. What has been started is gone where one fails.
    pub(super) async fn start_services(
        &self,
        job: &Job,
        test: &TestSpec,
        (network, labels): (&str, &Labels),
        stop: &CancellationToken,
    ) -> Result<Services, HookError> {
        let mut services = Services { running: Vec::new() };
        let limit = Duration::from_millis(test.timeout_ms);
        let late = || HookError::TimedOut {
            what: "starting the services".into(),
            limit,
            setting: Some("test.timeout"),
        };
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => Err(HookError::Stopped),
            done = tokio::time::timeout(limit, self.start_all(job, test, (network, labels), &mut services)) => {
                done.unwrap_or_else(|_| Err(late()))
            }
        };
        match outcome {
            Ok(()) => Ok(services),
            Err(e) => {
                if !e.is_stopped() {
                    self.tell_last_words(job, &services).await;
                }
                self.end_services(services).await;
                Err(e)
            }
        }
    }

    async fn start_all(
        &self,
        job: &Job,
        test: &TestSpec,
        (network, labels): (&str, &Labels),
        services: &mut Services,
    ) -> Result<(), HookError> {
        let mut ready = Vec::new();
        for (name, spec) in &test.services {
            let run = self.service_run(job, (name, spec), network, labels)?;
            self.pull(job, &run).await?;
            job.log.line(&format!("service {name}: {}", run.image)).await;
            let id = self.engine.start_service(&run).await?;
            services.running.push((name.clone(), id.clone()));
            ready.push(async move { self.engine.wait_until_ready(&run, &id).await });
        }
        try_join_all(ready).await.map(drop)
    }

    fn service_run(
        &self,
        job: &Job,
        (name, spec): (&str, &ServiceSpec),
        network: &str,
        labels: &Labels,
    ) -> Result<ServiceRun, HookError> {
        let (variables, files) = check(job, name, spec)?;
        let ceilings = &job.permit.tests;
        let usual = Capabilities::usual();
        let capabilities = ceilings.capabilities.as_ref().map_or(usual.clone(), |most| usual.common(most));
        let memory = ceilings.memory.unwrap_or(Bytes(u64::MAX)).0.min(spec.memory_bytes);
        Ok(ServiceRun {
            name: name.to_owned(),
            image: spec.image.clone(),
            command: spec.command.clone(),
            variables,
            files,
            capabilities: capabilities.names().map(str::to_owned).collect(),
            memory_bytes: memory,
            pids: ceilings.pids.map_or(TEST_PIDS, |pids| pids.0),
            network: network.to_owned(),
            container: self.marks.container(job.id()),
            labels: labels.clone(),
            ready: spec.ready.clone(),
            ready_timeout: Duration::from_millis(spec.ready_timeout_ms),
        })
    }

    /// Pulls a service's image, with the login for its registry if there is one.
    async fn pull(&self, job: &Job, run: &ServiceRun) -> Result<(), HookError> {
        let target = job.logins.iter().find(|target| {
            run.image.strip_prefix(&target.registry.host).is_some_and(|rest| rest.starts_with('/'))
        });
        let login = match target {
            Some(target) => self.registries.login(target).await?.map(|login| (&target.registry.host, login)),
            None => None,
        };
        if let Some((_, login)) = &login {
            job.log.hide(login.password.clone());
        }
        self.engine.need_service_image(run, login.as_ref().map(|(host, login)| (host.as_str(), login))).await
    }

    /// What they said at last, where a test has failed: its cause may be there.
    pub(super) async fn tell_last_words(&self, job: &Job, services: &Services) {
        for (name, id) in &services.running {
            let words = self.engine.last_words(id, SERVICE_LINES).await;
            if words.is_empty() {
                continue;
            }
            job.log.line(&format!("the last lines of the service {name}:")).await;
            for line in words {
                job.log.output(&[format!("{name} | ").as_bytes(), &line].concat()).await;
            }
        }
    }

    /// Removes them. What the engine does not remove now is found again by its name.
    pub(super) async fn end_services(&self, services: Services) {
        for (name, id) in services.running {
            if let Err(e) = self.engine.remove_container(&id).await {
                tracing::warn!(service = %name, container = %id, error = %e, "a service is left over");
            }
        }
    }
}
