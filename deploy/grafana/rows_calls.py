"""The rows about calls: the line now, who calls, who is called, who is kept out, and how the talk goes."""

from __future__ import annotations

from panels import GREEN, RED, YELLOW, Panel, number
from queries import of, quantile, quantiles, risen, share

CALLS = "offhook_calls_total"
OURS = 'result=~"worker_lost|model_failed|internal_error|prompt_refused"'
UNANSWERED = 'result=~"no_free_slot|prompt_refused|media_refused|caller_cancelled"'

NOW = (
    number(
        "Calls",
        "short",
        f"sum({of('offhook_calls_active')})",
        "Calls that hold a session now.",
        is_whole=True,
    ),
    number(
        "Slots in use",
        "percentunit",
        share(f"sum({of('offhook_worker_slots_used')})", f"sum({of('offhook_worker_slots')})"),
        "Of all slots of all ready workers. Beyond the last one callers hear 503.",
        steps=((YELLOW, 0.7), (RED, 0.9)),
        top=1,
    ),
    number(
        "Answered",
        "percentunit",
        f"1 - {share(risen(CALLS, labels=UNANSWERED), risen(CALLS))} >= 0",
        "Of all who called (ASR): neither refused, nor gone before we answered.",
        steps=((RED, 0.0), (YELLOW, 0.9), (GREEN, 0.97)),
        top=1,
    ),
    number(
        "Callers refused",
        "short",
        risen(CALLS, labels='result="no_free_slot"'),
        "503 with Retry-After: no free slot.",
        steps=((RED, 1),),
        is_whole=True,
    ),
    number(
        "Ended by our fault",
        "short",
        risen(CALLS, labels=OURS),
        "A worker was lost, the model failed or cannot be set up so, or the code has a fault.",
        steps=((RED, 1),),
        is_whole=True,
    ),
    number(
        "Response gap, median",
        "s",
        f"{quantile(0.5, 'offhook_response_gap_seconds')} >= 0",
        "Caller's last voiced sample to the agent's first. The bar is 0.5 s.",
        steps=((YELLOW, 0.5), (RED, 0.8)),
    ),
    number(
        "Tick, 99th percentile",
        "s",
        f"{quantile(0.99, 'offhook_worker_tick_seconds')} >= 0",
        "Of the 80 ms that a worker has for one step of all its calls.",
        steps=((YELLOW, 0.06), (RED, 0.072)),
    ),
    number(
        "Redis",
        "short",
        f"min({of('offhook_redis_up')})",
        "1 while Redis answers; calls go on without it.",
        steps=((RED, 0), (GREEN, 1)),
        is_whole=True,
    ),
)
TRAFFIC = (
    Panel(
        "Calls and slots",
        "short",
        (
            (f"sum({of('offhook_calls_active')})", "calls"),
            (f"sum({of('offhook_worker_slots_used')})", "slots used"),
            (f"sum({of('offhook_worker_slots')})", "slots"),
        ),
        "More calls than slots used: calls that wait for a worker after theirs was lost.",
        width=12,
    ),
    Panel(
        "Calls ended, by result",
        "short",
        ((f"{risen(CALLS, 'result')} > 0", "{{result}}"),),
        "Within the window. Refused callers are among them.",
        width=12,
    ),
    Panel(
        "Calls, by way and transport",
        "short",
        ((f"sum by (direction, transport) ({of('offhook_calls_active')})", "{{direction}} {{transport}}"),),
        "SIP from trunks and phones, WebRTC from browsers.",
    ),
    Panel(
        "Call set-up",
        "s",
        quantiles("offhook_call_setup_seconds", 0.5, 0.95),
        "INVITE or offer received to audio flowing.",
        lines=(1,),
    ),
    Panel(
        "Mean length of a call",
        "s",
        (
            (
                share(
                    f"sum(rate({of('offhook_call_duration_seconds_sum')}[$window]))",
                    f"sum(rate({of('offhook_call_duration_seconds_count')}[$window]))",
                ),
                "answer to end",
            ),
        ),
        "ACD: talk time by answered calls.",
    ),
)
TRUNKS = (
    Panel(
        "Trunks registered",
        "short",
        ((f"min by (trunk) ({of('offhook_trunk_registered')})", "{{trunk}}"),),
        "1 while every gateway is registered at the trunk's server; others do not register.",
        top=1,
        is_whole=True,
    ),
    Panel(
        "Registrations, by result",
        "short",
        ((risen("offhook_trunk_registrations_total", "trunk", "result"), "{{trunk}} {{result}}"),),
        "Tried and refreshed. refused: the password or the address; unreachable: the network.",
    ),
    Panel(
        "Trunks' file read again",
        "short",
        ((risen("offhook_dial_plan_reloads_total", "result"), "{{result}}"),),
        "refused: the file has a fault, and what was read before goes on.",
    ),
    Panel(
        "Transfers, by result",
        "short",
        ((risen("offhook_transfers_total", "result"), "{{result}}"),),
        "Callers to be handed over to a person, and what came of it.",
        width=12,
    ),
    Panel(
        "Transfer",
        "s",
        quantiles("offhook_transfer_seconds", 0.5, 0.95),
        "A transfer asked for to its outcome.",
        width=12,
    ),
    Panel(
        "Calls that leave, by decision",
        "short",
        ((risen("offhook_outbound_decisions_total", "purpose", "result"), "{{purpose}} {{result}}"),),
        "Outbound calls and transfers, allowed or refused by the policy.",
        width=12,
    ),
    Panel(
        "Who took our calls",
        "short",
        ((risen("offhook_answerers_total", "result"), "{{result}}"),),
        "Persons, answering machines, and those that could not be told apart.",
        width=12,
    ),
)
DOOR = (
    Panel(
        "SIP kept out, by reason",
        "short",
        ((risen("offhook_sip_kept_out_total", "reason"), "{{reason}}"),),
        "Messages dropped or told 503 before a call was made, and connections refused or ended.",
        width=12,
    ),
    Panel(
        "Bans",
        "short",
        (
            (risen("offhook_sip_bans_total"), "bans"),
            (f"sum({of('offhook_sip_banned_sources')})", "sources banned now"),
        ),
        "Sources that struck too often are not heard for a while.",
        width=12,
    ),
    Panel(
        "Foreign RTP packets",
        "short",
        ((risen("offhook_rtp_foreign_packets_total", "instance"), "{{instance}}"),),
        "Not of the source, or the SSRC, that their call is locked to: late ones of a caller who moved, or "
        "somebody who injects sound. None of them is heard.",
    ),
    Panel(
        "Connections and resting ports",
        "short",
        (
            (f"sum({of('offhook_sip_connections')})", "SIP connections"),
            (f"sum({of('offhook_rtp_ports_resting')})", "RTP ports resting"),
        ),
        "Connections to the SIP port that are open, and pairs of RTP ports that wait after a call.",
    ),
    Panel(
        "Draining, and recordings deleted",
        "short",
        (
            (of("offhook_draining"), "{{instance}} draining"),
            (risen("offhook_recordings_deleted_total"), "recordings deleted"),
        ),
        "1 from the first stop signal on; recordings that were older than they may be.",
        is_whole=True,
    ),
)
CONVERSATION = (
    Panel(
        "Response gap",
        "s",
        quantiles("offhook_response_gap_seconds", 0.5, 0.95, 0.99),
        "Caller's last voiced sample to the agent's first. Lines: the bars for p50 (0.5 s) and p95 (0.8 s).",
        width=12,
        lines=(0.5, 0.8),
    ),
    Panel(
        "Barge-in stop",
        "s",
        quantiles("offhook_barge_in_stop_seconds", 0.5, 0.95),
        "Caller's onset during agent speech to the agent's last voiced sample. Lines: the bar for p50 (0.6 "
        "s), and 2 s, after which the agent has not yielded.",
        width=12,
        lines=(0.6, 2),
    ),
    Panel(
        "Response gaps",
        "s",
        ((f"sum by (le) (increase({of('offhook_response_gap_seconds_bucket')}[$window]))", "{{le}}"),),
        "How many turns were answered after how long.",
        "heatmap",
    ),
    Panel(
        "Questions passed on, by result",
        "short",
        ((f"{risen('offhook_delegations_total', 'result')} > 0", "{{result}}"),),
        "What the model could not know and asked for. timed_out, failed and unspeakable: the caller heard "
        "the fallback sentence.",
    ),
    Panel(
        "Answer to a question passed on",
        "s",
        quantiles("offhook_delegation_seconds", 0.5, 0.95),
        "From the question to its answer or the fallback. Line: the time limit as shipped, "
        "OFFHOOK_AGENT__DELEGATE_TIMEOUT_S.",
        lines=(6,),
    ),
)
