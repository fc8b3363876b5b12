// A recording's outline as columns of pixels, and where its events lie. No DOM here.

// peaks: [least, greatest, ...] of N stretches. -> [[least, greatest] of each column], -1..1, over [from, to] seconds.
export function columns(peaks, seconds, from, to, count) {
  const stretches = peaks.length / 2;
  const perSecond = stretches / seconds;
  const found = [];
  for (let column = 0; column < count; column += 1) {
    const first = Math.floor((from + ((to - from) * column) / count) * perSecond);
    const after = Math.max(first + 1, Math.ceil((from + ((to - from) * (column + 1)) / count) * perSecond));
    let least = 0;
    let greatest = 0;
    for (let index = Math.max(0, first); index < Math.min(stretches, after); index += 1) {
      least = Math.min(least, peaks[2 * index]);
      greatest = Math.max(greatest, peaks[2 * index + 1]);
    }
    found.push([least / 127, greatest / 127]);
  }
  return found;
}

// Loudest of an outline, so that a quiet recording still fills its lane; never less than a tenth of full scale.
export function reach(...sides) {
  let greatest = 12.7;
  for (const side of sides) for (const value of side) greatest = Math.max(greatest, Math.abs(value));
  return greatest / 127;
}

// The sidecar's events as stretches to draw: overlaps, and the gaps between a caller's end and the answer.
export function marks(turns) {
  const events = turns?.events ?? [];
  const overlaps = events
    .filter((event) => event.kind === "overlap")
    .map((event) => ({ start: event.at_s, end: event.at_s + event.value_s }));
  const gaps = events
    .filter((event) => event.kind === "response")
    .map((event) => ({ start: event.at_s, end: event.at_s + Math.max(0, event.value_s), value: event.value_s }));
  return { overlaps, gaps };
}

// Which word is heard at this time: the last one that has begun, or -1 before the first.
export function wordAt(words, seconds) {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start_s <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// Times for a ruler: round steps, at most `most` of them.
export function ticks(from, to, most) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((one) => (to - from) / one <= most) ?? 7200;
  const found = [];
  for (let index = Math.ceil(from / step - 1e-9); index * step <= to + 1e-9; index += 1) {
    found.push(Math.round(index * step * 1000) / 1000);
  }
  return found;
}
