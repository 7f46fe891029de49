// A shape that is being drawn corner by corner.

import { away, handle, outline, pair } from "./marks.js";

export class Corners {
  /** `closed` for polygons, `least` how many corners make a shape. */
  constructor(bench, closed, least) {
    Object.assign(this, { bench, closed, least });
    this.clear();
  }

  clear() {
    this.list = [];
    this.pointer = null;
  }

  get drawing() {
    return this.list.length > 0;
  }

  add(point) {
    this.list.push(pair(point));
  }

  /** Take back the last corner; false where there is none. */
  back() {
    return this.list.pop() !== undefined;
  }

  /** Whether a click there ends the shape: on its first corner if it is closed, or twice at the same place. */
  endsAt(point, reach) {
    if (this.list.length < this.least) return false;
    return (this.closed && away(this.list[0], point) <= reach) || away(this.list.at(-1), point) <= reach / 3;
  }

  /** The corners, and a clean start; null where they are too few. */
  take() {
    const { list } = this;
    if (list.length < this.least) return null;
    this.clear();
    return list;
  }

  paint(group, colour) {
    if (!this.drawing) return;
    const points = this.pointer ? [...this.list, [this.pointer.x, this.pointer.y]] : this.list;
    const fill = this.closed ? `${colour}33` : null;
    if (points.length > 1) group.add(...outline(points, colour, { closed: this.closed, fill }));
    for (const at of this.list) group.add(handle(this.bench, at, colour));
  }
}
