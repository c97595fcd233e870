// Players other than the visitor: the expert, the memory player, an agent. Each looks at a session and says what to do.

const ROOT = new URL("../", import.meta.url);
const NAMES = { agent: "the trained agent", memory: "the memory player", expert: "the expert" };

// The players of a game, as [kind, name].
export function offered(level) {
  const kinds = level.agent ? ["agent", ...level.players] : level.players;
  return Object.entries(NAMES).filter(([kind]) => kinds.includes(kind));
}

// Loads a player: { name, sees, act(session) -> action, values }, the values of all actions if it has them.
export async function load(kind, level) {
  const name = NAMES[kind].replace(/^t/, "T");
  if (kind === "agent") return { name, ...agent(await import(new URL(`agents/${level.agent}.js`, ROOT))) };
  const module = await import(new URL(`players/${level.id}.js`, ROOT));
  if (kind === "memory") return { name, sees: "the POMDP", act: remembering(module) };
  return { name, sees: "the state", act: (session) => module.expert(session.playersKey(), session.state) };
}

function remembering(module) {
  let memory = null;
  return (session) => {
    if (session.step === 0) memory = module.begin();
    const looked = module.act(session.playersKey(), memory, session.state);
    memory = looked.memory;
    return looked.action;
  };
}

function agent(module) {
  let memory = null;
  let last = 0;
  return {
    sees: `the ${module.about.view.toUpperCase()}`,
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
