// The pushed state: one WebSocket that comes back by itself.

const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 8000;

export class Feed {
  // onMessage(message), onLink("live" | "lost" | "refused")
  constructor(onMessage, onLink) {
    Object.assign(this, { onMessage, onLink, waitMs: FIRST_WAIT_MS, isOpen: false, isStopped: true });
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
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = (this.socket = new WebSocket(`${scheme}://${location.host}/v1/console/events`));
    let hasOpened = false;
    socket.onopen = () => {
      hasOpened = true;
      this.waitMs = FIRST_WAIT_MS;
      this.onLink("live");
    };
    socket.onmessage = (event) => this.onMessage(JSON.parse(event.data));
    socket.onclose = () => {
      if (this.isStopped) return;
      this.onLink(hasOpened ? "lost" : "refused");
      this.timer = setTimeout(() => this.connect(), this.waitMs);
      this.waitMs = Math.min(MAX_WAIT_MS, this.waitMs * 2);
    };
  }
}
