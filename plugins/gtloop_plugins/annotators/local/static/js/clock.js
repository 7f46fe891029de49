// Active time: the page is visible and somebody does something at least every 30 s.

const IDLE_MS = 30_000;
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"];

export class Clock {
  constructor() {
    this.total = 0;
    this.last = performance.now();
    for (const sign of SIGNS) addEventListener(sign, () => this.beat(), { passive: true, capture: true });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.settle();
      else this.last = performance.now();
    });
  }

  /** Somebody is there. */
  beat() {
    this.settle();
    this.last = performance.now();
  }

  settle() {
    this.total += this.running();
    this.counted = performance.now();
  }

  running() {
    const now = performance.now();
    const from = Math.max(this.last, this.counted ?? 0);
    return document.hidden ? 0 : Math.max(0, Math.min(now, this.last + IDLE_MS) - from);
  }

  /** Milliseconds since somebody was last there. */
  get quiet() {
    return performance.now() - this.last;
  }

  /** Start anew, at so many seconds. */
  restart(seconds = 0) {
    this.total = seconds * 1000;
    this.last = this.counted = performance.now();
  }

  get seconds() {
    return Math.round((this.total + this.running()) / 10) / 100;
  }
}
