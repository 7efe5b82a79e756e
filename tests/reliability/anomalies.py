"""What was found wrong with the product on the way, and the test that fails without the remedy.

The rule: an anomaly without a regression test is not mended, and is not listed as such.
"""

from __future__ import annotations

from typing import NamedTuple


class Anomaly(NamedTuple):
    """Something that was found, and the test that would find it again."""

    found: str
    by: str
    test: str


_SIMULATION = "the simulation"
_TRACKED = "the simulation: a tracker that dies, and whose disk refuses"
_BITS = "the fault matrix: flipped bits"
_CLOCKS = "reading every comparison of times"
_MATRIX_LOGS = "the fault matrix: logs made anew and cut"

ANOMALIES = (
    Anomaly(
        "After a loss of power an agent swept its node by an older state than the node's.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_memory_that_fell_back_takes_nothing_down",
    ),
    Anomaly(
        "A snapshot that a restart had interrupted was believed when its log was lost.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_log_that_has_lost_everything_is_no_order_after_a_restart",
    ),
    Anomaly(
        "A delete was told as applied while the node still had the resource.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_delete_is_told_only_once_an_earlier_life_is_undone",
    ),
    Anomaly(
        "A move ended never that was reserved while the one before it was still filling its source.",
        _SIMULATION,
        "tests/rebalance/test_hands.py::test_a_slot_that_is_sealed_behind_the_noted_end_is_copied_from",
    ),
    Anomaly(
        "A clock that had been years ahead hid a long absence.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_clock_that_was_ahead_hides_no_absence",
    ),
    Anomaly(
        "A move that was given up hid the one before it, which was never filled then.",
        _SIMULATION,
        "tests/rebalance/test_hands.py::test_a_host_is_not_said_to_stay_in_a_slot_that_is_still_being_filled",
    ),
    Anomaly(
        "Clearing an earlier stay took what another executor's move was still copied from.",
        _SIMULATION,
        "tests/rebalance/test_hands.py::test_what_a_stream_left_is_not_cleared_while_another_slot_is_filled_from_it",
    ),
    Anomaly(
        "Clearing an earlier stay took what others had copied for the coming one already.",
        _SIMULATION,
        "tests/rebalance/test_sources.py::test_what_is_of_the_coming_stay_is_not_stale",
    ),
    Anomaly(
        "An agent whose host came back looked for ever for a VPC that it still followed.",
        _SIMULATION,
        "tests/nca/test_whereabouts.py::test_a_host_that_came_back_looks_no_more_for_what_it_still_follows",
    ),
    Anomaly(
        "A node kept for ever what a lost state had followed of a VPC.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_vpc_of_an_earlier_life_goes_once_everything_is_whole",
    ),
    Anomaly(
        "A loss of power within seconds of leaving a VPC brought it back as applied.",
        _SIMULATION,
        "tests/nca/test_store.py::test_what_a_node_must_not_fall_back_behind_is_written_through",
    ),
    Anomaly(
        "A VPC was taken down while the applier still refused to delete a port of it.",
        _SIMULATION,
        "tests/nca/test_core.py::test_a_vpc_stays_while_a_port_cannot_be_taken_away",
    ),
    Anomaly(
        "A loss of power took a state back to before it followed a VPC that the node then kept.",
        _SIMULATION,
        "tests/nca/test_store.py::test_what_a_node_must_not_fall_back_behind_is_written_through",
    ),
    Anomaly(
        "An applier that failed as a whole was never told again what to remove.",
        "reading the applier's contract",
        "tests/nca/test_core.py::test_an_applier_that_has_done_nothing_is_told_the_whole_again",
    ),
    Anomaly(
        "What compaction had left of a changeset was not carried by a move, if its sender's clock was ahead.",
        _CLOCKS,
        "tests/rebalance/test_copying.py::test_the_senders_clock_makes_nothing_young_or_old",
    ),
    Anomaly(
        "A sender's clock decided how long compaction waits, and whether brokers take its records at all.",
        _CLOCKS,
        "tests/live/test_topics.py::test_brokers_stamp_records_whatever_their_senders_clock_says",
    ),
    Anomaly(
        "An entry of `sb.moves` by a clock that is behind was old at once, and could be pruned.",
        _CLOCKS,
        "tests/live/test_seeding.py::test_who_announces_first_goes_by_the_brokers_clock",
    ),
    Anomaly(
        "A tracker whose clock had been behind forgot hosts that had reported meanwhile.",
        _CLOCKS,
        "tests/faults/test_clocks.py::test_a_tracker_forgets_by_the_logs_clock",
    ),
    Anomaly(
        "A tracker that was killed had read on, and never heard of changesets that nobody announced.",
        "the fault matrix: a tracker killed",
        "tests/tracker/test_service.py::test_what_a_report_names_is_committed_with_it",
    ),
    Anomaly(
        "Placements in memory were believed for ever while Redis was out of reach, sb.moves only for a month.",
        _SIMULATION,
        "tests/live/test_directory.py::test_what_is_in_memory_is_not_believed_for_ever",
    ),
    Anomaly(
        "A janitor whose clock is ahead erased before the time.",
        _CLOCKS,
        "tests/janitor/test_clock.py::test_the_earlier_clock_counts",
    ),
    Anomaly(
        "One host whose fence could not be told stopped a whole round of moves.",
        "the test of malformed records",
        "tests/rebalance/test_hands.py::test_what_the_fence_cannot_be_told_is_not_decided",
    ),
    Anomaly(
        "A record in `sb.rebalance` that cannot be read ended every executor.",
        "the test of malformed records",
        "tests/rebalance/test_ledger.py::test_garbage_is_counted_and_what_follows_it_goes_on",
    ),
    Anomaly(
        "A connection to Redis that was lost while it was read ended in an error of another kind.",
        "a soak of the test suite",
        "tests/edge/test_redis.py::test_a_connection_that_is_lost_while_it_is_read_is_an_error_that_passes",
    ),
    Anomaly(
        "Topics of a cluster with several bootstrap addresses could not be compared, at random.",
        "the fault matrix: three replicated brokers",
        "tests/edge/test_admin.py::test_a_question_is_asked_again_when_its_broker_turned_out_to_be_another",
    ),
    Anomaly(
        "One flipped bit in the agent's store was loaded as a state that never was.",
        _BITS,
        "tests/nca/test_store.py::test_a_row_that_is_not_what_was_written_is_a_broken_file",
    ),
    Anomaly(
        "A flipped bit in the version of the agent's store kept it from starting for ever.",
        _BITS,
        "tests/nca/test_store.py::test_a_version_that_only_the_head_tells_is_a_broken_file",
    ),
    Anomaly(
        "A text in the agent's store that is no UTF-8 ended the agent at each start.",
        _BITS,
        "tests/nca/test_store.py::test_a_text_that_is_none_is_a_broken_file",
    ),
    Anomaly(
        "A schema in the agent's store that is no UTF-8 ended the agent at each start.",
        _BITS,
        "tests/nca/test_store.py::test_a_schema_that_is_no_text_is_a_broken_file",
    ),
    Anomaly(
        "A key of `!seal` or `!handover` whose epoch has thousands of digits ended the janitor's sweep of its slot.",
        "reading all that turns digits into numbers",
        "tests/janitor/test_facts.py::test_a_control_record_of_no_epoch_is_left_alone",
    ),
    Anomaly(
        "Documents of unit costs, of benchmarks and of stages that were no UTF-8, or deep, ended their command in a traceback; a device in their place took all memory.",
        "fuzzing: measurements",
        "tests/loadgen/test_capacity_plan.py::test_a_file_that_holds_no_unit_costs_is_named",
    ),
    Anomaly(
        "`plan-capacity` with endless, huge or no numbers ended in a traceback.",
        "fuzzing: command line",
        "tests/loadgen/test_capacity_plan.py::test_any_numbers_make_a_plan_or_are_refused_by_name",
    ),
    Anomaly(
        "A history's frame that announces four gigabytes took them, and one that unfolds without end was unfolded.",
        "fuzzing: measurements",
        "tests/loadgen/test_histories_files.py::test_what_a_frame_announces_or_unfolds_to_takes_bounded_memory",
    ),
    Anomaly(
        "A local fleet's topology that was deep, no UTF-8 or no list where one is needed ended `local up` in a traceback, or took minutes.",
        "fuzzing: fleet",
        "tests/local/test_layout.py::test_what_is_no_document_is_a_value_error",
    ),
    Anomaly(
        "A pid file of two words that are none ended each command of a local fleet in a traceback.",
        "fuzzing: fleet",
        "tests/local/test_daemon.py::test_a_pid_file_that_holds_none_is_named",
    ),
    Anomaly(
        "A tracker's address such as `http://[` ended commands in a traceback; a gate that was unknown to what answered failed an assertion.",
        "fuzzing: fleet, tracker answer",
        "tests/tracker/test_client.py::test_an_address_that_is_none_is_named",
    ),
    Anomaly(
        "`hosts gate` with a port that is no UTF-8 ended in a traceback.",
        "fuzzing: command line",
        "tests/tracker/test_client.py::test_a_gate_is_asked_for_by_ids",
    ),
    Anomaly(
        "A time that no calendar holds, told by one node, kept `hosts effective` from showing that node.",
        "reading what a tracker may answer",
        "tests/cli/test_hostile.py::test_a_time_that_no_calendar_holds_is_told_as_a_number",
    ),
    Anomaly(
        "A sign of life in Redis that was no UTF-8, or an answer of another shape, ended `doctor` in a traceback.",
        "fuzzing: signs",
        "tests/directory/test_rollcall.py::test_what_is_no_sign_is_passed_by",
    ),
    Anomaly(
        "`Accept: application/openmetrics-text; version=x` broke `/metrics` off without an answer.",
        "fuzzing: http",
        "tests/nca/test_health.py::test_metrics_are_told_whatever_is_accepted",
    ),
    Anomaly(
        "A document of another class of scope in an applier's tree was no error of ours to who read the tree.",
        "fuzzing: tree",
        "tests/nca/appliers/test_tree.py::test_a_document_that_is_none_is_named",
    ),
    Anomaly(
        "`--listen` and `--health` with a port of thousands of digits, or of another alphabet's, ended in a traceback.",
        "fuzzing: words",
        "tests/cli/test_hostile.py::test_a_bad_value_is_named",
    ),
    Anomaly(
        "A wait of `nan` seconds never ended.",
        "reading the command line's numbers",
        "tests/cli/test_hostile.py::test_a_bad_value_is_named",
    ),
    Anomaly(
        "Messages and histograms of the load generator that were no UTF-8, or deep, ended it in a traceback.",
        "fuzzing: messages",
        "tests/loadgen/test_coordination_messages.py::test_what_is_no_message_is_a_wire_error",
    ),
    Anomaly(
        "What is no place, answered by Redis to a wish for one, would have been written into a journal; one answer too few ended the command in a traceback.",
        "reading what a hostile Redis may answer",
        "tests/directory/test_index.py::test_what_is_no_place_is_no_answer",
    ),
    Anomaly(
        "Agents that had lost their whole cluster tried to reach it a dozen times a second each, in step.",
        "the fault matrix: a crowd that comes back",
        "tests/faults/test_turnstile.py::test_many_try_at_times_of_their_own",
    ),
    Anomaly(
        "Whoever knew the leader of a time before a crash asked for the ends of slots in vain, for minutes.",
        "the soak: hosts that move while a broker is killed",
        "tests/edge/test_slots.py::test_a_client_that_knows_an_old_leader_is_not_asked_again",
    ),
    Anomaly(
        "A Redis whose list of names never ends kept `doctor` looking for ever.",
        "fuzzing, guided: signs",
        "tests/directory/test_rollcall.py::test_a_list_that_never_ends_is_read_for_a_while",
    ),
    Anomaly(
        "An agent never rested whose host had moved to a cluster without its VPC, and back before that was found.",
        "the simulation: hosts that move away and back",
        "tests/nca/test_whereabouts.py::test_a_host_that_came_back_looks_no_more_for_what_it_still_follows",
    ),
    Anomaly(
        "A move back cleared the old slot while the move away was still filled from it.",
        "the simulation: moves right behind each other",
        "tests/rebalance/test_hands.py::test_what_a_stream_left_is_not_cleared_while_another_slot_is_filled_from_it",
    ),
    Anomaly(
        "An overtaken executor's nulls landed behind what had been copied for the same move; a delete was forgotten.",
        "the simulation: executors that are overtaken",
        "tests/rebalance/test_sources.py::test_what_is_of_the_coming_stay_is_not_stale",
    ),
    Anomaly(
        "An agent read on in the midst of a topic made anew under its name, and missed what stood before.",
        _MATRIX_LOGS,
        "tests/nca/test_core.py::test_a_topic_made_anew_is_a_resync",
    ),
    Anomaly(
        "One record in a log that had lost the others took down everything else of a node.",
        _MATRIX_LOGS,
        "tests/nca/test_core.py::test_what_a_lost_log_told_stays_until_the_new_one_speaks_of_it",
    ),
    Anomaly(
        "A publisher that slept accepted changes by a log of moves made anew and outgrown; they were lost.",
        _MATRIX_LOGS,
        "tests/faults/test_logs.py::test_moves_made_anew_while_a_publisher_sleeps",
    ),
    Anomaly(
        "A rebuild emptied Redis before it found that a journal had lost its beginning.",
        _MATRIX_LOGS,
        "tests/faults/test_logs.py::test_a_journal_cut_under_everybody",
    ),
    Anomaly(
        "A receipt that could not be written to standard output was told without saying what it was.",
        "the fault matrix: disks",
        "tests/faults/test_disks.py::test_publishing_where_nothing_can_be_written",
    ),
    Anomaly(
        "What settled while a tracker's disk refused was let go of unwritten: that changeset stood open until a restart.",
        _TRACKED,
        "tests/tracker/test_service.py::test_what_settled_while_the_disk_refused_is_written_later",
    ),
    Anomaly(
        "A tracker answered by what it had heard and its disk had refused; a restart took that back.",
        _TRACKED,
        "tests/tracker/test_service.py::test_nothing_is_answered_that_the_disk_has_refused",
    ),
    Anomaly(
        "An inventory made a tracker forget deletes; who was announced late kept silent for ever.",
        _TRACKED,
        "tests/tracker/test_service.py::test_an_announcement_that_comes_late_finds_what_was_deleted_since",
    ),
    Anomaly(
        "A leaving that a tracker read late took what a host had told since it came back; gates stayed shut for a day.",
        _TRACKED,
        "tests/tracker/test_store.py::test_who_has_come_back_keeps_what_he_has_told_since",
    ),
    Anomaly(
        "Of a host whose clock had been years ahead a tracker believed no later inventory.",
        "reading what the simulation's tracker rests on",
        "tests/tracker/test_service.py::test_a_host_whose_clock_was_years_ahead_is_believed_again",
    ),
    Anomaly(
        "A tracker that no log had told the time yet forgot by its machine's clock.",
        "reading what the simulation's tracker rests on",
        "tests/tracker/test_service.py::test_nothing_is_too_old_while_no_log_has_told_the_time",
    ),
    Anomaly(
        "A rebuild emptied Redis whose journal had been made anew; what only Redis still knew was gone.",
        _MATRIX_LOGS,
        "tests/live/test_directory_lost.py::test_what_redis_alone_knows_is_named_and_kept",
    ),
    Anomaly(
        "A plan cut out of the ledger behind its decision left a host that nobody led on, for good.",
        _MATRIX_LOGS,
        "tests/faults/test_logs.py::test_plans_cut_behind_the_decision",
    ),
    Anomaly(
        "An executor whose plan had gone from the ledger went round for ever.",
        _MATRIX_LOGS,
        "tests/rebalance/test_ledger.py::test_who_carries_on_a_plan_that_is_gone_is_told",
    ),
    Anomaly(
        "What a lost plan had reserved stayed counted, and in the way of the next, until a rebuild.",
        _MATRIX_LOGS,
        "tests/live/test_shards.py::test_what_a_lost_plan_has_reserved_is_given_up",
    ),
    Anomaly(
        "An agent that was off while its log lost its tail and grew again read on at its old offset, and never heard what had been accepted below that.",
        _SIMULATION,
        "tests/faults/test_logs.py::test_slots_that_have_lost_their_tails",
    ),
    Anomaly(
        "A janitor died with its client library: an administrator's client was let go of while an answer was on its way.",
        "the soak: a broker that was frozen",
        "tests/live/test_answers.py::test_an_answer_that_comes_too_late_ends_nobody",
    ),
    Anomaly(
        "A tracker and a janitor that had been off read on past what was accepted, in a log that had lost its tail and grown again.",
        "reading who else remembers positions",
        "tests/live/test_cut_tails.py::test_a_tracker_reads_anew_what_was_cut_while_it_was_off",
    ),
    Anomaly(
        "An agent that died between a scope's last delete and its link left a tree that no reader could read.",
        "a reader on a crowded machine",
        "tests/nca/appliers/test_file.py::test_a_crash_leaves_the_old_state_or_the_new_one",
    ),
)
