// Pointers, wheel and keys that move the view; what is left goes to the tool.

const WHEEL_STEP = 0.0016;
const SETTLED_PX = 8;

const middle = (a, b) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);

export class Gestures {
  constructor(element, view) {
    this.element = element;
    this.view = view;
    this.pointers = new Map();
    this.mode = null; // "tool", "pan" or "pinch"
    this.panning = false; // the space bar is down
    const on = (type, run) => element.addEventListener(type, run, { passive: false });
    on("pointerdown", (e) => this.down(e));
    on("pointermove", (e) => this.move(e));
    on("pointerup", (e) => this.up(e));
    on("pointercancel", (e) => this.up(e, true));
    on("pointerleave", (e) => {
      if (!this.pointers.size) view.hover(null, e);
    });
    on("wheel", (e) => this.wheel(e));
    on("contextmenu", (e) => e.preventDefault());
    on("auxclick", (e) => e.preventDefault());
    addEventListener("keyup", (e) => {
      if (e.key === " ") this.hold(false);
    });
    addEventListener("blur", () => this.hold(false));
  }

  /** While the space bar is down, dragging moves the picture. */
  hold(on) {
    this.panning = on;
    this.element.classList.toggle("panning", on);
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  down(event) {
    if (event.button > 1) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    // A pointer that has gone already (a made-up event) can't be captured.
    try {
      this.element.setPointerCapture(event.pointerId);
    } catch {
      /* as it is */
    }
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size === 2) {
      if (this.mode === "tool") this.view.tool?.cancel?.();
      this.mode = "pinch";
    } else if (this.pointers.size === 1) {
      this.start = at;
      this.moved = false;
      const pans = event.button === 1 || this.panning;
      this.mode = pans || this.view.tool?.down?.(this.view.toImage(at), event) === false ? "pan" : "tool";
    }
  }

  move(event) {
    const at = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.view.hover(this.view.toImage(at), event);
    if (!this.moved && distance(at, this.start) > SETTLED_PX) this.moved = true;
    if (this.mode === "tool") {
      for (const part of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
        this.view.tool?.move?.(this.view.toImage(this.at(part)), event);
      }
      this.view.hover(this.view.toImage(at), event);
    } else if (this.mode === "pan") {
      this.view.pan(at.x - before.x, at.y - before.y);
    } else if (this.mode === "pinch" && this.pointers.size === 2) {
      this.pinch(event.pointerId, at);
    }
    this.pointers.set(event.pointerId, at);
  }

  pinch(id, at) {
    const [[, other]] = [...this.pointers].filter(([key]) => key !== id);
    const before = this.pointers.get(id);
    const [from, to] = [middle(before, other), middle(at, other)];
    this.view.pan(to.x - from.x, to.y - from.y);
    this.view.zoom(distance(at, other) / Math.max(1, distance(before, other)), to);
  }

  up(event, cancelled = false) {
    if (!this.pointers.delete(event.pointerId)) return;
    const at = this.view.toImage(this.at(event));
    if (this.mode === "tool") {
      if (cancelled) this.view.tool?.cancel?.();
      else this.view.tool?.up?.(at, event);
    }
    // The finger that stays after a pinch draws nothing.
    if (!this.pointers.size) this.mode = null;
    if (event.pointerType === "touch") this.view.hover(null, event);
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey && !event.ctrlKey) return this.view.pan(-(event.deltaX + event.deltaY) * lines, 0);
    // A pinch on a trackpad comes as a wheel with Ctrl, in small steps.
    const step = event.ctrlKey ? WHEEL_STEP * 6 : WHEEL_STEP;
    this.view.zoom(Math.exp(-event.deltaY * lines * step), this.at(event));
  }
}
