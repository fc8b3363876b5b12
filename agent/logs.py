"""Structured logs: one set-up for our events and for libraries, and the rule that keeps persons out of them.

Events are fixed snake_case words, values are keys: `log.info("call_confirmed", codec="PCMU")`. `call_id` and
`worker_id` are bound once with `structlog.contextvars`; a thread that was not started from that context binds
a logger by hand. Numbers, names, transcripts and DTMF travel only under keys that begin `pii_`: they are
dropped unless the operator asks for them.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

PII_PREFIX = "pii_"
_ADDRESS = re.compile(r"(?:(?P<scheme>sips?|tel):)?(?P<user>[^\s<>@:;\"]+)(?P<host>@[^\s<>;?]+)?(?:[;?>]|$)")
LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure(
    log_format: LogFormat, level: LogLevel, *, show_pii: bool = False, stream: TextIO | None = None
) -> None:
    """Send our events and the libraries' records, one line each, to `stream` (default: stderr)."""
    out = sys.stderr if stream is None else stream
    before = _shared_processors(show_pii)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    sink = logging.StreamHandler(out)
    sink.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format, out),
            ],
        )
    )
    logging.basicConfig(handlers=[sink], level=level.upper(), force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # one line per scrape tells nothing
    for name in ("aioice", "aiortc"):  # they log the addresses of callers
        logging.getLogger(name).setLevel(logging.WARNING)


def drop_pii(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove every key that begins `pii_`, at any depth of nested mappings."""
    return {key: _without_pii(value) for key, value in event.items() if not key.startswith(PII_PREFIX)}


def mask_address(address: str) -> str:
    """Hide the user of a SIP URI or number but for its end: `sip:+15550100@pbx` -> `sip:***00@pbx`.

    The host stays: it is the trunk's, not a person's. A display name is dropped.
    """
    found = _ADDRESS.search(address)
    if found is None:
        return "***"
    user = found["user"]
    tail = user[-2:] if len(user) > 4 else ""
    scheme = f"{found['scheme']}:" if found["scheme"] else ""
    return f"{scheme}***{tail}{found['host'] or ''}"


def _without_pii(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_pii(v) for k, v in value.items() if not str(k).startswith(PII_PREFIX)}
    return value


def _shared_processors(show_pii: bool) -> list[Processor]:
    redaction: list[Processor] = [] if show_pii else [drop_pii]
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *redaction,
    ]


def _renderers(log_format: LogFormat, out: TextIO) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # Its own choice shows every local variable where `rich` is installed: numbers, words, secrets.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
