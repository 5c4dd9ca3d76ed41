// A network in WebAssembly and its decisions, as the runtime makes them: --decide sum, --reset recording.

class Network {
  // about: {name, shape, classes, voters, T, framing, layers: [{name, size}]}; module: a WebAssembly.Module
  constructor(about, module) {
    Object.assign(this, about);
    const { exports } = new WebAssembly.Instance(module, {});
    this.code = exports;
    const size = this.shape.reduce((a, b) => a * b);
    const kind = exports.bytes_each() === 1 ? Uint8Array : Float32Array;
    this.x = new kind(exports.memory.buffer, exports.frame(), size);
    this.y = new Float32Array(exports.memory.buffer, exports.answer(), this.classes.length);
    this.reset();
  }

  reset() {
    this.code.reset();
    this.votes = new Array(this.classes.length).fill(0);
    this.steps = 0;
  }

  // One frame [channel][y][x] -> the decision so far. Votes are whole; among equals the lowest class wins; no vote, no label.
  step(frame) {
    this.x.set(frame);
    const began = performance.now();
    this.code.step();
    const ms = performance.now() - began;
    for (let i = 0; i < this.votes.length; i++) this.votes[i] += Math.round(this.y[i] * this.voters);
    const index = this.votes.indexOf(Math.max(...this.votes));
    const some = this.votes[index] > 0;
    this.steps += 1;
    return {
      step: this.steps - 1, index: some ? index : null, label: some ? this.classes[index] : null, votes: [...this.votes],
      score: some ? this.votes[index] / (this.voters * this.steps) : 0, latency_ms: ms,
    };
  }

  // Spikes per neuron of each layer in the last step, 0..1.
  rates() {
    return this.layers.map((layer, i) => this.code.spikes(i) / layer.size);
  }
}
