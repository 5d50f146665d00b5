//! Every bound of this crate in one place. Times are milliseconds unless the name says otherwise.

/// Most documents in one file.
pub const DOCUMENTS_MAX: usize = 5_000;
/// Largest object as JSON, in bytes: what etcd takes by default.
pub const OBJECT_BYTES_MAX: usize = 1_500_000;
/// Deepest nesting of a manifest.
pub const DEPTH_MAX: usize = 96;
/// Most YAML nodes in one file, aliases followed.
pub const YAML_NODES_MAX: usize = 400_000;
/// Most YAML aliases in one file.
pub const YAML_ALIASES_MAX: usize = 2_000;
/// Most YAML events that aliases may replay in one file: what stops a bomb of aliases.
pub const YAML_REPLAY_MAX: usize = 200_000;
/// Most render errors that are told.
pub const RENDER_ERRORS_MAX: usize = 50;
/// Most entries of an inventory that are read.
pub const INVENTORY_MAX: usize = 20_000;

/// Largest kubeconfig, in bytes.
pub const KUBECONFIG_BYTES_MAX: usize = 512 * 1024;
/// Most clusters whose connection pool is kept.
pub const CLUSTERS_MAX: usize = 64;
/// Longest time until a client is made: files of the kubeconfig may be read.
pub const CLIENT_BUILD_MS_MAX: u64 = 30_000;
/// Longest time that an exec plugin of a kubeconfig may run.
pub const EXEC_MS_MAX: u64 = 20_000;
/// Most bytes that an exec plugin may write to its standard output.
pub const EXEC_OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// Most bytes of an exec plugin's standard error that are read.
pub const EXEC_ERRORS_BYTES_MAX: u64 = 16 * 1024;
/// A credential that ends within this time is fetched anew, in seconds.
pub const CREDENTIAL_REST_S: i64 = 60;
/// Longest time until a TCP and TLS connection stands.
pub const CONNECT_MS_MAX: u64 = 5_000;
/// Most attempts at one call that fails for reasons of the cluster.
pub const CALL_ATTEMPTS_MAX: u32 = 5;
/// After this time no further attempt at the same call begins.
pub const CALL_RETRY_MS_MAX: u64 = 20_000;
/// Longest wait for the API server to say that it is well.
pub const WELL_MS_MAX: u64 = 5_000;
/// First pause between attempts; it doubles.
pub const CALL_PAUSE_MS_MIN: u64 = 100;
/// Longest pause between attempts, `Retry-After` included.
pub const CALL_PAUSE_MS_MAX: u64 = 5_000;
/// Most objects of one deploy in flight.
pub const OBJECTS_IN_FLIGHT_MAX: usize = 12;
/// Largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// So many known objects of one kind and namespace are read by one list instead of one by one.
pub const LIST_MIN: usize = 8;
/// Most objects in one page of a list.
pub const PAGE_MAX: usize = 250;
/// Most pages of one list.
pub const PAGES_MAX: usize = 500;
/// Most autoscalers of one namespace that are looked at.
pub const AUTOSCALERS_MAX: usize = 500;
/// Most API groups and versions whose kinds are remembered for one cluster.
pub const GROUP_VERSIONS_MAX: usize = 500;

/// Longest wait for a custom resource definition to be served or a namespace to be active.
pub const ESTABLISH_MS_MAX: u64 = 30_000;
/// Longest time that an apply is tried again because an admission webhook is not up yet.
pub const WEBHOOK_MS_MAX: u64 = 30_000;
/// Longest time that a just made kind is asked for again until the cluster serves it.
pub const KIND_MS_MAX: u64 = 15_000;
/// Longest wait for a deleted object to be gone before it is left to the next deploy.
pub const DELETE_MS_MAX: u64 = 20_000;

/// Rollout: the longest that an object's own progress deadline can stretch it to.
pub const ROLLOUT_MS_MAX: u64 = 3_600_000;
/// Rollout: first pause between two looks; it grows to [`ROLLOUT_PAUSE_MS_MAX`].
pub const ROLLOUT_PAUSE_MS_MIN: u64 = 100;
/// Rollout: longest pause between two looks.
pub const ROLLOUT_PAUSE_MS_MAX: u64 = 1_000;
/// Rollout: pause between two looks at the pods of a workload that is not healthy.
pub const REASON_PAUSE_MS: u64 = 1_000;
/// Rollout: the cluster may be silent this long before the deploy counts as failing for its sake.
pub const SILENCE_MS_MAX: u64 = 30_000;

/// Most pods of one workload that are looked at.
pub const PODS_MAX: usize = 200;
/// Lines of a crashed container's log that are shown.
pub const LOG_LINES_MAX: usize = 5;
/// Bytes of a crashed container's log that are read.
pub const LOG_BYTES_MAX: usize = 2_048;
/// Longest message of an object, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1_000;
/// Longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 500;
/// Most notes of one deploy.
pub const NOTES_MAX: usize = 50;
/// Most fields of one object that a refusal by the Pod Security level names.
pub const VIOLATIONS_TOLD_MAX: usize = 6;
/// Most failures that one error tells.
pub const FAILURES_MAX: usize = 20;
/// Shortest time between two reports of progress.
pub const PROGRESS_PAUSE_MS: u64 = 150;
/// Most field paths of one object that a diff tells.
pub const DIFF_PATHS_MAX: usize = 100;

/// Objects that a deploy may always prune without confirmation.
pub const PRUNE_ALWAYS: usize = 5;
/// Share of the inventory, in percent, that a deploy may prune without confirmation.
pub const PRUNE_PERCENT: usize = 20;

/// Cuts a text to at most `bytes_max` bytes at a character's edge and marks the cut.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = (0..=bytes_max.saturating_sub(3)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cut_text_keeps_whole_characters_and_the_bound() {
        assert_eq!(cut("short", 10), "short");
        let long = "ü".repeat(50);
        let short = cut(&long, 20);
        assert!(short.len() <= 20 && short.ends_with('…'), "{short}");
    }
}
