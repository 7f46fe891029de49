// Colours of categories: told apart by people with any colour vision as far as that goes, then by hue.

// Okabe and Ito, without black and with a lighter blue, in an order of large steps.
const FIRST = ["#56b4e9", "#e69f00", "#00c08b", "#f0719c", "#f0e442", "#2f7fe0", "#e2603a", "#b18cf0"];
const GOLDEN = 137.508;

/** The colour of the category at a position, `#rrggbb`. */
export function colour(n) {
  if (n < 0) return "#9aa3ad";
  if (n < FIRST.length) return FIRST[n];
  const hue = (n * GOLDEN) % 360;
  const light = 0.55 + 0.15 * ((n >> 1) % 2);
  const part = (shift) => {
    const k = (shift + hue / 30) % 12;
    const value = light - 0.7 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value)
      .toString(16)
      .padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}

/** `#rrggbb` as [r, g, b]. */
export const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

export const VOID_COLOUR = "#d8d8e0";
