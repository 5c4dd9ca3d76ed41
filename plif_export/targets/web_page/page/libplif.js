// libplif, compiled for WebAssembly: the functions of plif.h that a page needs. Structures lie as plif.h has them, with pointers
// and sizes of 4 bytes. What libplif refuses is an Error with its line of text.

const OPTIONS = 64, DECISION = 80; // bytes of plif_options and plif_decision
const ROOM = 4096; // events of a packet
const DECIDED = 1, IDLE = -2, NO_ENTRY = 8; // NO_ENTRY: what WASI says of a file that is not open; here none ever is

class Libplif {
  constructor(bytes) {
    const module = new WebAssembly.Module(bytes), zeros = (...places) => places.forEach((at) => this.view().setUint32(at, 0, true));
    const answers = {
      environ_sizes_get: (count, size) => (zeros(count, size), 0),
      environ_get: () => 0,
      proc_exit: (code) => { throw new Error(`libplif ended (${code})`); },
    };
    const wasi = WebAssembly.Module.imports(module).map(({ name }) => [name, answers[name] ?? (() => NO_ENTRY)]);
    this.c = new WebAssembly.Instance(module, { wasi_snapshot_preview1: Object.fromEntries(wasi) }).exports;
    this.c._initialize();
    this.decision = this.room(DECISION);
    this.view().setUint32(this.decision, DECISION, true);
    this.took = this.room(12); // small answers
    this.packet = [8, 2, 2, 1].map((bytes) => [this.room(bytes * ROOM), bytes]); // t, x, y, p
  }

  // Memory moves when it grows, so nothing of JavaScript's may look at it for longer than a call.
  view() { return new DataView(this.c.memory.buffer); }
  array(kind, at, n) { return new kind(this.c.memory.buffer, at, n); }

  room(bytes) {
    const at = this.c.malloc(bytes);
    if (!at) throw new Error(`no memory for ${bytes} bytes`);
    return at;
  }

  // Bytes in libplif's memory at a multiple of 64, and their block to free.
  put(bytes) {
    const block = this.room(bytes.length + 64), at = (block + 63) & ~63;
    this.array(Uint8Array, at, bytes.length).set(bytes);
    return { at, block };
  }

  putText(text) {
    return text == null ? { at: 0, block: 0 } : this.put(new TextEncoder().encode(`${text.replaceAll("\0", "\ufffd")}\0`));
  }

  text(at) {
    const bytes = this.array(Uint8Array, at), end = bytes.indexOf(0);
    return new TextDecoder().decode(bytes.subarray(0, end));
  }

  // Events [t, x, y, p], at most ROOM, into the packet; gives their number.
  take(events) {
    const [t, x, y, p] = this.given(events.length);
    events.forEach((event, i) => [t[i], x[i], y[i], p[i]] = [BigInt(event[0]), event[1], event[2], event[3]]);
    return events.length;
  }

  // The first n events of the packet: [t, x, y, p], in arrays that lie in libplif's memory.
  given(n) { return this.packet.map(([at], i) => this.array([BigInt64Array, Uint16Array, Uint16Array, Uint8Array][i], at, n)); }

  // What a function gave, where it has not failed.
  fine(result) {
    if (result < 0) throw new Error(this.text(this.c.plif_error_text()));
    return result;
  }

  made(at) { return at || this.fine(-1); }
}

// A network: a .plif file.
class Model {
  constructor(lib, bytes) {
    const { c } = lib, { at, block } = lib.put(bytes);
    this.lib = lib;
    this.at = c.plif_open_buffer(at, bytes.length, 0);
    if (!this.at) {
      c.free(block);
      lib.made(0);
    }
    const names = (count, name) => Array.from({ length: count }, (_, i) => lib.text(name(this.at, i)));
    this.classes = names(c.plif_classes(this.at), c.plif_class_name);
    this.states = names(c.plif_states(this.at), c.plif_state_name);
    this.framing = lib.text(c.plif_framing(this.at));
    c.plif_input_shape(this.at, lib.took);
    this.shape = [...lib.array(Int32Array, lib.took, 3)];
    const card = c.plif_card(this.at, lib.took);
    try {
      this.card = Object(JSON.parse(new TextDecoder().decode(lib.array(Uint8Array, card, lib.view().getUint32(lib.took, true)))));
    } catch {
      throw new Error("its card is not JSON: export it again");
    }
  }
}

// A recording: the bytes of a file, and its name.
class Recording {
  constructor(lib, bytes, name) {
    const text = lib.putText(name);
    this.lib = lib;
    this.bytes = lib.put(bytes);
    this.at = lib.c.plif_recording_open_buffer(this.bytes.at, bytes.length, text.at);
    lib.c.free(text.block);
    if (!this.at) this.free();
    lib.made(this.at);
  }

  // Puts the next events into the packet, and gives their number; 0 at the end.
  read() { return Number(this.lib.fine(this.lib.c.plif_recording_read(this.at, ...this.lib.packet.map(([at]) => at), ROOM))); }

  free() {
    this.lib.c.plif_recording_close(this.at);
    this.lib.c.free(this.bytes.block);
  }
}

// The state of one stream. rules: {framing, decide, reset, filter} as in plif_options, each left out where it is the usual one.
class Session {
  constructor(model, rules, recording = null) {
    const { lib } = model, options = lib.room(OPTIONS), texts = [rules.framing, rules.decide, rules.reset, rules.filter].map((text) => lib.putText(text ?? null));
    lib.array(Uint8Array, options, OPTIONS).fill(0);
    [OPTIONS, ...texts.slice(0, 3).map(({ at }) => at)].forEach((word, i) => lib.view().setUint32(options + 4 * i, word, true));
    lib.view().setUint32(options + 56, texts[3].at, true); // filter
    lib.view().setInt32(options + 28, 1, true); // threads
    lib.view().setBigInt64(options + 32, -1n, true); // total_events
    Object.assign(this, { lib, model, reset: rules.reset });
    try {
      if (recording) lib.fine(lib.c.plif_recording_describe(recording.at, options));
      this.events = Number(lib.view().getBigInt64(options + 32, true)); // of the recording
      this.at = lib.made(lib.c.plif_session_new(model.at, options));
    } finally {
      [options, ...texts.map(({ block }) => block)].forEach(lib.c.free);
    }
  }

  // All decisions about a recording, one at a time. An early exit ends it where nothing begins anew.
  *decide(recording) {
    for (let n = recording.read(); n; n = recording.read())
      for (const decision of this.feed(n)) {
        yield decision;
        if (decision.is_final && !this.reset) return;
      }
    for (let decision = this.finish(); decision; decision = this.finish()) yield decision;
  }

  // Decisions of n events of the packet.
  *feed(n) {
    const { lib } = this;
    for (let used = 0; used < n; used += lib.view().getUint32(lib.took, true)) {
      const places = lib.packet.map(([at, bytes]) => at + bytes * used);
      const decision = this.decided(() => lib.c.plif_feed(this.at, ...places, n - used, lib.took, lib.decision));
      if (decision) yield decision;
    }
  }

  // The frame that has ended by a time without events, or null.
  tick(t_us) { return this.decided(() => this.lib.c.plif_tick(this.at, BigInt(t_us), this.lib.decision)); }
  finish() { return this.decided(() => this.lib.c.plif_finish(this.at, this.lib.decision)); }

  decided(call) {
    const { lib, model } = this, began = performance.now();
    if (lib.fine(call()) !== DECIDED) return null;
    const latency_ms = performance.now() - began, d = new DataView(lib.c.memory.buffer, lib.decision, DECISION), number = (at) => Number(d.getBigInt64(at, true));
    const index = d.getInt32(32, true), soft = number(72);
    return {
      t_us: number(8), step: number(16), events: number(24), index: index < 0 ? null : index, label: model.classes[index] ?? null, soft: model.classes[soft] ?? null,
      why: index < 0 ? (index === IDLE ? "idle" : "not sure") : null, score: d.getFloat64(40, true),
      votes: [...lib.array(Float64Array, d.getUint32(48, true), model.classes.length)], is_final: number(56) !== 0, latency_ms,
    };
  }

  // What the network saw last, [channel][y][x], and the share of each layer's neurons that fired then.
  frame() { return this.lib.array(Float32Array, this.lib.c.plif_frame_seen(this.at), this.model.shape.reduce((a, b) => a * b)).slice(); }
  rates() { return [...this.lib.array(Float32Array, this.lib.c.plif_firing_rates(this.at), this.model.states.length)]; }
  free() { this.lib.c.plif_session_free(this.at); }
}
