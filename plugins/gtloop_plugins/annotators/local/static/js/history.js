// Undo and redo: pairs of functions, bounded in number and in bytes.

const MOST = 500;
const MOST_BYTES = 64 << 20;

export class History {
  constructor(changed = () => {}) {
    this.changed = changed;
    this.clear();
  }

  clear() {
    this.done = [];
    this.undone = [];
    this.bytes = 0;
    this.changed();
  }

  /** Something was done; `bytes` is about what it takes to undo it. */
  push(undo, redo, bytes = 200) {
    for (const step of this.undone.splice(0)) this.bytes -= step.bytes;
    this.done.push({ undo, redo, bytes });
    this.bytes += bytes;
    while (this.done.length > 1 && (this.done.length > MOST || this.bytes > MOST_BYTES)) {
      this.bytes -= this.done.shift().bytes;
    }
    this.changed();
  }

  /** Forget the last step, for one that includes it. */
  forget() {
    this.bytes -= this.done.pop().bytes;
  }

  undo() {
    const step = this.done.pop();
    if (!step) return false;
    step.undo();
    this.undone.push(step);
    this.changed();
    return true;
  }

  redo() {
    const step = this.undone.pop();
    if (!step) return false;
    step.redo();
    this.done.push(step);
    this.changed();
    return true;
  }
}
