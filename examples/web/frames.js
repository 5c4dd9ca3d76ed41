// Events -> frames [channel][y][x], channel 1 = ON, by a framing of the card: count:T=10, duration:40ms, and value=binary.

const GAP_US = 1e6; // a longer silence begins the clock anew: no flood of empty frames

function makeFrames(events, framing, shape) {
  const [kind, ...words] = framing.split(":").join(",").split(",");
  const options = Object.fromEntries(words.filter((w) => w.includes("=")).map((w) => w.split("=")));
  const known = ["T", "value"];
  const strange = Object.keys(options).filter((name) => !known.includes(name));
  if (strange.length || !["count", "duration"].includes(kind)) throw new Error(`this page does not know the framing ${framing}`);
  const inside = keepInside(events, shape);
  const slices = kind === "count" ? byCount(inside.t.length, Number(options.T)) : byClock(inside.t, microseconds(words[0]));
  return slices.map((indices) => addUp(inside, indices, shape, options.value === "binary"));
}

function keepInside(events, [, height, width]) {
  const kept = { t: [], x: [], y: [], p: [] };
  for (let i = 0; i < events.t.length; i++)
    if (events.x[i] < width && events.y[i] < height) push(kept, events.t[i], events.x[i], events.y[i], events.p[i]);
  return kept;
}

function microseconds(text) {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text);
  return Number(number) * { us: 1, ms: 1e3, s: 1e6 }[unit];
}

// Slice j of N events holds floor(N / T) of them, the last one the rest (Fang et al. 2021, eq. S1).
function byCount(N, T) {
  const each = Math.floor(N / T);
  return Array.from({ length: T }, (_, j) => range(j * each, j === T - 1 ? N : (j + 1) * each));
}

// A grid from the first event on; empty frames are kept, and an event before the open frame is late and left out.
function byClock(t, length) {
  const frames = [];
  let begin = null, newest = null;
  for (let i = 0; i < t.length; i++) {
    if (begin === null || t[i] - newest > GAP_US) { begin = t[i]; frames.push([]); }
    while (t[i] >= begin + length) { begin += length; frames.push([]); }
    if (t[i] >= begin) frames[frames.length - 1].push(i);
    newest = newest === null ? t[i] : Math.max(newest, t[i]);
  }
  return frames;
}

function range(from, to) {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function addUp(events, indices, [channels, height, width], binary) {
  const frame = new Float32Array(channels * height * width);
  for (const i of indices) {
    const at = (events.p[i] * height + events.y[i]) * width + events.x[i];
    frame[at] = binary ? 1 : frame[at] + 1;
  }
  return frame;
}
