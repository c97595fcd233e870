// Players other than the visitor: the expert, the memory player, an agent. Each looks at a session and says what to do.

const ROOT = new URL("../", import.meta.url);

// The players of a game, as [kind, name].
export function offered(level) {
  const found = [];
  if (level.agent) found.push(["agent", "the trained agent"]);
  if (level.players.includes("pomdp")) found.push(["memory", "the memory player"]);
  if (level.players.includes("expert")) found.push(["expert", "the expert"]);
  return found;
}

// Loads a player: { act(session) -> action, values }, the values of all actions if it has them.
// A memory player is shown a view, "MDP" or "POMDP"; an agent that which it was trained on.
export async function load(kind, level, view) {
  if (kind === "agent") return agent(await import(new URL(`agents/${level.agent}.js`, ROOT)));
  const module = await import(new URL(`players/${level.id}.js`, ROOT));
  return kind === "expert" ? { act: (session) => module.expert(session.playersKey(), session.state) } : rememberer(module, view);
}

function rememberer(module, view) {
  const [begin, look] = view === "POMDP" ? [module.beginPomdp, module.actPomdp] : [module.beginMdp, module.actMdp];
  let memory = null;
  return {
    act(session) {
      if (session.step === 0) memory = begin();
      const looked = look(session.playersKey(), memory, session.state);
      memory = looked.memory;
      return looked.action;
    },
  };
}

function agent(module) {
  let memory = null;
  let last = 0;
  return {
    values: null,
    act(session) {
      if (session.step === 0) memory = module.begin();
      const looked = module.act(memory, session.state, last, session.step === 0);
      memory = looked.memory;
      this.values = looked.values;
      last = looked.values.indexOf(Math.max(...looked.values));
      return last;
    },
  };
}
