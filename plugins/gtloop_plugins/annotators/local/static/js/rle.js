// COCO's run-length text of masks (cocodataset/cocoapi, common/maskApi.c: rleToString, rleFrString); as gtloop.masks.

/** The text of runs: pixels down the columns, in turn outside and inside, outside first. */
export function text(counts) {
  const out = [];
  for (let i = 0; i < counts.length; i++) {
    let x = i > 2 ? counts[i] - counts[i - 2] : counts[i];
    let more = true;
    while (more) {
      let c = x & 31;
      x >>= 5;
      more = c & 16 ? x !== -1 : x !== 0;
      if (more) c |= 32;
      out.push(c + 48);
    }
  }
  let made = "";
  for (let i = 0; i < out.length; i += 8192) made += String.fromCharCode(...out.slice(i, i + 8192));
  return made;
}

/** The runs of a text. */
export function counts(code) {
  const found = [];
  let at = 0;
  while (at < code.length) {
    let x = 0;
    let shift = 0;
    let more = true;
    while (more) {
      const c = code.charCodeAt(at++) - 48;
      x |= (c & 31) << shift;
      more = Boolean(c & 32);
      shift += 5;
      if (!more && c & 16 && shift < 32) x |= -1 << shift;
    }
    if (found.length > 2) x += found[found.length - 2];
    found.push(x);
  }
  return found;
}

/** The text of every value but 0 in a (height, width) map stored row after row: Map of value to text. */
export function encode(map, width, height) {
  const runs = new Map();
  const close = (value, from, to) => {
    let run = runs.get(value);
    if (!run) runs.set(value, (run = { counts: [], end: 0 }));
    run.counts.push(from - run.end, to - from);
    run.end = to;
  };
  let value = map[0];
  let from = 0;
  for (let x = 0, at = 0; x < width; x++) {
    for (let y = 0, i = x; y < height; y++, i += width, at++) {
      if (map[i] === value) continue;
      if (value) close(value, from, at);
      value = map[i];
      from = at;
    }
  }
  const total = width * height;
  if (value) close(value, from, total);
  const texts = new Map();
  for (const [key, run] of runs) {
    if (run.end < total) run.counts.push(total - run.end);
    texts.set(key, text(run.counts));
  }
  return texts;
}

/** Write a value where a mask is, into a (height, width) map; false where the text is of another size. */
export function decodeInto(map, width, height, code, value) {
  const runs = counts(code);
  if (runs.reduce((a, b) => a + b, 0) !== width * height) return false;
  let at = 0;
  runs.forEach((run, n) => {
    if (n % 2) {
      for (let p = at; p < at + run;) {
        const x = Math.floor(p / height);
        const last = Math.min(at + run, (x + 1) * height);
        for (let i = (p - x * height) * width + x; p < last; p++, i += width) map[i] = value;
      }
    }
    at += run;
  });
  return true;
}
