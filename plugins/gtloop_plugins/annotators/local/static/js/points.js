// Points: placed by clicks, and dragged.

import { Objects } from "./objects.js";
import { away, handle, outline, pair, tag } from "./marks.js";

export class Points extends Objects {
  key = "xy";
  noun = "point";
  nouns = "points";
  hint = "Click to set a point. Keys alone: N, arrows, N.";
  drag = null;

  points({ xy }) {
    return [xy];
  }

  setPoints(object, [xy]) {
    object.xy = xy;
  }

  hits({ xy }, point, reach) {
    return away(xy, point) <= reach * 1.3;
  }

  extent() {
    return 0;
  }

  cursor(point) {
    return point && this.hovered ? "move" : "crosshair";
  }

  down(point, event) {
    if (this.readOnly) return false;
    const object = event.shiftKey ? null : this.at(point, this.view.reach(event));
    if (object) {
      this.select(object.id);
      this.drag = { before: structuredClone(this.objects), moved: false };
    } else {
      this.drag = { fresh: true };
    }
  }

  move(point) {
    if (!this.drag || this.drag.fresh) return;
    this.current.xy = pair(this.view.inside(point));
    this.drag.moved = true;
    this.render();
  }

  up(point) {
    const { drag } = this;
    this.drag = null;
    if (drag?.fresh) this.press(this.view.inside(point));
    else if (drag?.moved) this.remember(drag.before);
  }

  cancel() {
    const { drag } = this;
    this.drag = null;
    if (drag?.moved) this.objects = drag.before;
    this.render();
    return Boolean(drag);
  }

  press(point) {
    this.add(pair(point));
    this.bench.advance(this);
    return true;
  }

  grow(object, dx, dy) {
    this.shift(object, dx, dy);
  }

  paint(object, group, selected) {
    const colour = this.bench.colour(object.category);
    const [x, y] = object.xy;
    const arm = (selected ? 13 : 9) / this.view.scale;
    group.add(
      ...outline(
        [
          [x - arm, y],
          [x + arm, y],
        ],
        colour,
      ),
      ...outline(
        [
          [x, y - arm],
          [x, y + arm],
        ],
        colour,
      ),
    );
    if (selected) group.add(handle(this.bench, object.xy, colour));
    if (this.bench.names || selected) group.add(tag(this.view, object.category, [x + arm, y - arm], colour));
  }
}
