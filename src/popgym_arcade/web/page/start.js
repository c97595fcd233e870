// The start page: all games moving, each played by its expert in both views. They load as they come into sight.

import { draw } from "./arcade.js";
import { GAMES } from "./games.js";
import { load } from "./players.js";
import { SEEDS, Session } from "./session.js";

const PACE = 4; // steps per second of games that wait for their player
const PAUSE = 1500; // milliseconds between two episodes

const button = document.getElementById("motion");
let isMoving = !matchMedia("(prefers-reduced-motion: reduce)").matches;

class Tile {
  constructor(entry) {
    this.level = entry.levels[0];
    this.item = document.createElement("li");
    this.item.innerHTML = `<a href="${encodeURIComponent(entry.game)}.html"><div class="twins"><canvas role="img"></canvas>
      <canvas role="img"></canvas></div><b></b> <span></span></a>`;
    this.item.querySelector("b").textContent = entry.game;
    this.item.querySelector("span").textContent = entry.goal;
    [this.mdp, this.pomdp] = this.item.querySelectorAll("canvas");
    this.due = 0;
    this.isVisible = false;
  }

  async load() {
    const game = await import(new URL(`../games/${this.level.id}.js`, import.meta.url));
    this.session = new Session(game, 1);
    this.wait = 1000 / (game.about.pace ?? PACE);
    this.show();
    if (this.level.players.includes("expert")) this.player = await load("expert", this.level, "MDP");
  }

  show() {
    const { id } = this.session.game.about;
    draw(this.mdp, this.session.frame("MDP"), `${id}, all is shown`);
    draw(this.pomdp, this.session.frame("POMDP"), `${id}, some is hidden`);
  }

  tick(now) {
    if (!this.isVisible || !this.player || now < this.due) return;
    if (this.session.end) this.session.begin((this.session.seed + 1) % SEEDS);
    else this.session.act(this.player.act(this.session));
    this.due = Math.max(this.due + this.wait, now) + (this.session.end ? PAUSE : 0);
    this.show();
  }
}

const tiles = GAMES.map((entry) => new Tile(entry));
document.getElementById("games").append(...tiles.map((tile) => tile.item));
const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const tile = tiles.find((each) => each.item === target);
    tile.isVisible = isIntersecting;
    if (isIntersecting) tile.loading ??= tile.load();
  }
});
for (const tile of tiles) sight.observe(tile.item);

function show() {
  button.textContent = isMoving ? "Stop the games" : "Let the games move";
  button.setAttribute("aria-pressed", !isMoving);
  if (isMoving) requestAnimationFrame(tick);
}

function tick(now) {
  if (!isMoving) return;
  for (const tile of tiles) tile.tick(now);
  requestAnimationFrame(tick);
}

button.addEventListener("click", () => {
  isMoving = !isMoving;
  show();
});
show();
