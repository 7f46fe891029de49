// Lines, handles and names drawn on a picture, of the same size at any zoom.

const { Konva } = globalThis;

/** Round to a tenth of a pixel. */
export const tenth = (v) => Math.round(v * 10) / 10;

/** A point of the image as payloads have it. */
export const pair = ({ x, y }) => [tenth(x), tenth(y)];

/** Distance between `[x, y]` and a point. */
export const away = ([x, y], point) => Math.hypot(x - point.x, y - point.y);

/** A line that shows on light and on dark: the colour with a dark rim. */
export function outline(points, colour, { closed = false, selected = false, fill = null } = {}) {
  const common = { points: points.flat(), closed, strokeScaleEnabled: false, lineJoin: "round" };
  return [
    new Konva.Line({ ...common, stroke: "#0009", strokeWidth: selected ? 5 : 4, fill }),
    new Konva.Line({ ...common, stroke: colour, strokeWidth: selected ? 3 : 2 }),
  ];
}

/** A round handle, or a square one; larger for fingers. */
export function handle(bench, [x, y], colour, { square = false } = {}) {
  const size = (bench.coarse ? 11 : 5.5) / bench.view.scale;
  const look = { fill: "#fff", stroke: colour, strokeWidth: square ? 1.5 : 2.5, strokeScaleEnabled: false };
  return square
    ? new Konva.Rect({ x: x - size, y: y - size, width: 2 * size, height: 2 * size, cornerRadius: size / 3, ...look })
    : new Konva.Circle({ x, y, radius: size, ...look });
}

/** The name of a category at `[x, y]`, kept in sight at the upper and the right edge. */
export function tag(view, text, [x, y], colour) {
  const short = text.length > 28 ? `${text.slice(0, 27)}…` : text;
  const label = new Konva.Label({ x, y, scaleX: 1 / view.scale, scaleY: 1 / view.scale });
  label.add(new Konva.Tag({ fill: colour, cornerRadius: 3 }));
  label.add(
    new Konva.Text({
      text: short,
      fontSize: 12.5,
      fontStyle: "600",
      padding: 4,
      fill: ink(colour),
      fontFamily: "system-ui, sans-serif",
    }),
  );
  const { x: left, y: top } = view.toStage({ x, y });
  const up = top - label.height() - 2 > 0 ? -label.height() - 2 : 3;
  label.offset({ x: Math.max(0, left + label.width() - view.stage.width()), y: -up });
  return label;
}

/** Black or white, whichever reads better on a colour. */
export function ink(hex) {
  const [r, g, b] = [1, 3, 5].map((n) => (parseInt(hex.slice(n, n + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.19 ? "#111" : "#fff";
}
