// A game as a person plays it, as in popgym_arcade/play/session.py: all keys derive from the seed of an episode, so that the
// seed and the actions are enough to see it again, here and there.

import { foldIn, key } from "./runtime.js";

export const SEEDS = 2 ** 32;
const PLAYERS = SEEDS - 1; // what the keys of players are folded in with; those of the game are counted from 0

const fold = (words, number) => foldIn(words[0], words[1], number);

export class Session {
  // `game` is an exported module.
  constructor(game, seed) {
    this.game = game;
    this.begin(seed);
  }

  begin(seed) {
    this.seed = seed;
    this.step = 0;
    this.total = 0;
    this.end = "";
    this.key = key(seed);
    this.state = this.game.reset(fold(this.key, 0));
  }

  // Takes a step, and returns its reward.
  act(action) {
    const next = this.game.stepEnv(fold(this.key, 1 + this.step), this.state, action);
    this.state = next.state;
    this.step += 1;
    this.total += next.reward;
    this.end = next.terminated ? "terminated" : next.truncated ? "truncated" : "";
    return next.reward;
  }

  // The key of a player that acts now.
  playersKey() {
    return fold(fold(this.key, PLAYERS), this.step);
  }

  frame(view) {
    return view === "POMDP" ? this.game.drawPomdp(this.state) : this.game.drawMdp(this.state);
  }

  // A checksum of the state's integers.
  digest() {
    let sum = -1;
    for (const [name, dtype] of Object.entries(this.game.about.state)) {
      if (dtype === "float32") continue;
      const leaf = this.state[name];
      const array = typeof leaf === "object" ? leaf : new (ARRAYS[dtype])([leaf]);
      for (const byte of new Uint8Array(array.buffer)) sum = CRC[(sum ^ byte) & 255] ^ (sum >>> 8);
    }
    return (~sum >>> 0).toString(16).padStart(8, "0");
  }
}

const ARRAYS = { bool: Uint8Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array };
Object.assign(ARRAYS, { int32: Int32Array, uint32: Uint32Array });

const CRC = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

// To six digits, halves to even, as Python rounds.
export function rounded(x) {
  const text = Math.abs(x).toFixed(60);
  const cut = text.indexOf(".") + 7;
  const isHalf = /^50*$/.test(text.slice(cut)) && Number(text[cut - 1]) % 2 === 0;
  return Math.sign(x) * Number(isHalf ? text.slice(0, cut) : Math.abs(x).toFixed(6));
}

// What `popgym-arcade play --log` writes and `--replay` shows.
export class Log {
  constructor(session) {
    this.session = session;
    const { id, version, size, made } = session.game.about;
    this.lines = [{ format: 1, game: id, env_version: version, obs_size: size, ...made }];
    this.isOpen = false;
  }

  step(action, reward, view) {
    if (!this.isOpen) this.lines.push({ seed: this.session.seed });
    this.isOpen = true;
    this.lines.push({ action, reward, view });
    if (this.session.end) this.leave();
  }

  leave() {
    if (!this.isOpen) return;
    const { end, total, step, seed } = this.session;
    this.lines.push({ end: end || "left", total: rounded(total), steps: step, state: this.session.digest() });
    this.isOpen = false;
  }

  get isEmpty() {
    return this.lines.length === 1;
  }

  text() {
    const { lines, isOpen } = this;
    if (isOpen) this.leave();
    const text = this.lines.map((line) => JSON.stringify(line) + "\n").join("");
    this.lines = lines.slice(0, isOpen ? -1 : undefined);
    this.isOpen = isOpen;
    return text;
  }
}

// Reads a log: its game, and its episodes with their steps and ends. Throws an Error that names the line.
export function readLog(text) {
  const lines = text.split("\n").slice(0, -1);
  const fail = (line, message) => {
    throw new Error(`line ${line}: ${message}`);
  };
  let header = null;
  let episode = null;
  const episodes = [];
  lines.forEach((line, index) => {
    if (!line.trim()) return;
    let fields;
    try {
      fields = JSON.parse(line);
    } catch {
      fail(index + 1, "this is not JSON");
    }
    if (header === null) {
      if (fields?.format !== 1) fail(index + 1, "this is not a log of popgym-arcade play, or of another format");
      header = { env_version: 0, ...fields };
    } else if (Number.isInteger(fields?.seed) && fields.seed >= 0 && fields.seed < SEEDS) {
      episode = { seed: fields.seed, steps: [], end: null };
      episodes.push(episode);
    } else if (!episode || episode.end) {
      fail(index + 1, 'an episode begins with a line such as {"seed": 0}');
    } else if ([0, 1, 2, 3, 4].includes(fields?.action)) {
      episode.steps.push({ line: index + 1, ...fields });
    } else if (typeof fields?.end === "string") {
      episode.end = { line: index + 1, ...fields };
    } else {
      fail(index + 1, "this is neither a seed nor a step nor an end");
    }
  });
  if (!episodes.some((each) => each.steps.length)) fail(1, "the file holds no step");
  return { header, episodes };
}

// Compares a step or an end that was logged with what happened again; returns what differs, or "".
export const differsFromStep = (step, reward) =>
  reward === step.reward ? "" : `line ${step.line}: this step was rewarded with ${step.reward}, now with ${reward}`;

export function differsFromEnd(end, session) {
  const now = { end: session.end || "left", total: rounded(session.total), steps: session.step, state: session.digest() };
  const name = Object.keys(now).find((each) => now[each] !== end[each]);
  return name ? `line ${end.line}: the episode ended with ${name} ${end[name]}, now with ${now[name]}` : "";
}
