"""WebRTC sessions by their Live API ids: made by an offer, found to be hung up. Event loop only."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from agent.live_errors import LiveError
from agent.live_request import LiveRequest, SessionConfig, read_request
from agent.live_session import LiveSession, session_resource
from agent.session import Session
from telephony.endpoint import MediaEndpoint
from telephony.errors import BadOffer, OfferRefused
from telephony.webrtc import WebRtcEndpoint, WebRtcGateway

ID_PREFIX = "live_"
NOT_READY_RETRY_S = 5

log = structlog.get_logger(__name__)


class LiveCalls:
    """The gateway's WebRTC calls, as the Live API knows them."""

    def __init__(
        self, source: WebRtcGateway, models: Callable[[], Collection[str]], voice: str, max_s: float
    ) -> None:
        """`models` names what the workers run now; `voice` is the configured one; a call lasts `max_s`."""
        self.source = source
        self._models, self._voice, self._max_s = models, voice, max_s
        self._sessions: dict[str, LiveSession] = {}  # by call id, while they live

    async def create(self, body: bytes, remote: str) -> tuple[str, str]:
        """Take the body of a request from that address; the session's id and our SDP answer.

        Raises LiveError.
        """
        models = self._models()
        if not models:
            raise LiveError(
                "not_ready", "No worker is ready yet.", status=503, retry_after_s=NOT_READY_RETRY_S
            )
        request = read_request(body, models, self._voice)
        try:
            return await self._offer(request, remote)
        except BadOffer as error:
            raise LiveError("invalid_offer", f"{error}.", "transport.sdp") from None
        except OfferRefused as error:
            code = "no_free_slot" if error.status == 503 else "internal_error"
            raise LiveError(
                code, f"{error}.", status=error.status, retry_after_s=error.retry_after_s
            ) from None

    async def _offer(self, request: LiveRequest, remote: str) -> tuple[str, str]:
        call = self.source.offer(request.transport.sdp, f"webrtc:{remote}", request.session)
        log.info(
            "live_session_asked",
            call_id=call.call_id,
            model=request.session.model,
            pii_user=request.session.safety_identifier,
        )
        return f"{ID_PREFIX}{call.call_id}", await call.decided()

    def follow(self, session: Session, endpoint: MediaEndpoint) -> None:
        """A call of any kind has begun: if it is one of ours, its client gets its events."""
        if not isinstance(endpoint, WebRtcEndpoint):
            return
        call_id = session.record.call_id
        asked = endpoint.about
        assert isinstance(asked, SessionConfig), type(asked)
        live_id = f"{ID_PREFIX}{call_id}"
        resource = session_resource(live_id, model=asked.model, voice=self._voice, max_s=self._max_s)
        live = LiveSession(session, resource)
        endpoint.on_data_channel(live.on_channel)
        self._sessions[call_id] = live
        session.listen_end(lambda _reason: self._forget(call_id))

    def hang_up(self, live_id: str) -> bool:
        """Begin to end a session, connected or not; False if there is none of that id."""
        prefix, call_id = live_id[: len(ID_PREFIX)], live_id[len(ID_PREFIX) :]
        if prefix != ID_PREFIX:
            return False
        session = self._sessions.get(call_id)
        if session is not None:
            session.hang_up()
            return True
        return self.source.hang_up(call_id)

    def _forget(self, call_id: str) -> None:
        self._sessions.pop(call_id, None)
