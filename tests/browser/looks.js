// What a page shows that it should not; evaluated in the page by test_browser_looks.py.
({
  // Text with less contrast than WCAG 2.2, criterion 1.4.3: 4.5, or 3 where it is large.
  faint: () => {
    const parse = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
      const [r, g, b] = colour.map((v) => linear(v / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
      const layers = [];
      for (let e = element; e; e = e.parentElement) {
        layers.push(parse(getComputedStyle(e).backgroundColor));
        if ((layers.at(-1)[3] ?? 1) === 1) break;
      }
      return layers.reduceRight((under, colour) => over(colour, under), [255, 255, 255]);
    };
    const seen = (e) =>
      e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) &&
      e.getBoundingClientRect().width >= 2 &&
      !e.matches("noscript, .unseen, option, :disabled *");
    const bad = [];
    for (const element of document.querySelectorAll("body *")) {
      const text = [...element.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE).map((n) => n.data);
      if (!text.join("").trim() || !seen(element)) continue;
      const style = getComputedStyle(element);
      const under = ground(element);
      const [high, low] = [light(over(parse(style.color), under)), light(under)].sort((p, q) => q - p);
      const ratio = (high + 0.05) / (low + 0.05);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const colours = `${style.color} on ${under.map(Math.round)}`;
      if (ratio < (large ? 3 : 4.5)) bad.push(`${ratio.toFixed(2)}: ${text.join("").slice(0, 40)} (${colours})`);
    }
    return bad;
  },

  // Controls of which a screen reader could say nothing.
  nameless: () =>
    [...document.querySelectorAll("button, a, input, select, textarea")]
      .filter((e) => e.checkVisibility())
      .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.title || e.labels?.length || e.value))
      .map((e) => e.outerHTML.slice(0, 120)),

  // Buttons that are too small for a finger.
  small: () =>
    [...document.querySelectorAll("button")]
      .filter((e) => e.checkVisibility())
      .map((e) => [e.textContent || e.ariaLabel, e.getBoundingClientRect()])
      .filter(([, box]) => box.width < 44 || box.height < 44)
      .map(([text, box]) => `${text}: ${box.width} x ${box.height}`),

  wide: () => document.documentElement.scrollWidth > innerWidth,

  focused: () => {
    const e = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(e);
    return e === document.body ? null : [e.id || e.textContent, outlineStyle, parseFloat(outlineWidth)];
  },
});
