// The circle that shows where a brush paints.

const { Konva } = globalThis;

export class Ring {
  constructor(layer) {
    this.layer = layer;
    const circle = (stroke, strokeWidth) =>
      new Konva.Circle({ stroke, strokeWidth, strokeScaleEnabled: false, visible: false, radius: 1 });
    this.circles = [circle("#000a", 3), circle("#fff", 1.5)];
    layer.add(...this.circles);
  }

  /** Show it at a point of the image; null hides it. */
  show(point, radius) {
    for (const circle of this.circles)
      circle.setAttrs(point ? { ...point, radius, visible: true } : { visible: false });
    this.layer.batchDraw();
  }

  destroy() {
    for (const circle of this.circles) circle.destroy();
  }
}
