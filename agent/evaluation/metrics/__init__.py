"""The field's metrics as pure functions over plain values: segments, times in seconds, words. No I/O.

U: a caller's turn (`CallerTurn`) or sound (`Segment`) with known times; A: the agent's segments.

    floor            pause_trials(turn, A, complete) -> [PauseTrial]     taken at unfinished, complete points
                     post_interrupt_response(interruption, A, trial)     s from its end, after a stop only
                     stutters(events, A_fine), breaks_per_s(...)         breaks of 80-300 ms after an event
                     self_stop(line, A, caller) -> at_s | None           broke off over its own echo
                     backchannels_given(turns, A), agent_interruptions(turns, A), dead_air(caller, A)
    fdb              pause_handling, smooth_turn, user_interruption,     Full-Duplex-Bench as its papers say
                     backchannels, overlap -> TakeOver | Backchannels | Overlap
    fdb_official     take_over, user_interruption, backchannels,         the same as its scripts compute it
                     stop_intervals, response_intervals
    tau              tau_events(sounds, A, duration_s) -> TauEvents,     R_R R_Y I_A S_BC S_VT S_ND L_R L_Y
                     tau_panel([TauEvents]) -> TauPanel                  (by_script=True: as its program)
    eva              eva_turns(turns, A, duration_s) -> [EvaTurn],       EVA's turn-taking score
                     eva_score([EvaTurn]) -> EvaScore
    turn_statistics  turn_statistics(caller, A, duration_s), floor_transfers(caller, A), silences(caller, A)
    word_errors      word_errors(said, heard), pooled(pairs), score_digits(said, heard), by_position(scores),
                     score_slots(expected, heard)
    uro              repeat_score(pairs), spoken_errors(pairs)           URO-Bench without its judges
    intervals        rate(right, eligible, attempted), rate_by_call(flags), percentile(calls, percent),
                     mean(calls) -> Estimate (value, low, high, num_eligible, num_attempted, is_enough)

`A_fine` is `speech_segments(pcm, split_s=0.06)`. Gap, miss and dead air of a turn, early starts, stop and
false stop are in `agent.evaluation.scores`; rows and the page of results, into which an `Estimate` fits, in
`agent.evaluation.report`.
"""
