// The pushed state: one WebSocket that comes back by itself.

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 8000;

export class Feed {
  // onMessage(message), onLink("live" | "lost" | "refused")
  constructor(onMessage, onLink) {
    Object.assign(this, { onMessage, onLink, waitMs: FIRST_WAIT_MS, isStopped: true });
  }

  start() {
    if (!this.isStopped) return;
    this.isStopped = false;
    this.connect();
  }

  stop() {
    this.isStopped = true;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
    this.waitMs = FIRST_WAIT_MS;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = (this.socket = new WebSocket(`${scheme}://${location.host}/v1/console/events`));
    let hasOpened = false;
    socket.onopen = () => {
      if (socket !== this.socket) return;
      hasOpened = true;
      this.waitMs = FIRST_WAIT_MS;
      this.onLink("live");
    };
    socket.onmessage = (event) => {
      if (socket === this.socket) this.onMessage(JSON.parse(event.data));
    };
    socket.onclose = () => {
      if (this.isStopped || socket !== this.socket) return; // stopped, or begun anew meanwhile
      this.onLink(hasOpened ? "lost" : "refused");
      this.timer = setTimeout(() => this.connect(), this.waitMs);
      this.waitMs = Math.min(MAX_WAIT_MS, this.waitMs * 2);
    };
  }
}
