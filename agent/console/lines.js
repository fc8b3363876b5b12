// Words of two sides -> lines of a dialogue. No DOM here.

const PAUSE_S = 1.0; // silence that ends a line; as in the gateway's own log

// Lines in the order they began; each word belongs to its speaker's latest line unless a pause lies between.
export class Dialogue {
  constructor(maxLines = 500) {
    this.lines = []; // {speaker, text, start, end, words: [{text, start, end}], number}
    this.maxLines = maxLines;
    this.numAdded = 0;
    this.open = new Map(); // speaker -> their latest line
  }

  // Take one word, or a fragment that carries its own space (`isFragment`). Returns the line it went to.
  add(speaker, text, start, end, isFragment = false) {
    let line = this.open.get(speaker);
    const isOver = line === undefined || start - line.end >= PAUSE_S;
    if (isOver) {
      line = { speaker, text: "", start, end, words: [], number: this.numAdded++ };
      this.open.set(speaker, line);
      this.place(line);
    }
    const isGlued = isFragment && line.words.length > 0 && !/^\s/.test(text);
    const word = text.trim();
    if (isGlued) line.words.at(-1).text += word;
    else if (word) line.words.push({ text: word, start, end });
    line.text = line.words.map((one) => one.text).join(" ");
    line.end = Math.max(line.end, end);
    return line;
  }

  place(line) {
    let index = this.lines.length;
    while (index > 0 && this.lines[index - 1].start > line.start) index -= 1;
    this.lines.splice(index, 0, line);
    if (this.lines.length > this.maxLines) this.lines.shift();
  }
}

export function dialogueOf(words) {
  const dialogue = new Dialogue(Infinity);
  for (const word of words) dialogue.add(word.speaker, word.text, word.start_s, word.end_s);
  return dialogue.lines;
}

// The last line of each side as one text each, for a row: what is being said now.
export function lastWords(words, speaker, maxWords = 14) {
  const own = words.filter((word) => word[0] === speaker);
  let first = own.length;
  while (first > 0 && own.length - first < maxWords) {
    const next = own[first];
    if (next !== undefined && next[2] - own[first - 1][3] >= 2 * PAUSE_S) break;
    first -= 1;
  }
  return own.slice(first).map((word) => word[1]).join(" ");
}
