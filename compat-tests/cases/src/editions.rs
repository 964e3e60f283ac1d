//! Editions: which cases there were when, so that a new case breaks nobody's build by surprise.
//!
//! Whoever tests a runtime chooses an edition, and is held to the cases that came with it or before. Later ones are
//! checked too, and reported as advice. A new case goes to the edition that is not out yet; moving to it is a decision,
//! and adding one is a minor version of this crate. Taking a case away, or making it stricter, is a major one.
//!
//! Not here: what the cases are. Only their names are, because [`conformance!`](crate::conformance) makes a test of each.

use crate::case::Case;

/// A set of cases that does not change any more. Later ones include the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Edition {
    /// The first: everything that was there when the suite came out.
    E2026,
    /// What is to come: cases that no edition has yet. They may change, or go.
    Next,
}

impl Edition {
    /// The edition that `case` came with.
    #[must_use]
    pub fn of(case: &Case) -> Edition {
        let known = E2026
            .iter()
            .any(|(group, names)| *group == case.group && names.contains(&case.name));
        if known { Edition::E2026 } else { Edition::Next }
    }
}

/// Gives every name of the first edition to a macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! __e2026 {
    ($then:ident $arguments:tt) => {
        $crate::$then! { $arguments
            readiness {
                fresh_ends_are_writable_at_once fresh_ends_are_not_readable data_left_over_completes_the_next_wait
                a_drained_source_is_pending_until_the_next_byte readable_tells_the_truth_behind_its_back
                poll_readable_tells_the_truth_behind_its_back writable_tells_the_truth_behind_its_back
                a_full_buffer_is_writable_once_drained either_direction_works_after_the_other_fired
                read_with_tries_again_only_when_ready an_event_during_the_attempt_is_not_forgotten
                a_silent_source_wakes_nobody io_that_never_waits_still_yields
            }
            waiters {
                ten_waiters_of_one_source_all_wake dropping_one_waiter_keeps_the_others the_displaced_waker_is_woken
                polling_twice_rings_nothing a_wait_handed_to_another_task_wakes_that_one slots_and_futures_wake_together
                a_reader_and_a_writer_wait_side_by_side fifty_waiters_of_a_listener_all_wake
                a_hundred_sources_each_hear_their_own an_owned_wait_outlives_the_borrow
            }
            transfer {
                megabytes_both_ways_at_once vectored_io_keeps_the_order_of_slices a_thousand_round_trips_of_one_byte
                large_writes_go_through_small_reads waiting_futures_are_small
            }
            connect {
                both_ends_agree_on_their_addresses a_refused_connect_says_so a_fresh_connection_is_no_hangup
                a_listener_tells_of_earlier_connections incoming_is_polled_no_more_than_needed
                fifty_accepts_get_fifty_connections one_wakeup_accepts_a_whole_backlog peeking_leaves_the_bytes_there
                connect_and_accept_share_one_task
            }
            hangups {
                dropping_the_wrapper_closes_the_connection dropping_after_a_wait_closes_the_connection
                the_inner_value_is_handed_out_open other_owners_keep_the_descriptor_open a_waiting_reader_sees_the_end
                a_waiting_writer_sees_the_reader_go a_half_close_leaves_the_answer_open
                a_half_close_wakes_a_waiting_reader the_last_bytes_arrive_before_the_end the_end_stays_the_end
                a_reset_reaches_a_waiting_reader shutdown_after_a_reset_ends closing_can_be_repeated
                peer_closed_tells_the_end_and_nothing_else
            }
            datagrams {
                connected_sockets_exchange_datagrams unconnected_sockets_learn_the_sender peeking_twice_takes_nothing
                an_empty_datagram_is_not_an_end a_longer_datagram_is_cut wait_and_try_five_rounds
                a_closed_port_is_an_error_not_a_hang one_socket_serves_a_sender_and_a_receiver
                a_burst_is_received_to_the_last a_plain_thread_can_use_a_wrapped_socket
            }
            unix {
                unix_streams_connect_by_path a_path_without_a_listener_is_refused a_connect_whose_listener_vanishes_ends
                incoming_yields_unix_streams a_unix_reader_sees_the_writer_go a_unix_writer_sees_the_reader_go
                a_unix_half_close_leaves_the_answer_open a_full_unix_stream_is_exact_about_room
                unix_datagram_pairs_exchange_datagrams bound_unix_datagrams_learn_the_sender
                unix_datagrams_are_sent_until_full_and_all_arrive unix_wait_and_try_five_rounds abstract_addresses_work
            }
            pipes {
                a_fifo_reader_waits_for_its_first_writer a_fifo_ends_and_begins_again a_fifo_opened_both_ways_never_ends
                a_fifo_writer_opened_both_ways_needs_no_reader a_pipe_writer_sees_the_reader_go
                new_makes_it_non_blocking into_inner_stays_non_blocking_as_documented into_blocking_inner_blocks_again
                a_childs_output_arrives_whole_and_ends a_childs_input_ends_when_dropped
            }
            timers {
                no_timer_is_early short_timers_are_not_rounded_up a_deadline_of_now_fires_at_once
                an_interval_does_not_drift an_interval_can_begin_at_an_instant a_timer_can_be_moved_later
                a_timer_can_be_moved_earlier a_fired_timer_can_be_set_again a_timer_set_to_the_past_is_ready
                far_deadlines_neither_panic_nor_fire never_is_never_until_it_is_set a_thousand_zero_timers_end
                ten_thousand_timers_all_fire dropping_a_moved_timer_keeps_its_neighbour a_wake_may_drop_a_hundred_timers
                a_timer_polled_here_can_be_awaited_there a_timer_moved_while_awaited_wakes_its_task
                an_interval_set_while_awaited_wakes_its_task an_earlier_timer_cuts_a_long_sleep_short
                a_dropped_timer_wakes_nobody timeout_gives_the_value_or_elapsed missed_ticks_burst_by_default
                missed_ticks_can_be_delayed missed_ticks_can_be_skipped foreign_timers_fire_beside_ours
            }
            block_on {
                nothing_is_polled_after_it_was_ready a_wake_during_the_poll_is_not_lost a_wake_from_a_thread_is_not_lost
                a_future_that_is_not_woken_is_not_polled a_wake_after_the_end_is_harmless
                a_stale_wake_does_not_reach_the_next_run a_hundred_runs_follow_each_other
                nested_runs_have_wakers_of_their_own an_inner_wake_does_not_poll_the_outer
                an_outer_wake_does_not_poll_the_inner io_goes_on_in_a_nested_run runs_on_several_threads_go_on_together
            }
            executor {
                a_spawned_task_is_polled_without_a_wake a_task_that_wakes_itself_is_polled_again
                a_task_is_not_polled_after_its_end a_task_is_polled_by_one_thread_at_a_time no_wake_of_a_storm_is_lost
                a_thread_wakes_a_runtime_that_sleeps a_task_that_ended_is_dropped_once
                a_task_left_behind_is_dropped_with_the_run a_local_task_stays_on_its_thread
                a_waker_may_outlive_its_runtime a_task_that_panics_spares_the_others a_busy_task_starves_nobody
                a_task_may_spawn_tasks a_thread_may_spawn_tasks a_hundred_thousand_tasks_end
            }
            wakers {
                a_wake_may_drop_the_task_and_its_source a_dropped_waker_may_drop_another_source
                a_replaced_waker_may_drop_another_source a_wake_may_use_its_own_source
                a_wake_may_make_sources_and_timers a_waker_that_panics_harms_nobody_else
                a_timers_waker_that_panics_harms_nobody_else
            }
            cancel {
                a_dropped_read_takes_no_bytes a_dropped_accept_loses_no_connection
                a_dropped_connect_leaves_the_listener_working a_thousand_abandoned_waits_leave_nothing
                an_abandoned_write_wait_leaves_nothing a_select_loop_serves_both_sides
                a_read_can_be_timed_out_again_and_again a_cancelled_task_closes_its_source
                a_wait_dropped_after_its_wake_is_harmless
            }
            panics {
                a_panic_in_the_root_comes_out_of_run a_panic_in_an_operation_leaves_the_source_usable
                a_source_dropped_by_a_panic_is_closed a_source_outlives_a_run_that_panicked
            }
            tries {
                try_read_with_asks_only_when_ready try_write_with_asks_only_when_ready ready_waits_for_what_was_asked
                ready_tells_both_directions ready_tells_the_end priority_tells_of_out_of_band_data
                error_tells_of_a_refused_datagram
            }
            moving {
                a_wait_begun_here_ends_there a_half_read_message_moves_along a_source_goes_on_after_its_first_run
                the_end_of_one_run_strands_no_waiter_elsewhere a_reader_here_and_a_writer_there
                two_runs_answer_each_other a_source_commutes_between_two_runs a_plain_thread_and_a_run_share_a_source
                a_plain_thread_needs_no_runtime a_busy_run_does_not_delay_another a_source_moves_into_a_spawned_task
                fifty_tasks_converse_at_once a_local_task_can_wait
            }
            shutdown {
                a_private_reactor_delivers_what_its_owner_drives shutdown_wakes_and_fails_its_waiters
                waits_after_the_end_fail_at_once the_poll_functions_fail_after_the_end
                an_accept_after_the_end_fails_at_once a_wait_that_races_with_the_end_is_woken
                dropping_the_last_handle_is_the_end tries_after_the_end_do_not_panic
                an_unpinned_source_outlives_a_reactor evict_sends_waiters_elsewhere a_timer_outlives_a_reactor
                every_live_reactor_can_be_listed_and_printed
            }
            limits {
                a_descriptor_that_is_not_open_is_refused try_new_gives_the_object_back
                the_same_descriptor_twice_is_refused a_duplicate_descriptor_is_a_source_of_its_own
                a_descriptor_can_be_wrapped_again a_regular_file_is_refused_with_advice two_thousand_sources_all_wake
                descriptors_are_given_back accept_without_descriptors_fails_and_recovers
                a_first_wait_without_descriptors_is_an_error a_descriptor_closed_behind_our_back_strands_nobody
                the_successor_of_a_closed_descriptor_works a_thousand_descriptors_closed_first_leave_nothing
            }
        }
    };
}

/// The names as values.
#[doc(hidden)]
#[macro_export]
macro_rules! __names {
    (() $($group:ident { $($case:ident)* })*) => {
        &[$((stringify!($group), &[$(stringify!($case)),*])),*]
    };
}

/// Every name of the first edition, by group.
pub(crate) const E2026: &[(&str, &[&str])] = __e2026!(__names());
