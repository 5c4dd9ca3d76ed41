// One message is one picture: the page asks for the next when it has drawn the last, so a slow page never makes a queue.
// Message: uint32 LE length of the JSON, the JSON, then OFF counts and ON counts of the picture, one byte a pixel.

const KEY = "plif-token";
const POINTS = 750;      // kept for the charts, as the server keeps
const AFTERGLOW = 0.62;  // what is left of a pixel in the next picture

const address = new URL(location.href);
if (address.searchParams.has("token")) {
  sessionStorage.setItem(KEY, address.searchParams.get("token"));
  history.replaceState(null, "", "/");  // no token on the screen, in a bookmark or in the history
}
const token = sessionStorage.getItem(KEY) || "";

let facts = null, last = null, seen = 0, shown = null, ended = false, socket = null, tries = 0;
let points = [];  // {t, votes: [..], rates: [..], label: index or null}
let glow = null, gain = 1, colours = null;
const drawn = [];  // times of the last pictures

// ---- connection ----------------------------------------------------------------------------------------------------

function connect() {
  socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/feed", ["plif", token]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { tries = 0; seen = 0; points = []; ask(); };
  socket.onmessage = (event) => {
    take(event.data);
    if (!ended) requestAnimationFrame(() => { draw(); ask(); });
    else draw();
  };
  socket.onclose = () => {
    if (ended) return;
    state("lost", "connection lost");
    banner("The stream does not answer. If it was started again, open the new address that it printed.");
    setTimeout(connect, Math.min(500 * 2 ** tries++, 8000));
  };
}

function ask() {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ since: seen, source: $("which").value || null }));
}

async function control(what) {
  const answer = await fetch("/control", {
    method: "POST", headers: { "Authorization": "Bearer " + token, "Content-Type": "application/json" },
    body: JSON.stringify({ do: what }),
  }).catch(() => null);
  if (!answer || !answer.ok) banner("The stream did not take the command '" + what + "'.");
}

$("startstop").addEventListener("click", () => control(last && last.state === "stopped" ? "start" : "stop"));
$("reset").addEventListener("click", () => control("reset"));
$("which").addEventListener("change", () => { seen = 0; points = []; });

function take(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (message.facts) { facts = message.facts; begin(); }
  if (message.source !== shown) { shown = message.source; points = []; }
  for (const point of message.points) {
    if (points.length && point[0] < points[points.length - 1].t) points = [];  // the source began again
    points.push({ t: point[0], label: point[1], votes: point[2], rates: point[3] });
  }
  if (points.length > POINTS) points.splice(0, points.length - POINTS);
  seen = message.source === ($("which").value || message.source) ? message.seen : 0;  // another camera was chosen meanwhile
  last = message;
  ended = message.state === "ended";
  expose(new Uint8Array(buffer, 4 + length));
  drawn.push(performance.now());
  if (drawn.length > 20) drawn.shift();
}

// ---- what stands still ---------------------------------------------------------------------------------------------

function begin() {
  banner("");
  document.title = facts.model + " - plif";
  $("model").textContent = facts.model;
  $("source").textContent = facts.source;
  $("size").textContent = facts.width + " x " + facts.height;
  const canvas = $("picture");
  canvas.width = facts.width; canvas.height = facts.height;
  canvas.style.aspectRatio = facts.width + " / " + facts.height;
  glow = [new Float32Array(facts.width * facts.height), new Float32Array(facts.width * facts.height)];
  $("upright").hidden = !facts.upright;
  $("upright").textContent = facts.upright;
  makeBars(facts.classes);
  $("facts").replaceChildren(...facts.lines.map(([name, value]) => row(name, value)));
  $("which").hidden = facts.sources.length < 2;
  if ($("which").children.length !== facts.sources.length) $("which").replaceChildren(...facts.sources.map(([name, text]) => new Option(text, name)));
}

function row(name, value) {
  const line = document.createElement("div");
  line.append(...pair(name, value));
  return line;
}

function pair(name, value) {
  return [element("dt", name), element("dd", value)];
}

function age() { return last.last_event_age_s === null ? "" : " for " + last.last_event_age_s.toFixed(last.last_event_age_s < 10 ? 1 : 0) + " s"; }

function state(kind, text) {
  $("state").className = "pill " + kind;
  say("state", text);
  const alive = kind === "running" || kind === "stopped";
  $("startstop").disabled = $("reset").disabled = !alive;
  $("startstop").textContent = kind === "stopped" ? "Start" : "Stop";
}

function banner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text;
}

// ---- what moves ----------------------------------------------------------------------------------------------------

function draw() {
  if (!facts || !last) return;
  colours = Object.fromEntries(["ink", "soft", "faint", "line", "accent", "on", "off", "paper", "quiet", "heat", "card", "track",
    "second", "third", "fourth", "fifth", "good", "warn", "bad"].map((name) => [name, css(name)]));
  const quiet = last.state === "running" && last.source_state !== "running";
  state(last.state, quiet ? (last.source_state === "lost" ? "camera lost" : "no events") + age() : last.state);
  if (quiet) $("state").className = "pill " + last.source_state;
  if (ended) banner("The stream has ended. This is the last that it said.");
  drawAnswer();
  drawPicture();
  drawVotes();
  drawRates();
  drawLatency();
  drawAccount();
  drawDecisions();
}

function drawAnswer() {
  const answer = last.answer;
  const label = $("label");
  say("label", answer ? (answer.label === null ? answer.why || "not sure" : answer.label) : "waiting for events");
  label.classList.toggle("none", !answer || answer.label === null);
  say("soft", answer && answer.soft !== null && answer.soft !== answer.label ? "soon: " + answer.soft : "\u00a0");
  const share = answer ? Math.max(0, Math.min(1, answer.score)) : 0;
  $("bar").style.width = 100 * share + "%";
  $("meter").setAttribute("aria-valuenow", Math.round(100 * share));
  $("score").textContent = answer ? (100 * share).toFixed(1) + " % of all possible votes" : "";
  $("clock").textContent = answer ? clock(answer.t_us) + ", step " + answer.step.toLocaleString("en") : "";
  $("t-rate").textContent = short(last.rate_per_s);
  $("t-p50").textContent = ms(last.latency.p50);
  $("t-p99").textContent = ms(last.latency.p99);
  const paced = last.lag.p50 !== null;
  $("n-lag").textContent = paced ? "lag p50" : "speed";
  $("t-lag").textContent = paced ? ms(last.lag.p50) : short(last.steps_per_s);
  $("u-lag").textContent = paced ? "ms behind" : "steps a second";
  $("t-dropped").textContent = short(last.account.dropped);
  $("t-dropped").classList.toggle("bad", last.account.dropped > 0);
  const now = points.length ? points[points.length - 1].votes : facts.classes.map(() => 0);
  const most = Math.max(1e-9, facts.voters > 1 ? 1 : Math.max(...now.map(Math.abs)));
  facts.classes.forEach((_, i) => setBar(i, Math.max(0, Math.min(100, 100 * now[i] / most)),
    facts.voters > 1 ? (100 * now[i]).toFixed(0) + " %" : now[i].toFixed(2), !!answer && answer.index === i));
}

function expose(bytes) {
  if (!glow || bytes.length < 2 * glow[0].length) return;
  if (last.state !== "running" && !bytes.some(Boolean)) return;  // what stands still does not fade
  let most = 1;
  for (let channel = 0; channel < 2; channel++) {
    const values = glow[channel], from = channel * values.length;
    for (let i = 0; i < values.length; i++) {
      const fresh = bytes[from + i], left = values[i] * AFTERGLOW;
      values[i] = fresh > left ? fresh : left < 0.02 ? 0 : left;
    }
  }
  // exposure as a camera does it: the level that one lit pixel in twenty exceeds is full colour, and it moves slowly
  const levels = new Uint32Array(256);
  let lit = 0;
  for (const byte of bytes) if (byte) { levels[byte]++; lit++; }
  for (let level = 255, above = 0; level > 1; level--) { above += levels[level]; if (above > lit / 20) { most = level; break; } }
  gain += 0.2 * (1 / Math.max(1, most) - gain);
}

function drawPicture() {
  const canvas = $("picture"), context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height), data = image.data;
  const paper = rgb(colours.paper), off = rgb(colours.off), on = rgb(colours.on);
  for (let i = 0; i < glow[0].length; i++) {
    const a = Math.min(1, glow[0][i] * gain), b = Math.min(1, glow[1][i] * gain), sum = Math.max(1, a + b);
    for (let k = 0; k < 3; k++) data[4 * i + k] = paper[k] + ((off[k] - paper[k]) * a + (on[k] - paper[k]) * b) / sum;
    data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  const view = last && last.answer && last.answer.view; // the part that a view of its own shows to a second row of the network
  if (view && view.counts) {
    const [x, y, w, h] = view.window.map((share, i) => share * (i % 2 ? canvas.height : canvas.width));
    context.strokeStyle = colours.accent;
    context.strokeRect(x, y, w, h);
  }
  if (drawn.length > 4) $("fps").textContent = Math.round(1000 * (drawn.length - 1) / (drawn[drawn.length - 1] - drawn[0])) + " pictures a second";
}

function axis(c, left, right, bottom) {  // time below a chart; points are drawn evenly in time
  const from = points[0].t, to = Math.max(points[points.length - 1].t, from + 1);
  const x = (t) => left + (right - left) * (t - from) / (to - from);
  const step = nice((to - from) / 1e6 / Math.max(3, (right - left) / 110));
  c.fillStyle = colours.faint; c.strokeStyle = colours.line; c.lineWidth = 1; c.textAlign = "center";
  for (let s = Math.ceil(from / 1e6 / step) * step; s <= to / 1e6; s += step) {
    c.fillText(Number(s.toFixed(3)) + " s", x(s * 1e6), bottom + 12);
    c.beginPath(); c.moveTo(x(s * 1e6), bottom); c.lineTo(x(s * 1e6), bottom + 3); c.stroke();
  }
  return x;
}

function drawVotes() {
  const { c, width, height } = sheet("votes");
  if (points.length < 2) return waiting(c, width, height);
  // names stand beside their lines where there is room for the widest, and else below the chart: none is cut
  const room = 20 + widest(c, facts.classes), wide = width > 560 && room < 0.4 * width;
  const left = 46, top = 8, right = width - (wide ? room : 12), bottom = height - 22;
  const x = axis(c, left, right, bottom);
  let low = 0, high = facts.voters > 1 ? 0.1 : 1e-9;
  const best = facts.classes.map(() => -Infinity);
  for (const point of points) point.votes.forEach((v, i) => { low = Math.min(low, v); high = Math.max(high, v); best[i] = Math.max(best[i], v); });
  const step = nice((high - low) / 4);
  high = Math.ceil(high / step - 1e-9) * step;
  const y = (v) => bottom - (bottom - top) * (v - low) / (high - low);
  c.textAlign = "right";
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) {
    c.fillStyle = colours.faint; c.fillText(facts.voters > 1 ? Math.round(100 * v) + " %" : Number(v.toPrecision(3)), left - 7, y(v));
    c.strokeStyle = colours.line; c.beginPath(); c.moveTo(left, Math.round(y(v)) + .5); c.lineTo(right, Math.round(y(v)) + .5); c.stroke();
  }
  // each class has its colour, always; the answer is drawn thick, the strongest others of this window thin, the rest quiet
  const answer = last.answer ? last.answer.index : null;
  const order = best.map((v, i) => i).sort((a, b) => best[b] - best[a]);
  const named = new Map();
  if (answer !== null) named.set(answer, hue(answer));
  for (const i of order) if (!named.has(i) && named.size < 5 && best[i] > 0.25 * high) named.set(i, hue(i));
  for (const i of [...order.filter((i) => !named.has(i)), ...[...named.keys()].reverse()]) {
    c.strokeStyle = named.get(i) || colours.quiet;
    c.lineWidth = i === answer ? 2.6 : named.has(i) ? 1.6 : 1;
    c.lineJoin = "round";
    c.beginPath();
    points.forEach((point, n) => n ? c.lineTo(x(point.t), y(point.votes[i])) : c.moveTo(x(point.t), y(point.votes[i])));
    c.stroke();
  }
  $("names").hidden = wide;
  if (!wide) return nameColours("names", facts.classes, [...named.keys()].sort((a, b) => a - b));
  const ends = [...named.keys()].map((i) => ({ i, at: y(points[points.length - 1].votes[i]) })).sort((a, b) => a.at - b.at);
  for (let n = 1; n < ends.length; n++) ends[n].at = Math.max(ends[n].at, ends[n - 1].at + 15);
  for (let n = ends.length - 1, floor = bottom; n >= 0; n--) { ends[n].at = Math.min(ends[n].at, floor); floor = ends[n].at - 15; }
  c.textAlign = "left";
  for (const { i, at } of ends) {
    c.fillStyle = named.get(i);
    c.fillText(facts.classes[i], right + 8, at);
  }
}

function drawDecisions() {
  const rows = last.changes.slice().reverse();
  const key = rows.length ? rows[0].step + rows[0].when + rows.length : "";
  if ($("decisions").dataset.key === key) return;
  $("decisions").dataset.key = key;
  $("decisions").replaceChildren(...rows.map((one) => {
    const line = document.createElement("tr");
    const cells = [clock(one.t_us), new Date(one.when).toLocaleTimeString([], { hour12: false }), one.label ?? one.why ?? "no answer", (100 * one.score).toFixed(0) + " %"];
    line.append(...cells.map((text) => element("td", text)));
    const i = facts.classes.indexOf(one.label), dot = document.createElement("i");
    if (i >= 0) { dot.style.background = hue(i); line.children[2].prepend(dot); }
    return line;
  }));
}

async function save(kind) {
  const answer = await fetch("/decisions." + kind + "?source=" + encodeURIComponent(shown || ""), { headers: { "Authorization": "Bearer " + token } }).catch(() => null);
  if (!answer || !answer.ok) return banner("The list could not be saved: the stream does not answer.");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = "decisions." + kind;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("save-csv").addEventListener("click", () => save("csv"));
$("save-json").addEventListener("click", () => save("json"));

function drawRates() {
  const { c, width, height } = sheet("rates");
  const layers = facts.layers;
  if (!layers.length) return waiting(c, width, height, "not measured by this engine");
  if (points.length < 2) return waiting(c, width, height);
  const left = Math.min(16 + widest(c, layers), 0.4 * width), right = width - 56, top = 4, bottom = height - 22, gap = 4;
  const x = axis(c, left, right, bottom), row = (bottom - top) / layers.length;
  const heat = rgb(colours.heat), ground = rgb(colours.track);
  layers.forEach((layer, l) => {
    let most = 1e-9;
    for (const point of points) most = Math.max(most, point.rates[l]);
    const upper = top + l * row, tall = Math.max(2, row - gap);
    for (let n = 0; n + 1 < points.length; n++) {
      const strength = Math.sqrt(points[n + 1].rates[l] / most);
      c.fillStyle = "rgb(" + ground.map((g, k) => Math.round(g + (heat[k] - g) * strength)).join(",") + ")";
      c.fillRect(x(points[n].t), upper, x(points[n + 1].t) - x(points[n].t) + 0.6, tall);
    }
    c.fillStyle = colours.soft; c.textAlign = "right";
    c.fillText(fit(c, layer, left - 10), left - 8, upper + tall / 2);
    c.textAlign = "left"; c.fillStyle = colours.ink;
    c.fillText((100 * points[points.length - 1].rates[l]).toFixed(1) + " %", right + 8, upper + tall / 2);
  });
}

function drawLatency() {
  const { c, width, height } = sheet("latency");
  const { edges, counts } = last.histogram;
  if (!counts.length) return waiting(c, width, height);
  const left = 12, right = width - 12, top = 26, bottom = height - 22;
  const low = Math.log10(edges[0]), high = Math.log10(edges[edges.length - 1]);
  const x = (v) => left + (right - left) * (Math.log10(v) - low) / (high - low);
  const most = Math.max(...counts);
  c.fillStyle = colours.accent;
  counts.forEach((count, i) => {
    if (!count) return;
    const tall = Math.max(2, (bottom - top) * count / most);
    c.fillRect(x(edges[i]) + 1, bottom - tall, Math.max(1, x(edges[i + 1]) - x(edges[i]) - 2), tall);
  });
  c.strokeStyle = colours.line; c.beginPath(); c.moveTo(left, bottom + .5); c.lineTo(right, bottom + .5); c.stroke();
  c.fillStyle = colours.faint; c.textAlign = "center";
  let free = -Infinity;
  const decades = high - low;
  for (let e = Math.floor(low); e <= Math.ceil(high); e++) for (const m of decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 5]) {
    const v = m * 10 ** e;
    if (v < edges[0] * 0.999 || v > edges[edges.length - 1] * 1.001) continue;
    const at = Math.min(Math.max(x(v), left + 16), right - 16);
    if (at - free < 46) continue;
    free = at;
    c.fillText(Number(v.toPrecision(2)) + " ms", at, bottom + 12);
  }
  for (const [name, value, colour] of [["p50", last.latency.p50, colours.ink], ["p99", last.latency.p99, colours.second]]) {
    if (value === null) continue;
    const at = x(Math.min(Math.max(value, edges[0]), edges[edges.length - 1]));
    c.strokeStyle = colour; c.lineWidth = 1.5; c.setLineDash([4, 3]);
    c.beginPath(); c.moveTo(at, 18); c.lineTo(at, bottom); c.stroke(); c.setLineDash([]);
    c.fillStyle = colour;
    const text = name + " " + ms(value), half = c.measureText(text).width / 2;
    c.textAlign = name === "p50" ? "right" : "left";
    c.fillText(text, name === "p50" ? Math.max(at + 3, left + 2 * half) : Math.min(at - 3, right - 2 * half), 9);
  }
}

function drawAccount() {
  const account = last.account, total = Math.max(1, account.in);
  const parts = [["used", colours.accent], ["filtered", colours.quiet], ["late", colours.second], ["invalid", colours.fourth], ["dropped", colours.bad]];
  $("stack").replaceChildren(...parts.filter(([name]) => account[name]).map(([name, colour]) => {
    const part = document.createElement("i");
    part.style.background = colour; part.style.width = "max(2px, " + 100 * account[name] / total + "%)";
    return part;
  }));
  const hidden = account.not_shown ? ` (${account.not_shown.toLocaleString("en")} not shown)` : "";
  $("account").replaceChildren(...[["in", null], ...parts].map(([name, colour]) => {
    const row = document.createElement("div"), [dt, dd] = pair(name, account[name].toLocaleString("en") + (name === "filtered" ? hidden : ""));
    if (colour) { const dot = document.createElement("i"); dot.style.background = colour; dt.prepend(dot); }
    row.append(dt, dd);
    return row;
  }));
  $("notes").replaceChildren(...last.notes.map((text) => element("li", text)));
}

// ---- small things --------------------------------------------------------------------------------------------------

function waiting(c, width, height, text) {
  c.fillStyle = colours.faint; c.textAlign = "center";
  c.fillText(text || "waiting for the first steps", width / 2, height / 2);
}
function rgb(text) {
  const found = /^#(..)(..)(..)$/.exec(text);
  return found ? found.slice(1).map((part) => parseInt(part, 16)) : [128, 128, 128];
}
function nice(step) {
  if (!(step > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].map((m) => m * power).find((v) => v >= step * 0.999) || power;
}
const widest = (c, texts) => Math.max(...texts.map((text) => c.measureText(text).width));
function fit(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  while (text.length > 1 && c.measureText(text + "…").width > width) text = text.slice(0, -1);
  return text + "…";
}
function short(n) {
  if (n === null || n === undefined) return "-";
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e4, " k"]]) if (n >= size) { const v = n / (unit === " k" ? 1e3 : size); return v.toFixed(v < 100 ? 1 : 0) + unit; }
  return Math.round(n).toLocaleString("en");
}
function ms(v) { return v === null || v === undefined ? "-" : v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2); }
function clock(us) {
  const s = us / 1e6, sign = s < 0 ? "-" : "", whole = Math.abs(s);
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, rest = (whole % 60).toFixed(1).padStart(4, "0");
  return sign + (h ? h + ":" + String(m).padStart(2, "0") : String(m)) + ":" + rest;
}

window.addEventListener("resize", () => requestAnimationFrame(draw));
AT_NIGHT.addEventListener("change", draw); // at once: printing waits for no frame
connect();
