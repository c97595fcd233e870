// <arcade-game game="Skittles">: a game to play, to watch and to race in, with its controls. Keys are those of
// `popgym-arcade play`, while the focus is in the element.

import { GAMES } from "./games.js";
import { load, offered } from "./players.js";
import { Log, SEEDS, Session, differsFromEnd, differsFromStep, readLog } from "./session.js";

const ROOT = new URL("../", import.meta.url);
const ACTIONS = ["up", "down", "left", "right", "fire"];
const KEYS = { ArrowUp: 0, ArrowDown: 1, ArrowLeft: 2, ArrowRight: 3, " ": 4 };
const COMMANDS = { t: "switchView", b: "toggleBoth", r: "restart", p: "togglePause" };
const WAITING_PACE = 4; // steps per second of players in games that wait
const COLOURS = { random: "#7f7f7f", blind: "#56b4e9", memoryless: "#0072b2", memory: "#009e73", expert: "#e69f00" };
const SHOWN = { MDP: ["MDP"], POMDP: ["POMDP"], both: ["MDP", "POMDP"] };

const TEMPLATE = `
<link rel="stylesheet" href="${new URL("arcade.css", import.meta.url)}">
<div id="stage" tabindex="0" role="group" aria-describedby="keys message">
  <figure id="MDP"><canvas role="img"></canvas><figcaption>MDP: all is shown</figcaption></figure>
  <figure id="POMDP"><canvas role="img"></canvas><figcaption>POMDP: some is hidden</figcaption></figure>
  <figure id="rival-figure" hidden><canvas role="img"></canvas><figcaption></figcaption></figure>
</div>
<p id="message" role="status"></p>
<div id="pad" role="group" aria-label="Actions">
  <button data-action="0" aria-label="up">▲</button><button data-action="2" aria-label="left">◀</button>
  <button data-action="4" aria-label="fire">●</button><button data-action="3" aria-label="right">▶</button>
  <button data-action="1" aria-label="down">▼</button>
</div>
<div class="buttons">
  <button id="switchView" aria-keyshortcuts="t">Other view <kbd>T</kbd></button>
  <button id="toggleBoth" aria-keyshortcuts="b" aria-pressed="false">Both views <kbd>B</kbd></button>
  <button id="restart" aria-keyshortcuts="r">Next seed <kbd>R</kbd></button>
  <button id="togglePause" aria-keyshortcuts="p" aria-pressed="false">Pause <kbd>P</kbd></button>
  <button id="oneStep">One step</button>
  <button id="save">Save log</button>
  <button id="open">Open log</button><input id="file" type="file" accept=".jsonl,.json,.log" aria-label="Log to replay" hidden>
</div>
<div class="settings">
  <label>Level <select id="level"></select></label>
  <label>Who plays <select id="player"></select></label>
  <label>Race <select id="rival"></select></label>
  <label>Seed <input id="seed" type="number" min="0" max="${SEEDS - 1}" step="1" inputmode="numeric"></label>
  <label id="pace-label">Pace <input id="pace" type="number" min="0.1" max="100" step="any" inputmode="decimal"></label>
</div>
<div class="told">
<dl id="figures">
  <div><dt>Step</dt><dd id="step"></dd></div>
  <div><dt>Return</dt><dd id="return"></dd></div>
  <div><dt>Memory score</dt><dd id="score"></dd></div>
</dl>
<div id="scale"></div>
</div>
<div id="values" hidden></div>
<p id="keys">Arrows move, space fires. The keys work while the game has the focus.</p>`;

class ArcadeGame extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    this.attachShadow({ mode: "open" }).innerHTML = TEMPLATE;
    this.start().catch((error) => this.say(`The game cannot be shown: ${error.message}`));
  }

  async start() {
    this.entry = GAMES.find((each) => each.game === this.getAttribute("game"));
    if (!this.entry) throw new Error(`there is no game ${this.getAttribute("game")}`);
    const asked = new URLSearchParams(location.search);
    this.view = Object.keys(SHOWN).find((view) => view.toLowerCase() === asked.get("view")) ?? "MDP";
    this.held = [];
    this.listen();
    options(this.part("level"), this.entry.levels.map((each) => [each.id, each.level]));
    const level = this.entry.levels.find((each) => each.level === asked.get("level")) ?? this.entry.levels[0];
    const seed = /^\d{1,10}$/.test(asked.get("seed") ?? "") ? Number(asked.get("seed")) % SEEDS : random();
    await this.choose(level, seed);
    this.setAttribute("ready", "");
  }

  disconnectedCallback() {
    cancelAnimationFrame(this.frameRequest);
    this.frameRequest = 0;
  }

  part(id) {
    return this.shadowRoot.getElementById(id);
  }

  // Takes another level, and starts an episode of it.
  async choose(level, seed) {
    const game = await import(new URL(`games/${level.id}.js`, ROOT));
    this.level = level;
    this.pace = game.about.pace;
    this.session = new Session(game, seed);
    this.log = new Log(this.session);
    this.replayed = this.player = this.rival = null;
    this.part("level").value = level.id;
    options(this.part("player"), [["you", "you"], ...offered(level)]);
    options(this.part("rival"), [["", "nobody"], ...offered(level)]);
    this.part("pace").value = this.pace ?? WAITING_PACE;
    this.part("stage").setAttribute("aria-label", `${this.entry.game}: ${game.about.goal}`);
    this.part("scale").innerHTML = game.about.scale.mdp ? scale(game.about.returns) : "";
    this.begin(seed);
  }

  begin(seed) {
    this.log.leave();
    this.session.begin(seed);
    this.rival?.session.begin(seed);
    this.message = "";
    this.pressed = null;
    this.writtenAt = 0;
    this.isPaused = this.pace !== null; // a game that runs by itself begins with the first key
    if (this.player || this.replayed) this.isPaused = false;
    this.part("seed").value = seed;
    this.wake();
    this.show();
  }

  async play(kind) {
    const player = await this.loaded("player", kind);
    if (player === undefined) return;
    this.player = player;
    this.replayed = null;
    this.begin(this.session.seed);
  }

  async race(kind) {
    const rival = await this.loaded("rival", kind);
    if (rival === undefined) return;
    this.rival = rival;
    if (rival) rival.session = new Session(this.session.game, this.session.seed);
    this.begin(this.session.seed);
  }

  // Loads the player chosen in a list: null if that is nobody; undefined if another one, or another level, was chosen meanwhile.
  async loaded(list, kind) {
    const { level } = this;
    const isChosen = () => this.part(list).value === kind && this.level === level;
    try {
      if (kind === this.part(list).options[0].value) return null;
      this.say("Loading …");
      const player = await load(kind, level);
      return isChosen() ? player : undefined;
    } catch (error) {
      if (!isChosen()) return undefined;
      this.part(list).selectedIndex = 0;
      this.message = `This player cannot be loaded: ${error.message}`;
      this.say(this.message);
      return undefined;
    }
  }

  // Steps a second, as the field says; what is not a number there, or too little or too much, is put right.
  get rate() {
    return Math.min(Math.max(Number(this.part("pace").value) || WAITING_PACE, 0.1), 100);
  }

  // What happens.

  act(action) {
    const reward = this.session.act(action);
    this.log.step(action, reward, this.view);
    this.stepRival();
    this.show();
    return reward;
  }

  stepRival() {
    if (this.rival && !this.rival.session.end) this.rival.session.act(this.rival.act(this.rival.session));
  }

  // One step of whoever plays by itself: a replay, a player, a person in a game that runs; or of a rival left alone.
  advance() {
    if (this.replayed) this.replayStep();
    else if (this.session.end) {
      this.stepRival();
      this.show();
    } else if (this.player) this.act(this.player.act(this.session));
    else this.act(this.pressed ?? this.held.at(-1) ?? this.session.game.about.idle);
    this.pressed = null;
  }

  // Whether steps are taken as time goes by.
  get isRunning() {
    if (this.isPaused) return false;
    if (this.replayed) return !this.replayed.isOver;
    if (this.session.end) return Boolean(this.rival && !this.rival.session.end);
    return Boolean(this.player) || this.pace !== null;
  }

  wake() {
    if (this.frameRequest || !this.isRunning) return;
    this.due = performance.now() + 1000 / this.rate;
    this.frameRequest = requestAnimationFrame((now) => this.tick(now));
  }

  tick(now) {
    this.frameRequest = 0;
    if (!this.isRunning) return;
    const wait = 1000 / this.rate;
    if (now >= this.due) {
      this.due = Math.max(this.due + wait, now); // what was missed, in a hidden page, is not made up for
      this.advance();
    }
    this.frameRequest = requestAnimationFrame((later) => this.tick(later));
  }

  press(action) {
    if (this.player || this.replayed || this.session.end) return;
    if (this.pace === null) {
      this.act(action);
      this.wake();
      return;
    }
    if (this.isPaused) {
      this.isPaused = false;
      this.advanceWith(action);
    } else this.pressed = action;
  }

  advanceWith(action) {
    this.pressed = action;
    this.advance();
    this.wake();
  }

  switchView() {
    this.single = (this.view === "both" ? this.single : this.view) === "POMDP" ? "MDP" : "POMDP";
    this.view = this.single;
    this.look();
  }

  toggleBoth() {
    if (this.view === "both") this.view = this.single ?? "MDP";
    else [this.single, this.view] = [this.view, "both"];
    this.look();
  }

  // Shows what has changed by more than a step.
  look() {
    this.writtenAt = 0;
    this.show();
  }

  restart() {
    if (this.replayed) this.replayed = null;
    this.begin((this.session.seed + 1) % SEEDS);
  }

  togglePause() {
    if (this.isPaused && this.pace !== null && !this.player && !this.replayed && this.session.step === 0) return;
    this.isPaused = !this.isPaused;
    this.wake();
    this.look();
  }

  oneStep() {
    this.isPaused = true;
    if (this.replayed || this.player || (this.pace !== null && !this.session.end)) this.advance();
    this.look();
  }

  // Logs.

  save() {
    if (this.log.isEmpty) return this.say("There is no step to save yet.");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.log.text()], { type: "application/x-ndjson" }));
    link.download = `${this.level.id}-${this.session.seed}.jsonl`;
    link.click();
    return this.say(`Saved: popgym-arcade play --replay ${link.download} shows it.`);
  }

  async replay(text) {
    try {
      const { header, episodes } = readLog(text);
      const level = this.entry.levels.find((each) => each.id === header.game);
      if (!level) throw new Error(`line 1: this is a log of ${header.game}, not of ${this.entry.game}`);
      await this.choose(level, episodes[0].seed);
      const { version } = this.session.game.about;
      if (header.env_version !== version) {
        throw new Error(`line 1: this was played under version ${header.env_version} of the rules, not ${version}, today's`);
      }
      this.replayed = { episodes, episode: 0, step: 0, isOver: false };
      this.begin(episodes[0].seed);
    } catch (error) {
      this.say(`The log cannot be shown: ${error.message}.`);
    }
  }

  replayStep() {
    const { replayed } = this;
    const { steps, end } = replayed.episodes[replayed.episode];
    let wrong = "";
    if (replayed.step < steps.length) {
      const step = steps[replayed.step++];
      if (SHOWN[step.view] && step.view !== this.view) [this.view, this.writtenAt] = [step.view, 0];
      wrong = this.session.end ? `line ${step.line}: the episode is over before this step` : "";
      wrong ||= differsFromStep(step, this.session.act(step.action));
    } else {
      wrong = end ? differsFromEnd(end, this.session) : "";
      replayed.episode += 1;
      replayed.step = 0;
      replayed.isOver = replayed.episode === replayed.episodes.length;
      if (!replayed.isOver) this.session.begin(replayed.episodes[replayed.episode].seed);
    }
    if (wrong) {
      replayed.isOver = true;
      this.message = `The game does not do what it did: ${wrong}.`;
    }
    this.show();
  }

  // What is seen.

  say(text) {
    write(this.part("message"), text);
  }

  show() {
    const { session, rival } = this;
    for (const view of SHOWN[this.view]) draw(this.part(view).firstChild, session.frame(view));
    if (rival) draw(this.part("rival-figure").firstChild, rival.session.frame(SHOWN[this.view].at(-1)));
    // Words and figures need a layout, which takes longer than a step: ten times a second will do.
    if (performance.now() - this.writtenAt >= 100) this.write();
    else this.later ||= setTimeout(() => this.write(), 100);
  }

  write() {
    clearTimeout(this.later);
    this.later = 0;
    this.writtenAt = performance.now();
    const { session, rival } = this;
    const { about } = session.game;
    for (const view of SHOWN.both) {
      this.part(view).hidden = !SHOWN[this.view].includes(view);
      this.part(view).firstChild.setAttribute("aria-label", `${view} of ${about.id}, score ${session.state.score} %`);
    }
    const figure = this.part("rival-figure");
    figure.hidden = !rival;
    if (rival) {
      figure.firstChild.setAttribute("aria-label", `${rival.name}, score ${rival.session.state.score} %`);
      write(figure.lastChild, `${rival.name}: ${signed(rival.session.total)}${rival.session.end && ", at its end"}`);
    }
    this.part("stage").style.setProperty("--count", SHOWN[this.view].length + Boolean(rival));
    write(this.part("step"), `${session.step} of ${about.clock}`);
    write(this.part("return"), signed(session.total));
    const isScored = about.scale.mdp && session.end; // on the way a return says nothing yet
    write(this.part("score"), isScored ? signed(memoryScore(about, session.total, this.view), 2) : "—");
    for (const [name, who] of [["you", session], ["rival", rival?.session]]) {
      this.part("scale").querySelector(`.${name}`)?.setAttribute("transform", `translate(${place(who?.total ?? -9)} 0)`);
    }
    this.showValues(this.player?.values);
    for (const [id, isOn] of [["toggleBoth", this.view === "both"], ["togglePause", this.isPaused && session.step > 0]]) {
      this.part(id).setAttribute("aria-pressed", isOn);
    }
    const isByItself = Boolean(this.player || this.replayed);
    for (const id of ["oneStep", "togglePause", "pace-label"]) this.part(id).hidden = !isByItself && this.pace === null;
    this.part("pad").hidden = isByItself;
    this.say(this.message || this.told());
  }

  told() {
    const { session, rival, replayed, player } = this;
    if (session.end && !(replayed && !replayed.isOver)) {
      const how = session.end === "terminated" ? "The rules ended the episode" : "The clock ended the episode";
      const other = rival?.session.end ? ` ${rival.name}: ${signed(rival.session.total)}.` : "";
      return `${how} with a return of ${signed(session.total)}.${other} ${replayed ? "" : "R: play another."}`;
    }
    if (replayed?.isOver) return "The log ends here; it shows what was played, bit for bit.";
    if (replayed) return `Replay of episode ${replayed.episode + 1} of ${replayed.episodes.length}.`;
    if (player) return `${player.name}, who sees ${player.sees}, ${this.isPaused ? "waits" : "plays"}.`;
    if (session.step === 0) return `${session.game.about.goal} An arrow or space begins.`;
    return this.isPaused && this.pace !== null ? "Paused. An arrow or space goes on." : "";
  }

  showValues(values) {
    const place = this.part("values");
    place.hidden = !values;
    if (!values) return;
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const best = values.indexOf(Math.max(...values));
    const rows = [...values].map((value, action) => {
      const [left, right] = [Math.min(value, 0), Math.max(value, 0)].map((end) => (100 * (end - low)) / (high - low || 1));
      const bar = `<span class="bar"><i style="left:${left}%;width:${right - left}%"></i></span>`;
      return `<li${action === best ? ' class="best"' : ""}><span>${ACTIONS[action]}</span>${bar}<span>${signed(value)}</span></li>`;
    });
    place.innerHTML = `<h3>Scores of the last decision</h3><ol>${rows.join("")}</ol>`;
  }

  // What a visitor does.

  listen() {
    const root = this.shadowRoot;
    root.addEventListener("keydown", (event) => this.keyDown(event));
    root.addEventListener("keyup", (event) => this.release(KEYS[event.key]));
    this.addEventListener("blur", () => (this.held = []));
    for (const id of ["switchView", "toggleBoth", "restart", "togglePause", "oneStep", "save"]) {
      this.part(id).addEventListener("click", (event) => {
        this[id]();
        if (event.detail > 0) this.part("stage").focus(); // after a click keys are the game's again; Tab still reaches buttons
      });
    }
    for (const button of root.querySelectorAll("[data-action]")) {
      const action = Number(button.dataset.action);
      button.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        this.hold(action);
      });
      for (const name of ["pointerup", "pointercancel", "pointerleave"]) button.addEventListener(name, () => this.release(action));
      button.addEventListener("click", (event) => event.detail === 0 && this.press(action)); // by keyboard or screen reader
    }
    const on = (id, event, handle) => this.part(id).addEventListener(event, handle);
    on("level", "change", () => this.choose(this.entry.levels.find((each) => each.id === this.part("level").value), this.session.seed));
    on("player", "change", () => this.play(this.part("player").value));
    on("rival", "change", () => this.race(this.part("rival").value));
    on("seed", "change", () => this.begin(Math.min(Math.max(Math.trunc(Number(this.part("seed").value)) || 0, 0), SEEDS - 1)));
    on("pace", "change", () => (this.part("pace").value = this.rate));
    on("open", "click", () => this.part("file").click());
    on("file", "change", async () => {
      const [file] = this.part("file").files;
      if (file) await this.replay(await file.text());
      this.part("file").value = "";
    });
  }

  keyDown(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || target.matches("input, select")) return;
    const command = COMMANDS[key.toLowerCase()];
    if (command) this[command]();
    else if (key in KEYS && !(key === " " && target.matches("button"))) {
      event.preventDefault();
      if (!event.repeat) this.hold(KEYS[key]);
      else if (this.pace === null) this.press(KEYS[key]);
    }
  }

  hold(action) {
    this.held = [...this.held.filter((each) => each !== action), action];
    this.press(action);
  }

  release(action) {
    this.held = this.held.filter((each) => each !== action);
  }
}

const random = () => crypto.getRandomValues(new Uint32Array(1))[0];

const signed = (x, digits = 3) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;

function options(select, choices) {
  select.replaceChildren(...choices.map(([value, label]) => new Option(label, value)));
}

function memoryScore(about, total, view) {
  const [zero, one] = about.scale[view === "POMDP" ? "pomdp" : "mdp"];
  return (total - zero) / (one - zero);
}

// Draws a frame, RGB, on a canvas.
export function draw(canvas, frame) {
  const size = Math.sqrt(frame.length / 3);
  if (canvas.width !== size || !canvas.image) {
    canvas.width = canvas.height = size;
    canvas.image = new ImageData(size, size);
    canvas.image.data.fill(255);
  }
  const { data } = canvas.image;
  for (let from = 0, to = 0; from < frame.length; from += 3, to += 4) {
    data[to] = frame[from];
    data[to + 1] = frame[from + 1];
    data[to + 2] = frame[from + 2];
  }
  canvas.getContext("2d").putImageData(canvas.image, 0, 0);
}

// Writing what stands there already would cost a layout, and be read aloud again.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Where a return lies on the scale; what is far off lies outside of it.
const place = (value) => (value < -1.5 ? -99 : 20 + ((Math.min(Math.max(value, -1.1), 1.1) + 1.1) / 2.2) * 600);

// The returns of the reference players on a line, with marks for the visitor's and a rival's.
function scale(returns) {
  const marks = Object.entries(returns).map(([name, value], row) => {
    const isRing = name === "expert" || name === "random";
    const look = isRing ? `fill="none" stroke="${COLOURS[name]}" stroke-width="3"` : `fill="${COLOURS[name]}"`;
    const dot = `<circle cx="${place(value)}" cy="26" r="${name === "memoryless" ? 5 : 7.5}" ${look}><title>${name}: ${signed(value)}</title></circle>`;
    return `${dot}<circle cx="${28 + row * 124}" cy="62" r="6" ${look}/><text x="${40 + row * 124}" y="67">${name}</text>`;
  });
  const ticks = [-1, -0.5, 0, 0.5, 1].map((value) => {
    const label = String(value).replace("-", "−");
    return `<path d="M${place(value)} 21v10" class="axis"/><text x="${place(value)}" y="47" text-anchor="middle">${label}</text>`;
  });
  const told = Object.entries(returns).map(([name, value]) => `${name} ${signed(value)}`);
  return `<svg viewBox="0 0 640 74" role="img" aria-label="Mean returns: ${told.join(", ")}">
    <path d="M${place(-1.1)} 26H${place(1.1)}" class="axis"/>${ticks.join("")}${marks.join("")}
    <path class="rival" d="M0 17l-6 -11h12z"/><path class="you" d="M0 17l-6 -11h12z"/></svg>`;
}

customElements.define("arcade-game", ArcadeGame);
