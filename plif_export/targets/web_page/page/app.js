// The page: a network, what it sees, what it decides. `plif` is for scripts: plif.run(name, bytes, file) gives every decision.

const LIVE = @LIVE@; // the rules of feeds without an end: {decide, reset}
const LOOK_MS = 40; // between two looks of the live camera, and at most between two frames of a recording that is played

const unpack = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const networks = new Map(); // name -> Model
let lib, network, sample, history = [], frame = null, timer = null, session = null, recording = null;

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
  $("which").append(new Option(title, name));
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
  $("how").textContent = network.draws ? "draw a digit, or press its key; the camera then moves over it three times"
    : "move the pointer, or press the arrows: the ball moves before the camera";
  $("look").hidden = !network.draws;
  sample = parts("recording").find(({ dataset }) => dataset.of === name);
  $("sample").hidden = !sample;
  $("which").value = name;
  const names = network.classes.map((name) => name.replaceAll("_", " "));
  Object.assign(network, { names, layers: network.states.map((name) => name.replace(/^v\./, "")) });
  makeBars(names);
  $("proof").replaceChildren(...proof(network.card).map(([name, said]) => {
    const line = document.createElement("div");
    line.append(element("dt", name), element("dd", said));
    return line;
  }));
  clearPad();
  begin();
}

// What the card says of the proof, as [name, sentence]: whoever made the file wrote it.
function proof({ parity, precision, source_sha256, digest, versions }) {
  const count = (number) => Number(number).toLocaleString("en"), said = [];
  if (Object(parity) !== parity) said.push(["proof", parity ?? "not run"]);
  else {
    said.push([parity.passed ? "passed" : "FAILED", `${count(parity.spike_mismatches)} of ${count(parity.spikes)} spikes differ from PyTorch (${count(parity.excused)} excused), over ${count(parity.steps)} steps`]);
    if (parity.untested?.length) said.push(["not tested", `${parity.untested.join(", ")}: never fired`]);
    if ("rounding_mismatches" in parity)
      said.push([precision, `${count(parity.free_running_mismatches)} spikes${"rounded_spikes" in parity ? ` (rounded weights had a part in ${count(parity.rounded_spikes)})` : ""} and ${count(parity.decisions_changed)} of ${count(parity.decisions)} decisions differ from the model in fp32`]);
  }
  return [...said, ["made from", `SHA-256 ${source_sha256 ?? "-"}`], ["network", `SHA-256 ${digest?.sha256 ?? "-"}`], ["plif", versions?.plif ?? "-"]];
}

function begin() {
  history = [];
  frame = null;
  $("banner").hidden = true;
  show();
}

function stop() {
  clearTimeout(timer);
  session?.free();
  recording?.free();
  timer = session = recording = null;
  $("sample").textContent = "Play a recording";
}

function see(decision) {
  history.push({ ...decision, rates: session.rates() });
  frame = session.frame();
  show();
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
  $("sample").textContent = "Stop";
  let t_us = 0;
  const next = guarded(() => {
    const { value, done } = decisions.next();
    if (done) return stop();
    see(value);
    timer = setTimeout(next, Math.min(LOOK_MS, (value.t_us - t_us) / 1000)); // as fast as it was, and never slow
    t_us = value.t_us;
  });
  timer = setTimeout(next, LOOK_MS);
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

function drawFrame() {
  const [, height, width] = network.shape, context = $("picture").getContext("2d"), size = height * width;
  context.clearRect(0, 0, width, height);
  for (const [p, name] of frame ? [[0, "off"], [1, "on"]] : []) {
    context.fillStyle = css(name);
    for (let i = 0; i < size; i++) {
      if (!frame[p * size + i]) continue;
      context.globalAlpha = Math.min(1, 0.35 + 0.25 * frame[p * size + i]);
      context.fillRect(i % width, Math.floor(i / width), 1, 1);
    }
  }
  context.globalAlpha = 1;
}

function show() {
  const decision = history.at(-1), best = decision && decision.label !== null, { names, layers } = network;
  drawFrame();
  say("label", best ? names[decision.index] : "none yet");
  $("label").className = best ? "label" : "label none";
  say("soft", decision?.soft && decision.soft !== decision.label ? `soon: ${decision.soft.replaceAll("_", " ")}` : "\u00a0");
  $("step").textContent = decision ? `step ${decision.step}` : "";
  const votes = decision ? decision.votes : names.map(() => 0), most = Math.max(1, ...votes);
  names.forEach((_, i) => setBar(i, (100 * votes[i]) / most, Number(votes[i].toFixed(1)), best && i === decision.index));
  plot("votes", names, (each) => each.votes);
  plot("rates", layers, (each) => each.rates);
  nameColours("votes-names", names, names.map((_, i) => i).filter((i) => votes[i] > 0.12 * most));
  nameColours("rates-names", layers, layers.map((_, i) => i));
  const times = history.map((each) => each.latency_ms).sort((a, b) => a - b);
  const at = (share) => (times.length ? `${times[Math.min(times.length - 1, Math.floor(share * times.length))].toFixed(2)} ms` : "–");
  const tiles = [["median", at(0.5)], ["99 of 100 below", at(0.99)], ["steps", times.length], ["votes for it", best ? `${Math.round(100 * decision.score)} %` : "–"]];
  $("times").replaceChildren(...tiles.map(([name, value]) => {
    const tile = document.createElement("div");
    tile.append(element("span", name), element("b", value));
    return tile;
  }));
}

function plot(id, names, values) {
  const { c, width, height } = sheet(id), steps = Math.max(2, history.length);
  const most = history.reduce((high, each) => Math.max(high, ...values(each)), 1e-9);
  c.strokeStyle = css("line");
  c.strokeRect(0.5, 0.5, width - 1, height - 1);
  c.fillStyle = css("faint");
  if (history.length) c.fillText(most < 1 ? `${(100 * most).toFixed(1)} %` : Number(most.toFixed(1)), 6, 12);
  c.lineWidth = 1.6;
  names.forEach((_, k) => {
    c.strokeStyle = hue(k);
    c.beginPath();
    history.forEach((each, t) => c.lineTo((t / (steps - 1)) * width, height - 6 - (values(each)[k] / most) * (height - 30)));
    c.stroke();
  });
}

// --- the pad: a digit that is drawn, or a ball before a live camera ---------------------------------------------------

const pad = $("pad"), ink = pad.getContext("2d", { willReadFrequently: true });
let drawing = false, ball = [140, 140];

// Empty, but for the ball: there is something to take hold of. White ink on nothing; the style makes it dark on a light page.
function clearPad() {
  ink.clearRect(0, 0, pad.width, pad.height);
  if (network.draws) return;
  ink.fillStyle = "#fff";
  ink.beginPath();
  ink.arc(...ball, 34, 0, 7);
  ink.fill();
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
pad.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (network.draws && /^[0-9]$/.test(event.key)) write(event.key);
  else if (network.draws && event.key === "Enter") $("look").click();
  else if (!network.draws && way) {
    event.preventDefault();
    ball = ball.map((at, i) => Math.max(0, Math.min(280, at + 20 * way[i])));
    guarded(watch)();
  }
});

function write(digit) {
  clearPad();
  Object.assign(ink, { fillStyle: "#fff", font: "230px sans-serif", textAlign: "center", textBaseline: "middle" });
  ink.fillText(digit, 140, 148);
}

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
    if (data[4 * i + 3] < 100) continue;
    x0 = Math.min(x0, i % size); x1 = Math.max(x1, i % size); y0 = Math.min(y0, Math.floor(i / size)); y1 = Math.max(y1, Math.floor(i / size));
  }
  if (x1 <= x0) return null;
  const small = document.createElement("canvas"), c = small.getContext("2d"), scale = 20 / Math.max(x1 - x0, y1 - y0);
  small.width = small.height = 28;
  c.drawImage(pad, x0, y0, x1 - x0, y1 - y0, 14 - ((x1 - x0) * scale) / 2, 14 - ((y1 - y0) * scale) / 2, (x1 - x0) * scale, (y1 - y0) * scale);
  const opacity = c.getImageData(0, 0, 28, 28).data;
  return Array.from({ length: 784 }, (_, i) => opacity[4 * i + 3] / 255);
}

// How feeds are decided: by the card's rule for two rows where it has one, else by its rule, else by the page's.
function rulesOf({ card, framing }) {
  if (card.follow) return { framing: `${framing},follow=on`, decide: card.follow.rule };
  return card.decide ? { decide: null } : {}; // null: the file's rule
}

// A live camera: its events go into the session as they come, and time goes on without them.
function watch() {
  if (session && !recording) return;
  stop();
  begin();
  const [, height, width] = network.shape, camera = new Camera(width, height);
  session = new Session(network, { ...LIVE, ...rulesOf(network) });
  session.rates();
  let t = 0;
  const look = guarded(() => {
    clearPad();
    const picture = Array.from({ length: width * height }, (_, i) => {
      const x = ((i % width) + 0.5) * (pad.width / width), y = (Math.floor(i / width) + 0.5) * (pad.height / height);
      return Math.hypot(x - ball[0], y - ball[1]) < 34 ? 0.9 : 0.1;
    });
    const events = camera.look(picture, t);
    for (let i = 0; i < events.length; i += ROOM) for (const decision of session.feed(lib.take(events.slice(i, i + ROOM)))) see(decision);
    for (let decision = session.tick(t); decision; decision = session.tick(t)) see(decision);
    t += LOOK_MS * 1000;
    if (!drawing && history.length > 400) return stop();
    timer = setTimeout(look, LOOK_MS);
  });
  look();
}

$("look").onclick = guarded(() => {
  const digit = drawnDigit();
  digit ? play(watchDigit(digit), "drawn.bin") : complain("draw a digit first");
});
$("clear").onclick = () => { stop(); clearPad(); begin(); };
$("sample").onclick = guarded(() => (recording ? stop() : play(unpack(sample.textContent), sample.dataset.name)));
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
  const wanted = location.hash.slice(1); // as in index.html#gesture
  if (networks.size) choose(networks.has(wanted) ? wanted : [...networks.keys()][0]);
  if (sample && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
    new IntersectionObserver(([{ isIntersecting }], once) => { // when it is seen, once
      if (!isIntersecting) return;
      once.disconnect();
      if (!session) $("sample").click();
    }).observe($("picture"));
  }
})();
for (const [on, what] of [[window, "resize"], [AT_NIGHT, "change"]]) on.addEventListener(what, () => network && show());
window.plif = { networks: [...networks.keys()], run, choose, unpack, watchDigit, readRecording };
