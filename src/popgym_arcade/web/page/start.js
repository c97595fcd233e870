// <arcade-start>: all games moving, each played by its expert in both views. They load as they come into sight. With an
// attribute `pages`, links lead to pages of a site below that address, else to GAME.html.

import { draw } from "./arcade.js";
import { GAMES } from "./games.js";
import { load } from "./players.js";
import { SEEDS, Session } from "./session.js";

const PACE = 4; // steps per second of games that wait for their player
const PAUSE = 1500; // milliseconds between two episodes

class Tile {
  constructor(entry, address) {
    this.level = entry.levels[0];
    this.item = document.createElement("li");
    this.item.innerHTML = `<a><span class="twins"><canvas role="img"></canvas><canvas role="img"></canvas></span><b></b> <span></span></a>`;
    this.item.firstChild.href = address;
    this.item.querySelector("b").textContent = entry.game;
    this.item.querySelector("b + span").textContent = entry.goal;
    [this.mdp, this.pomdp] = this.item.querySelectorAll("canvas");
    this.mdp.setAttribute("aria-label", `${entry.game}, all is shown`);
    this.pomdp.setAttribute("aria-label", `${entry.game}, some is hidden`);
    this.due = 0;
    this.isVisible = false;
  }

  async load() {
    const game = await import(new URL(`../games/${this.level.id}.js`, import.meta.url));
    this.session = new Session(game, 1);
    this.wait = 1000 / (game.about.pace ?? PACE);
    this.show();
    if (this.level.players.includes("expert")) this.player = await load("expert", this.level);
  }

  show() {
    draw(this.mdp, this.session.frame("MDP"));
    draw(this.pomdp, this.session.frame("POMDP"));
  }

  tick(now) {
    if (!this.isVisible || !this.player || now < this.due) return;
    if (this.session.end) this.session.begin((this.session.seed + 1) % SEEDS);
    else this.session.act(this.player.act(this.session));
    this.due = Math.max(this.due + this.wait, now) + (this.session.end ? PAUSE : 0);
    this.show();
  }
}

class ArcadeStart extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<link rel="stylesheet" href="${new URL("start.css", import.meta.url)}">
      <p><button></button></p><ul></ul>`;
    const pages = this.getAttribute("pages");
    this.tiles = GAMES.map((entry) => new Tile(entry, pages === null ? `${entry.game}.html` : `${pages}${entry.page}/`));
    root.querySelector("ul").append(...this.tiles.map((tile) => tile.item));
    const sight = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        const tile = this.tiles.find((each) => each.item === target);
        tile.isVisible = isIntersecting;
        if (isIntersecting) tile.loading ??= tile.load();
      }
    });
    for (const tile of this.tiles) sight.observe(tile.item);
    this.button = root.querySelector("button");
    this.button.addEventListener("click", () => this.move(!this.isMoving));
    this.move(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  move(isMoving) {
    this.isMoving = isMoving;
    this.button.textContent = isMoving ? "Stop the games" : "Let the games move";
    const tick = (now) => {
      if (!this.isMoving || !this.isConnected) return;
      for (const tile of this.tiles) tile.tick(now);
      requestAnimationFrame(tick);
    };
    if (isMoving) requestAnimationFrame(tick);
  }
}

customElements.define("arcade-start", ArcadeStart);
