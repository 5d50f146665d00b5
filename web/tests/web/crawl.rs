//! Follows every link of every page: none leads nowhere, none breaks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::world::{As, World};

/// Most pages that the crawl may visit; the address space of this small server must be smaller.
const PAGES_MAX: usize = 600;

/// The addresses in `href`, `src` and forms that only read.
fn links(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in ["href=\"", "src=\""] {
        for rest in html.split(attribute).skip(1) {
            let Some(raw) = rest.split('"').next() else { continue };
            found.push(raw.replace("&amp;", "&").replace("&#39;", "'").replace("&quot;", "\""));
        }
    }
    found
}

async fn crawl(world: &World, who: &As) -> BTreeMap<String, u16> {
    let mut todo = VecDeque::from(["/".to_owned()]);
    let mut seen: BTreeSet<String> = todo.iter().cloned().collect();
    let mut statuses = BTreeMap::new();
    while let Some(path) = todo.pop_front() {
        assert!(statuses.len() < PAGES_MAX, "the server has no end of pages");
        let reply = world.get(&path, who).await;
        statuses.insert(path.clone(), reply.status.as_u16());
        if !reply.header("content-type").starts_with("text/html") {
            continue;
        }
        let text = reply.text();
        assert!(text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"), "{path}");
        for link in links(&text) {
            let here = link.split('#').next().unwrap_or_default();
            if here.starts_with('/') && !here.starts_with("//") && seen.insert(here.to_owned()) {
                todo.push_back(here.to_owned());
            } else if !here.is_empty() && !here.starts_with('/') {
                assert!(
                    here.starts_with("http") || here.starts_with("mailto:") || here == "data:,",
                    "{path} has {link}"
                );
            }
        }
    }
    statuses
}

#[tokio::test]
async fn no_link_leads_nowhere() {
    let world = World::new();
    let mut sizes = Vec::new();
    for who in
        [As::Nobody, world.sign_in("rita").await, world.sign_in("adam").await, world.sign_in("olga").await]
    {
        let statuses = crawl(&world, &who).await;
        let bad: Vec<_> = statuses.iter().filter(|(_, status)| **status >= 400).collect();
        assert!(bad.is_empty(), "{who:?}: {bad:?}");
        sizes.push(statuses.len());
    }
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[3], "who may see more finds more: {sizes:?}");
}
