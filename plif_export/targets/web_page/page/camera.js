// A small event camera: brightness pictures, one after the other -> events [t, x, y, p] where the logarithm of a pixel has changed
// by a step.

const STEP = 0.4; // of log brightness, as the simulated sensor of the training has it
const DARK = 0.08; // added to the brightness, so that black has a logarithm

class Camera {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.seen = null;
  }

  // picture: brightness 0..1 of each pixel, at time t (us). darkIsOn: p = 1 where a pixel becomes darker, as in N-MNIST.
  look(picture, t, darkIsOn = false) {
    const events = [];
    const now = picture.map((v) => Math.log(v + DARK));
    if (this.seen) {
      for (let i = 0; i < now.length; i++) {
        for (let most = 12; Math.abs(now[i] - this.seen[i]) >= STEP && most; most--) {
          const up = now[i] > this.seen[i];
          events.push([t, i % this.width, Math.floor(i / this.width), up !== darkIsOn ? 1 : 0]);
          this.seen[i] += up ? STEP : -STEP;
        }
      }
    } else this.seen = [...now];
    return events;
  }
}

// The head of the N-MNIST camera: three moves along a triangle, where it stands every 10 ms, in pixels.
const PATH = @PATH@;

// A drawn digit [28][28] -> a recording of the three moves, in N-MNIST's 5 bytes an event: x, y, p << 7 | t[22:16], t[15:0].
function watchDigit(digit) {
  const camera = new Camera(34, 34), bytes = [];
  for (let t = 0; t <= (PATH.x.length - 1) * 1e4; t += 2500) {
    const k = Math.min(Math.floor(t / 1e4), PATH.x.length - 2), part = t / 1e4 - k;
    const dx = PATH.x[k] + part * (PATH.x[k + 1] - PATH.x[k]), dy = PATH.y[k] + part * (PATH.y[k + 1] - PATH.y[k]);
    const picture = new Float32Array(34 * 34);
    for (let y = 0; y < 34; y++) for (let x = 0; x < 34; x++) picture[y * 34 + x] = between(digit, x - 3 - dx, y - 3 - dy);
    for (const [, x, y, p] of camera.look(Array.from(picture), t, true)) bytes.push(x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255);
  }
  return Uint8Array.from(bytes);
}

function between(image, x, y) {
  const x0 = Math.floor(x), y0 = Math.floor(y), fx = x - x0, fy = y - y0;
  const at = (i, j) => (i < 0 || j < 0 || i > 27 || j > 27 ? 0 : image[j * 28 + i]);
  const value = (1 - fy) * ((1 - fx) * at(x0, y0) + fx * at(x0 + 1, y0)) + fy * ((1 - fx) * at(x0, y0 + 1) + fx * at(x0 + 1, y0 + 1));
  return value ** 2.2; // the monitor
}
