//! What is there of what is wanted: one list for each kind and namespace of which much was applied before, one read for each
//! other object, and the autoscalers of namespaces in which something is scaled.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use slipway_core::target::ClusterBinding;

use crate::apply::Live;
use crate::cluster::Connection;
use crate::error::{DeployError, Trouble};
use crate::kinds::segment;
use crate::limits::{AUTOSCALERS_MAX, LIST_MIN, PAGE_MAX, PAGES_MAX};
use crate::owner::PART_OF;
use crate::place::Wanted;
use crate::run::Run;
use crate::shared::{Scalers, Shared, is_scalable, scaled_by};
use crate::takeover::Managers;
use crate::wire::{Call, CallError};

/// Namespaces whose autoscalers may not be seen.
pub(crate) type Unseen = BTreeSet<String>;

impl Connection {
    /// What the objects of a binding share with others now.
    pub(crate) async fn shared(
        &self,
        binding: &ClusterBinding,
        wanted: &[Wanted],
    ) -> Result<(Shared, Unseen), DeployError> {
        let (rules, managers) =
            (binding.rules.ignore.clone(), Managers(binding.rules.take_over_from.clone()));
        let scaled = wanted.iter().filter(|w| !w.new_kind && is_scalable(&w.payload));
        let spaces: BTreeSet<&str> = scaled.filter_map(|w| w.key.namespace.as_deref()).collect();
        let (mut scalers, mut unseen) = (Scalers::new(), Unseen::new());
        for space in spaces {
            let path = format!(
                "/apis/autoscaling/v1/namespaces/{}/horizontalpodautoscalers?limit={AUTOSCALERS_MAX}",
                segment(space)
            );
            match self.call(&Call::read(path)).await {
                Ok(answer) => {
                    let list = answer.object().map_err(|e| self.infra(&e))?;
                    let all = list["items"].as_array().into_iter().flatten();
                    scalers.extend(all.filter_map(|a| scaled_by(a, space)));
                }
                Err(e) if e.is_infra() => return Err(self.infra(&e)),
                Err(e) if e.code() == 404 => {}
                Err(_) => {
                    unseen.insert(space.to_owned());
                }
            }
        }
        let own = wanted.iter().filter(|w| w.key.kind == "HorizontalPodAutoscaler");
        scalers.extend(own.filter_map(|w| scaled_by(&w.payload, w.key.namespace.as_deref()?)));
        Ok((Shared { scalers, rules, managers }, unseen))
    }
}

impl Run<'_> {
    /// Every wanted object as it is in the cluster, in their order.
    pub(crate) async fn read_all(&self) -> Result<Vec<Option<Live>>, DeployError> {
        let mut live: Vec<Option<Live>> = self.wanted.iter().map(|_| None).collect();
        let mut alone = Vec::new();
        for (collection, members) in self.collections() {
            if members.len() < LIST_MIN {
                alone.extend(members);
                continue;
            }
            let mut found = self.list(&collection, &members).await?;
            for i in members {
                // What has lost its mark, or is new, is asked for by name.
                match (found.remove(&i), live.get_mut(i)) {
                    (Some(one), Some(slot)) => *slot = Some(one),
                    _ => alone.push(i),
                }
            }
        }
        let (read, refused) = self
            .each(alone, async |i| match self.wanted.get(i) {
                Some(w) => self.connection.read_live(w, &self.terms).await,
                None => Ok(None),
            })
            .await?;
        self.refuse(refused)?;
        for (i, one) in read {
            if let Some(slot) = live.get_mut(i) {
                *slot = one;
            }
        }
        Ok(live)
    }

    /// What is wanted of kinds that are served, by collection; those that were not applied before each by itself.
    fn collections(&self) -> BTreeMap<String, Vec<usize>> {
        let mut all: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, w) in self.wanted.iter().enumerate().filter(|(_, w)| !w.new_kind) {
            let known = self.known.has(&w.key);
            let name = if known { w.kind.collection(w.key.namespace.as_deref()) } else { w.path() };
            all.entry(name).or_default().push(i);
        }
        all
    }

    /// The objects of a collection that carry this owner's label; empty where they cannot be listed.
    async fn list(&self, collection: &str, members: &[usize]) -> Result<HashMap<usize, Live>, DeployError> {
        let name = |i: usize| self.wanted.get(i).map(|w| (w.key.name.as_str(), i));
        let names: HashMap<&str, usize> = members.iter().filter_map(|i| name(*i)).collect();
        let label = segment(&format!("{PART_OF}={}", self.terms.owner.part_of()));
        let (mut found, mut from) = (HashMap::new(), String::new());
        for _ in 0..PAGES_MAX {
            if self.stop.is_cancelled() {
                return Err(DeployError::Stopped);
            }
            let path = format!("{collection}?labelSelector={label}&limit={PAGE_MAX}{from}");
            let mut page = match self.page(&path).await {
                Ok(page) => page,
                Err(Trouble::Cluster(error)) => return Err(error),
                // Not to be listed, or changed too much meanwhile: each is asked for by name.
                Err(_) => return Ok(HashMap::new()),
            };
            let items = match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            for mut item in items {
                let i = item["metadata"]["name"].as_str().and_then(|n| names.get(n)).copied();
                if let Some((i, wanted)) = i.and_then(|i| Some((i, self.wanted.get(i)?))) {
                    // The items of a list do not say what the list says.
                    for key in ["apiVersion", "kind"] {
                        item[key] = wanted.payload[key].clone();
                    }
                    found.insert(i, Live::of(wanted, &self.terms, &item));
                }
            }
            match page["metadata"]["continue"].as_str().filter(|c| !c.is_empty()) {
                Some(more) => from = format!("&continue={}", segment(more)),
                None => break,
            }
        }
        Ok(found)
    }

    async fn page(&self, path: &str) -> Result<Value, Trouble> {
        let infra = |e: CallError| match e.is_infra() {
            true => Trouble::Cluster(self.connection.infra(&e)),
            false => Trouble::Refused(e.to_string()),
        };
        self.connection.call(&Call::read(path)).await.map_err(infra)?.object().map_err(infra)
    }
}
