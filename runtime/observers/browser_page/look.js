"use strict";
// What the dashboard and the page of `plif export --to web` share: colours, names, and canvases.

const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const AT_NIGHT = matchMedia("screen and (prefers-color-scheme: dark)"); // printed, all is light
// of class 0, 1, ...: on a light and on a dark ground (the ten of Tableau, darker and lighter, and three more)
const HUES = [["#1f6fb4", "#58a9f0"], ["#c77d0a", "#f0b35a"], ["#2a8a57", "#4cc38a"], ["#c23b4b", "#ff7a7a"], ["#8450b0", "#b88be0"],
  ["#8c564b", "#c49a8e"], ["#c2489c", "#f294cf"], ["#5b6670", "#aab4be"], ["#8a8a14", "#cccc4d"], ["#0f8f9c", "#4fcfdb"],
  ["#3f51b5", "#8fa0ff"], ["#b5562b", "#ff9d6b"], ["#4d7c0f", "#a3d45a"]];
const hue = (i) => HUES[i % HUES.length][AT_NIGHT.matches ? 1 : 0]; // of class i

function element(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

// A text that changes; the same again would be read out again where it is aria-live.
function say(id, text) { if ($(id).textContent !== text) $(id).textContent = text; }

// A canvas in device pixels, drawn in CSS pixels.
function sheet(id) {
  const canvas = $(id), scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = "11.5px " + getComputedStyle(document.body).fontFamily;
  c.textBaseline = "middle";
  return { c, width, height };
}

// The rows of #bars, one a class: its name, a bar, a number. As wide as the widest name in bold, if there is room.
function makeBars(names) {
  const c = document.createElement("canvas").getContext("2d");
  c.font = "600 12.5px " + getComputedStyle(document.body).fontFamily;
  $("bars").style.setProperty("--names", Math.ceil(Math.max(...names.map((name) => c.measureText(name).width))) + 2 + "px");
  $("bars").replaceChildren(...names.map((name) => {
    const row = document.createElement("li"), track = document.createElement("i");
    track.append(document.createElement("i"));
    row.append(element("span", name), track, document.createElement("b"));
    return row;
  }));
}

// Row i of #bars: a share of 100 of its bar, its number, and whether it is the answer.
function setBar(i, share, number, best) {
  const row = $("bars").children[i], fill = row.children[1].firstChild;
  fill.style.width = share + "%";
  fill.style.background = best ? hue(i) : "";
  row.children[2].textContent = number;
  row.classList.toggle("best", best);
}

// Names with their colours, of the classes i that are given, in a list.
function nameColours(id, names, which) {
  $(id).replaceChildren(...which.map((i) => {
    const item = document.createElement("li"), dot = document.createElement("i");
    dot.style.background = hue(i);
    item.append(dot, names[i]);
    return item;
  }));
}
