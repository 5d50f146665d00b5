//! Tests of the store through its public surface, on a real disk.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "store/contract/mod.rs"]
mod contract;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/damage.rs"]
mod damage;
#[path = "store/model/mod.rs"]
mod model;
#[path = "store/on_disk.rs"]
mod on_disk;
#[path = "store/samples.rs"]
mod samples;
#[path = "store/webhooks.rs"]
mod webhooks;

/// The contract that the store keeps on every engine, one test a case.
macro_rules! keeps_the_contract {
    ($($subject:ident: $($case:ident),* $(,)?;)*) => {
        mod on_sled {
            $($(
                #[test]
                fn $case() {
                    crate::contract::$subject::$case(&crate::samples::Home::new().open());
                }
            )*)*
        }
        mod in_memory {
            $($(
                #[test]
                fn $case() {
                    crate::contract::$subject::$case(&crate::samples::Home::new().in_memory());
                }
            )*)*
        }
    };
}

keeps_the_contract!(
    people:
        users_are_known_by_name,
        the_last_owner_cannot_go,
        a_removed_user_leaves_nothing_to_the_next_of_that_name,
        a_key_belongs_to_one_user,
        a_user_has_a_bounded_number_of_keys_and_tokens,
        a_token_is_found_by_the_hash_of_its_value,
        a_session_ends_when_it_expires,
        a_user_has_a_bounded_number_of_sessions,
        a_user_and_their_keys_are_one_change,
        what_was_made_with_a_token_or_a_key_ends_with_it,
        a_removed_user_takes_along_what_was_made_with_theirs,
        a_child_never_outlives_its_parent,
        a_long_line_ends_as_a_short_one,
        people_are_listed_in_pages;
    statuses:
        statuses_are_of_one_commit_and_a_later_one_takes_the_place,
        a_commit_has_so_many_statuses_and_no_more;
    schedules:
        schedules_are_a_repository_s_and_go_with_it;
    repositories:
        a_repository_keeps_its_id_when_its_name_changes,
        ids_and_numbers_are_never_used_again,
        a_removed_repository_leaves_nothing,
        what_an_account_made_is_counted_while_it_is_there,
        roles_are_given_and_taken,
        changes_at_the_same_time_never_undo_each_other,
        a_repository_and_its_makers_role_are_one_change,
        a_former_name_leads_to_its_repository_until_somebody_takes_it,
        pushes_and_changes_are_noted_in_the_record,
        repositories_and_grants_are_listed_in_pages;
    targets:
        secrets_come_back_as_they_were,
        a_target_in_use_cannot_go,
        bindings_need_both_ends,
        an_inventory_is_replaced_whole;
    events:
        an_event_is_accepted_once,
        many_at_once_accept_it_once_and_share_no_number,
        only_what_moved_is_owed,
        an_abandoned_event_owes_nothing,
        intended_events_are_found_oldest_first,
        what_is_known_to_be_broken_is_recorded_as_failed,
        old_events_go_and_unsettled_ones_stay,
        events_are_listed_in_pages,
        an_event_is_leased_until_it_is_settled;
    work:
        builds_are_listed_newest_first_in_pages,
        unfinished_work_is_found_until_it_is_final,
        work_that_nobody_recorded_cannot_be_replaced,
        work_is_found_by_its_commit_until_it_goes,
        deploys_can_be_asked_for_without_an_event,
        records_of_any_length_come_back,
        too_large_a_record_is_refused_and_changes_nothing;
);
