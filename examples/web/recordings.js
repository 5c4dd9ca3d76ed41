// Recordings of event cameras -> {t, x, y, p} in arrays, times in microseconds: N-MNIST's 5-byte events, and Prophesee's EVT 3.0.

function readRecording(bytes, name) {
  return name.toLowerCase().endsWith(".raw") ? readEvt3(bytes) : readFiveBytes(bytes);
}

// x, y, p << 7 | t[22:16], t[15:8], t[7:0]; a word with y = 240 adds 2^13 us to all times after it
function readFiveBytes(bytes) {
  const events = { t: [], x: [], y: [], p: [] };
  let added = 0;
  for (let i = 0; i + 5 <= bytes.length; i += 5) {
    if (bytes[i + 1] === 240) { added += 1 << 13; continue; }
    push(events, (((bytes[i + 2] & 0x7f) << 16) | (bytes[i + 3] << 8) | bytes[i + 4]) + added, bytes[i], bytes[i + 1], bytes[i + 2] >> 7);
  }
  return events;
}

// 16-bit words, the type in bits 12 to 15: a state machine of time, row and vector base
function readEvt3(bytes) {
  let at = 0; // behind the header, whose lines begin with %
  while (bytes[at] === 0x25) { while (at < bytes.length && bytes[at] !== 10) at++; at++; }
  const events = { t: [], x: [], y: [], p: [] };
  let high = -1, wraps = 0, raw = -1, low = 0, row = -1, base = -1, on = 0;
  for (; at + 2 <= bytes.length; at += 2) {
    const word = bytes[at] | (bytes[at + 1] << 8), kind = word >> 12, value = word & 0xfff;
    if (kind === 0x8) {
      if (raw >= 0 && value < raw && raw - value > 2048) wraps += 1 << 12;
      if (wraps + value !== high) low = 0;
      raw = value;
      high = wraps + value;
    } else if (kind === 0x6) low = value;
    else if (kind === 0x0) row = value & 0x7ff;
    else if (kind === 0x3) { base = value & 0x7ff; on = value >> 11; }
    else if (kind === 0x2) { if (high >= 0 && row >= 0) push(events, high * 4096 + low, value & 0x7ff, row, value >> 11); }
    else if (kind === 0x4 || kind === 0x5) {
      const width = kind === 0x4 ? 12 : 8;
      for (let b = 0; b < width; b++)
        if ((value >> b) & 1 && high >= 0 && row >= 0 && base >= 0 && base + b < 2048) push(events, high * 4096 + low, base + b, row, on);
      if (base >= 0) base += width;
    }
  }
  return events;
}

function push(events, t, x, y, p) {
  events.t.push(t);
  events.x.push(x);
  events.y.push(y);
  events.p.push(p);
}
