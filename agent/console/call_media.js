// One call from this browser: microphone, WebRTC, data channel. No DOM but the sound; views listen.

import { ApiFailure, post } from "./api.js";

const GATHER_MS = 2000;
const CLOSE_MS = 2000;
const OPUS_AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

// state -> the states that may follow
export const NEXT = {
  idle: ["asking", "failed"],
  asking: ["connecting", "failed", "ended"],
  connecting: ["talking", "failed", "ended"],
  talking: ["ending", "ended", "failed"],
  ending: ["ended", "failed"],
  ended: ["asking", "failed"],
  failed: ["asking", "failed"],
};

// Why a call did not come about, in words: what, and what to do.
export const FAILURES = {
  insecure: {
    title: "The microphone needs a secure address",
    text: "Browsers let a page listen only at https:// or on localhost. Open the console at http://localhost, " +
      "through an SSH tunnel, or put a proxy with TLS in front.",
  },
  refused: {
    title: "The microphone is blocked",
    text: "Click the icon left of the address, allow the microphone for this page, and call again. If it is " +
      "allowed there, look in the system's privacy settings.",
  },
  absent: {
    title: "No microphone was found",
    text: "Plug one in or pair a headset, and call again.",
  },
  busy: {
    title: "The microphone is in use",
    text: "Another program holds it. Close that program, and call again.",
  },
  full: { title: "All lines are busy", text: "Every slot holds a call. Try again in a moment." },
  unavailable: {
    title: "This gateway takes no calls from browsers",
    text: "It was started without WebRTC. Call it by SIP instead: the address is on the Health page.",
  },
  forbidden: { title: "Your key may not call", text: "Sign in with a key that has the right calls:create." },
  unreachable: { title: "The gateway does not answer", text: "Check that it is running, and call again." },
  media: {
    title: "No sound could get through",
    text: "The browser and the gateway found no path for audio. A firewall between them must let UDP pass, or " +
      "the gateway needs a TURN server.",
  },
  server: { title: "The call could not be set up", text: "" },
};

export function failureOf(error) {
  if (error instanceof ApiFailure) {
    const kinds = { 0: "unreachable", 403: "forbidden", 404: "unavailable", 503: "full", 401: "forbidden" };
    return { kind: kinds[error.status] ?? "server", detail: `${error.message} ${error.remedy}`.trim() };
  }
  const kinds = {
    NotAllowedError: "refused", SecurityError: "refused", NotFoundError: "absent", OverconstrainedError: "absent",
    NotReadableError: "busy", AbortError: "busy",
  };
  return { kind: kinds[error?.name] ?? "server", detail: error?.message ?? "" };
}

export class BrowserCall {
  // onState(state, failure | end), onCaption(speaker, text, start, end), onMuted(isMuted); an end is
  // "you" for a caller who hung up, else the reason that the gateway gives.
  constructor({ onState, onCaption, onMuted, sink }) {
    Object.assign(this, { onState, onCaption, onMuted, sink, state: "idle", isMuted: false, sessionId: "" });
  }

  set(state, detail = null) {
    if (!NEXT[this.state].includes(state)) return;
    this.state = state;
    this.onState(state, detail);
  }

  async start() {
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      this.set("failed", { kind: "insecure", detail: "" });
      return;
    }
    const attempt = (this.attempt = Symbol("call"));
    this.isMuted = false;
    this.onMuted(false); // a new microphone is open, whatever the last one was
    this.set("asking");
    try {
      const microphone = await navigator.mediaDevices.getUserMedia({ audio: OPUS_AUDIO });
      if (this.attempt !== attempt) {
        for (const track of microphone.getTracks()) track.stop();
        return;
      }
      this.microphone = microphone;
      this.set("connecting");
      await this.connect(attempt);
    } catch (error) {
      if (this.attempt === attempt) this.fail(failureOf(error));
    }
  }

  async connect(attempt) {
    const peer = (this.peer = new RTCPeerConnection({ iceServers: [] }));
    for (const track of this.microphone.getTracks()) this.sender = peer.addTrack(track, this.microphone);
    this.listen(peer, peer.createDataChannel("oai-events"));
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    if (this.attempt !== attempt) return;
    const { token } = await post("/v1/console/token", {});
    const offer = { session: { model: "offhook" }, transport: { type: "webrtc", sdp: peer.localDescription.sdp } };
    const answer = await post("/v1/live/sessions", offer, { bearer: token });
    if (this.attempt !== attempt) {
      await post(`/v1/live/sessions/${answer.session.id}/hangup`, undefined).catch(() => {});
      return;
    }
    this.sessionId = answer.session.id;
    await peer.setRemoteDescription({ type: "answer", sdp: answer.transport.sdp });
  }

  listen(peer, channel) {
    this.channel = channel;
    channel.onmessage = (event) => {
      if (peer === this.peer) this.take(JSON.parse(event.data));
    };
    channel.onclose = () => {
      if (peer === this.peer) this.lose(); // the gateway has gone without a word
    };
    peer.ontrack = (event) => {
      this.remote = event.streams[0] ?? new MediaStream([event.track]);
      this.sink.srcObject = this.remote;
      this.sink.play?.().catch(() => {});
    };
    peer.onconnectionstatechange = () => {
      if (peer !== this.peer) return;
      if (peer.connectionState === "connected") this.set("talking");
      if (peer.connectionState === "failed") this.lose();
    };
  }

  lose() {
    if (this.state === "connecting") this.fail({ kind: "media", detail: "" });
    else this.end(this.state === "ending" ? "you" : "connection_lost");
  }

  take(event) {
    const speakers = { "session.input_transcript.delta": "caller", "session.output_transcript.delta": "agent" };
    if (speakers[event.type]) {
      this.onCaption(speakers[event.type], event.delta, event.start_ms / 1000, event.end_ms / 1000);
    } else if (event.type === "session.closed") {
      this.end(this.state === "ending" ? "you" : event.reason);
    }
  }

  // Silence at the source: what is muted never leaves this machine.
  mute(isMuted) {
    this.isMuted = isMuted;
    for (const track of this.microphone?.getTracks() ?? []) track.enabled = !isMuted;
    this.send({ type: isMuted ? "session.input_audio.mute" : "session.input_audio.unmute" });
    this.onMuted(isMuted);
  }

  get canPress() {
    return Boolean(this.sender?.dtmf?.canInsertDTMF);
  }

  press(digit) {
    if (this.canPress) this.sender.dtmf.insertDTMF(this.sender.dtmf.toneBuffer + digit, 120, 80);
  }

  hangUp() {
    if (this.state === "talking") {
      this.set("ending");
      this.send({ type: "session.close" });
      this.closing = setTimeout(() => this.end("you"), CLOSE_MS);
    } else this.leave();
  }

  // End it without waiting: the page goes away, or there is no data channel yet to say so on.
  leave() {
    this.send({ type: "session.close" });
    this.giveUp();
    this.end("you");
  }

  giveUp() {
    if (!this.sessionId) return;
    post(`/v1/live/sessions/${this.sessionId}/hangup`, undefined, { isLast: true, isQuiet: true }).catch(() => {});
    this.sessionId = "";
  }

  send(event) {
    if (this.channel?.readyState === "open") this.channel.send(JSON.stringify(event));
  }

  end(reason) {
    this.free();
    this.set("ended", reason);
  }

  fail(failure) {
    this.giveUp(); // else the gateway holds a slot for it until it loses patience
    this.free();
    this.set("failed", failure);
  }

  free() {
    clearTimeout(this.closing);
    this.attempt = null;
    const { peer, microphone } = this;
    this.peer = this.channel = this.sender = this.microphone = this.remote = null;
    this.sessionId = "";
    peer?.close();
    for (const track of microphone?.getTracks() ?? []) track.stop();
    this.sink.srcObject = null;
  }
}

// Non-trickle: return once all candidates are in the offer, or after GATHER_MS with those that are.
function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}
