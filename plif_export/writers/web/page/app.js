// The page: a network, what it sees, what it decides. `plif` is for scripts: plif.run(name, bytes, file) gives every decision.

const LIVE = @LIVE@; // the rules of feeds without an end: {decide, reset}
const LOOK_MS = 40; // between two frames of a recording that is played, and two looks of the live camera

const $ = (id) => document.getElementById(id);
const unpack = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const COLOURS = ["#1f6fb4", "#d1495b", "#2a8a57", "#c77d0a", "#8450b0", "#159a9c", "#b04a8f", "#6b7f1e", "#5d6975", "#a15c38", "#3f51b5"];

const networks = new Map(); // name -> Model
let lib, network, sample, history = [], timer = null, session = null, recording = null;

const parts = (kind) => [...document.querySelectorAll(`script[type="application/x-${kind}"]`)];

// Whatever is wrong with a file is said with its name.
function about(name, action) {
  try {
    return action();
  } catch ({ message }) {
    throw new Error(message.startsWith(name) ? message : `${name}: ${message}`);
  }
}

// A network, to be chosen by its name.
function add(name, title, bytes) {
  const model = about(title, () => new Model(lib, bytes)), { card } = model, [channels, height, width] = model.shape;
  model.draws = model.classes.join("") === "0123456789" && `${model.shape}` === "2,34,34";
  model.about = `${channels}x${height}x${width}, ${model.framing}, ${model.states.length} layers of neurons, ${card.precision}, WebAssembly`;
  networks.set(name, model);
  $("which").append(Object.assign(text("option", title), { value: name }));
}

function run(name, bytes, file, rules = {}) {
  const recording = new Recording(lib, bytes, file), model = networks.get(name);
  let session = null;
  try {
    session = new Session(model, rules, recording);
    return [...session.decide(recording)];
  } finally {
    session?.free();
    recording.free();
  }
}

// What goes wrong is said in the page, in one line, and ends what was being played.
const guarded = (action) => (...words) => {
  try {
    return action(...words);
  } catch (error) {
    stop();
    complain(error.message);
  }
};

function choose(name) {
  stop();
  network = networks.get(name);
  const [, height, width] = network.shape;
  document.querySelector("main").hidden = false;
  $("notation").textContent = network.card.notation;
  $("about").textContent = network.about;
  $("picture").width = width;
  $("picture").height = height;
  $("how").textContent = network.draws ? "draw a digit; the camera then moves over it three times" : "move the pointer: a bright ball before the camera";
  $("look").hidden = !network.draws;
  sample = parts("recording").find(({ dataset }) => dataset.of === name);
  $("sample").hidden = !sample;
  $("which").value = name;
  clearPad();
  begin();
}

function begin() {
  history = [];
  $("banner").hidden = true;
  show(null);
}

function stop() {
  clearInterval(timer);
  session?.free();
  recording?.free();
  timer = session = recording = null;
}

function see(decision) {
  history.push({ ...decision, rates: session.rates() });
  drawFrame(session.frame());
  show(decision);
}

function play(bytes, name) {
  stop();
  if (!network) throw new Error(`${name}: there is no network in this page to look at it; open a .plif file first`);
  begin();
  recording = new Recording(lib, bytes, name);
  session = about(name, () => new Session(network, {}, recording));
  if (!session.events) throw new Error(`${name}: there is no event in it`);
  session.rates(); // counted from now on
  const decisions = session.decide(recording);
  timer = setInterval(guarded(() => {
    const { value, done } = decisions.next();
    done ? stop() : see(value);
  }), LOOK_MS);
}

function complain(text) {
  $("banner").textContent = text;
  $("banner").hidden = false;
}

const readFile = async (file) => {
  const bytes = new Uint8Array(await file.arrayBuffer());
  guarded(() => {
    if (!/\.plif$/i.test(file.name)) return play(bytes, file.name);
    if (networks.has(file.name)) throw new Error(`${file.name}: a network of that name is open; open the page anew for another`);
    add(file.name, file.name, bytes);
    choose(file.name);
  })();
};

// --- pictures -------------------------------------------------------------------------------------------------------

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function drawFrame(frame) {
  const [, height, width] = network.shape, context = $("picture").getContext("2d"), size = height * width;
  context.clearRect(0, 0, width, height);
  for (const [p, name] of [[0, "--off"], [1, "--on"]]) {
    context.fillStyle = colour(name);
    for (let i = 0; i < size; i++) {
      if (!frame[p * size + i]) continue;
      context.globalAlpha = Math.min(1, 0.35 + 0.25 * frame[p * size + i]);
      context.fillRect(i % width, Math.floor(i / width), 1, 1);
    }
  }
  context.globalAlpha = 1;
}

function show(decision) {
  const best = decision && decision.label !== null;
  $("label").textContent = best ? decision.label.replaceAll("_", " ") : "none yet";
  $("label").className = best ? "label" : "label none";
  $("soft").textContent = decision?.soft && decision.soft !== decision.label ? `soon: ${decision.soft.replaceAll("_", " ")}` : "\u00a0";
  $("step").textContent = decision ? `step ${decision.step}` : "";
  const votes = decision ? decision.votes : network.classes.map(() => 0), most = Math.max(1, ...votes);
  $("bars").replaceChildren(...network.classes.map((name, i) => {
    const item = document.createElement("li"), bar = document.createElement("u"), fill = document.createElement("i");
    fill.style.width = `${(100 * votes[i]) / most}%`;
    bar.append(fill);
    item.className = best && i === decision.index ? "best" : "";
    item.append(text("span", name.replaceAll("_", " ")), bar, text("b", votes[i]));
    return item;
  }));
  plot("votes", network.classes.map((_, i) => history.map((each) => each.votes[i])), network.classes);
  plot("rates", network.states.map((_, i) => history.map((each) => each.rates[i])), network.states.map((name) => name.replace(/^v\./, "")));
  const times = history.map((each) => each.latency_ms).sort((a, b) => a - b);
  const at = (share) => (times.length ? `${times[Math.min(times.length - 1, Math.floor(share * times.length))].toFixed(2)} ms` : "–");
  const tiles = [["median", at(0.5)], ["99 of 100 below", at(0.99)], ["steps", times.length], ["votes for it", best ? `${Math.round(100 * decision.score)} %` : "–"]];
  $("times").replaceChildren(...tiles.map(([name, value]) => {
    const tile = document.createElement("div");
    tile.append(text("span", name), text("b", value));
    return tile;
  }));
}

function text(tag, content) {
  const element = document.createElement(tag);
  element.textContent = content;
  return element;
}

function plot(id, series, names) {
  const canvas = $(id), scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const c = canvas.getContext("2d"), most = Math.max(1e-9, ...series.flat()), steps = Math.max(2, history.length);
  c.scale(scale, scale);
  c.font = "11px system-ui, sans-serif";
  c.strokeStyle = colour("--line");
  c.strokeRect(0.5, 0.5, width - 1, height - 1);
  c.fillStyle = colour("--faint");
  if (history.length) c.fillText(most < 1 ? `${(100 * most).toFixed(1)} %` : most, 5, 14);
  series.forEach((values, k) => {
    if (!values.length) return;
    c.strokeStyle = COLOURS[k % COLOURS.length];
    c.lineWidth = 1.6;
    c.beginPath();
    values.forEach((v, t) => c.lineTo((t / (steps - 1)) * (width - 70), height - 6 - (v / most) * (height - 26)));
    c.stroke();
    c.fillStyle = c.strokeStyle;
    if (values[values.length - 1] > 0.12 * most) {
      c.fillText(names[k].replaceAll("_", " ").slice(0, 11), width - 66, Math.max(12, height - 4 - (values[values.length - 1] / most) * (height - 26)));
    }
  });
}

// --- the pad: a digit that is drawn, or a ball before a live camera ---------------------------------------------------

const pad = $("pad"), ink = pad.getContext("2d", { willReadFrequently: true });
let drawing = false, ball = null;

function clearPad() {
  ink.fillStyle = "#000";
  ink.fillRect(0, 0, pad.width, pad.height);
}

pad.addEventListener("pointerdown", (event) => {
  drawing = true;
  pad.setPointerCapture(event.pointerId);
  if (network.draws) stroke(event, true);
  else guarded(watch)();
});
pad.addEventListener("pointermove", (event) => {
  if (network.draws) drawing && stroke(event, false);
  else ball = place(event);
});
pad.addEventListener("pointerup", () => (drawing = false));

function place(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
}

function stroke(event, first) {
  const [x, y] = place(event);
  Object.assign(ink, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
  if (first) ink.beginPath();
  ink.lineTo(x, y);
  ink.stroke();
}

// What was drawn, made as large as the digits of MNIST are (20 pixels) and put into the middle of 28x28.
function drawnDigit() {
  const { data } = ink.getImageData(0, 0, pad.width, pad.height), size = pad.width;
  let [x0, y0, x1, y1] = [size, size, 0, 0];
  for (let i = 0; i < size * size; i++) {
    if (data[4 * i] < 100) continue;
    x0 = Math.min(x0, i % size); x1 = Math.max(x1, i % size); y0 = Math.min(y0, Math.floor(i / size)); y1 = Math.max(y1, Math.floor(i / size));
  }
  if (x1 <= x0) return null;
  const small = document.createElement("canvas"), c = small.getContext("2d"), scale = 20 / Math.max(x1 - x0, y1 - y0);
  small.width = small.height = 28;
  c.drawImage(pad, x0, y0, x1 - x0, y1 - y0, 14 - ((x1 - x0) * scale) / 2, 14 - ((y1 - y0) * scale) / 2, (x1 - x0) * scale, (y1 - y0) * scale);
  const grey = c.getImageData(0, 0, 28, 28).data;
  return Array.from({ length: 784 }, (_, i) => grey[4 * i] / 255);
}

// A live camera: its events go into the session as they come, and time goes on without them.
function watch() {
  if (session && !recording) return;
  stop();
  begin();
  const [, height, width] = network.shape, camera = new Camera(width, height);
  session = new Session(network, { ...LIVE, decide: network.card.decide ? null : LIVE.decide }); // null: the file's rule
  session.rates();
  let t = 0;
  timer = setInterval(guarded(() => {
    clearPad();
    if (ball) {
      ink.fillStyle = "#fff";
      ink.beginPath();
      ink.arc(...ball, 34, 0, 7);
      ink.fill();
    }
    const picture = Array.from({ length: width * height }, (_, i) => {
      const x = ((i % width) + 0.5) * (pad.width / width), y = (Math.floor(i / width) + 0.5) * (pad.height / height);
      return ball && Math.hypot(x - ball[0], y - ball[1]) < 34 ? 0.9 : 0.1;
    });
    const events = camera.look(picture, t);
    for (let i = 0; i < events.length; i += ROOM) for (const decision of session.feed(lib.take(events.slice(i, i + ROOM)))) see(decision);
    for (let decision = session.tick(t); decision; decision = session.tick(t)) see(decision);
    t += LOOK_MS * 1000;
    if (!drawing && history.length > 400) stop();
  }), LOOK_MS);
}

$("look").onclick = guarded(() => {
  const digit = drawnDigit();
  digit ? play(watchDigit(digit), "drawn.bin") : complain("draw a digit first");
});
$("clear").onclick = () => { stop(); clearPad(); begin(); };
$("sample").onclick = guarded(() => play(unpack(sample.textContent), sample.dataset.name));
$("file").onchange = (event) => event.target.files[0] && readFile(event.target.files[0]);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) readFile(event.dataTransfer.files[0]); });
$("which").onchange = guarded((event) => choose(event.target.value));

function readRecording(bytes, name) {
  const recording = new Recording(lib, bytes, name), events = { t: [], x: [], y: [], p: [] };
  for (let n = recording.read(); n; n = recording.read()) lib.given(n).forEach((values, k) => { for (const v of values) events["txyp"[k]].push(Number(v)); });
  recording.free();
  return events;
}

guarded(() => {
  lib = new Libplif(unpack($("libplif").textContent));
  for (const { dataset, textContent } of parts("plif")) add(dataset.name, dataset.title, unpack(textContent));
  if (networks.size) choose([...networks.keys()][0]);
})();
window.plif = { networks: [...networks.keys()], run, choose, unpack, watchDigit, readRecording };
