//! The gate before the manifests: what ECR's scan of the pushed image has found.

use slipway_core::build::PushedImage;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Hooks, Job};
use crate::error::HookError;
use crate::limits::{SCAN_ASKED_EVERY, SCAN_WAIT};
use crate::registry::{RegistryTarget, Scan};

impl Hooks {
    /// Waits until the registry has scanned the image, where it has a gate, and looks at what was found. Asked again, it
    /// answers at once.
    ///
    /// # Errors
    /// [`HookError::Findings`] for findings as bad as the gate's level; [`HookError::NoScan`] where none comes;
    /// [`HookError::Stopped`].
    pub async fn check_scan(
        &self,
        job: &Job,
        target: &RegistryTarget,
        pushed: &PushedImage,
        stop: &CancellationToken,
    ) -> Result<(), HookError> {
        let Some(level) = target.registry.ecr.scan_gate else { return Ok(()) };
        let image = format!("{}@{}", pushed.name, pushed.digest);
        let never = |why: String| HookError::NoScan { image: image.clone(), why };
        let (begun, mut started) = (Instant::now(), false);
        loop {
            match self.registries.scan(target, &pushed.digest).await? {
                Scan::Done(findings) => {
                    let Some(found) = findings.at(level) else {
                        job.log
                            .line(&format!("the scan of {image} found nothing {} or worse", level.as_str()))
                            .await;
                        return Ok(());
                    };
                    return Err(HookError::Findings { image, found, level: level.as_str() });
                }
                Scan::Never(why) => return Err(never(why)),
                Scan::None if !started => {
                    self.registries.start_scan(target, &pushed.digest).await?;
                    started = true;
                    job.log.line(&format!("waiting for the scan of {image}")).await;
                }
                Scan::None | Scan::Runs => {}
            }
            if begun.elapsed() >= SCAN_WAIT {
                return Err(never(format!("it was not over after {} minutes", SCAN_WAIT.as_secs() / 60)));
            }
            tokio::select! {
                () = tokio::time::sleep(SCAN_ASKED_EVERY) => {}
                () = stop.cancelled() => return Err(HookError::Stopped),
            }
        }
    }
}
