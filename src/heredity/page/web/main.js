// The page: what is shown, from the record and the view in the address.

let lab = emptyLab(),
  forest = null,
  state = readState(location.hash);
const app = {
  version: 0,
  epoch: "",
  told: 0,
  live: false,
  metric: null,
  best: -1,
  sel: -1,
  cmp: -1,
  picked: [],
  colour: null,
  matches: null,
  trunk: null,
  layout: null,
  special: new Set(),
  path: [],
  view: null,
  fitted: true,
  hover: null,
  ink: null,
  memo: new Map(),
  points: [],
  plot: null,
  found: -1,
};

/** A value that is computed again only when its key changes. */
function remember(name, key, make) {
  const known = app.memo.get(name),
    whole = JSON.stringify([app.version, key]);
  if (!known || known.key !== whole) app.memo.set(name, { key: whole, value: make() });
  return app.memo.get(name).value;
}

/** The birth that an id, the beginning of one, or a name means; -1 when none or several. */
function find(reference) {
  if (!reference) return -1;
  if (lab.place.has(reference)) return lab.place.get(reference);
  for (const [birth, names] of lab.names) if (names.includes(reference)) return birth;
  const matches = reference.length >= 4 ? lab.ids.filter(id => id.startsWith(reference)) : [];
  return matches.length === 1 ? lab.place.get(matches[0]) : -1;
}

/** Change the view. `quiet` replaces the entry of the browser's history. */
function setState(patch, { quiet = false } = {}) {
  Object.assign(state, patch);
  const address = writeState(state) || "#";
  if (address !== (location.hash || "#")) {
    try {
      history[quiet ? "replaceState" : "pushState"](null, "", address);
    } catch {
      location.hash = address; // a browser that keeps no history for files
    }
  }
  render();
}

function derive() {
  app.metric = lab.values.has(state.metric) ? state.metric : usualMetric();
  const { metric } = app;
  const up = state.tab === "search" ? upKey().slice(2) : metric;
  app.lowSaid = remember("lowSaid", up, () => isMinimized(up));
  app.low = state.low ? state.low === "1" : app.lowSaid;
  app.best = metric === null ? -1 : remember("best", [metric, app.low], () => bestOf(metric, app.low));
  [app.sel, app.cmp] = [find(state.sel), find(state.cmp)];
  app.picked = remember("pick", state.pick, () => state.pick.map(find).filter(birth => birth >= 0));
  app.colour = remember("colour", state.color, () => colouring(state.color));
  app.matches = remember("matches", [state.q, state.kinds, state.named, state.min, state.max, metric], () =>
    matching(state, metric),
  );
  const extra = [app.sel, app.cmp, ...app.picked].filter(birth => birth >= 0);
  app.special = new Set([...extra, app.best, ...lab.names.keys()]);
  const opened = new Set(state.open);
  const shape = [metric, app.low, state.ends, state.all, state.open, extra];
  app.trunk = remember("trunk", shape, () =>
    growTrunk({ metric, low: app.low, ends: state.ends, all: state.all, opened, extra }),
  );
  const before = app.layout;
  app.layout = remember("layout", [shape, state.x], () =>
    layOut(app.trunk, { x: state.x, special: app.special, opened }),
  );
  app.path = paths();
  if (before && before !== app.layout) keepPlace(before);
}

/** Highlighted lines of descent with their colours. */
function paths() {
  const { sel, cmp, ink } = app;
  if (sel >= 0 && cmp >= 0) {
    const common = commonAncestor([sel, cmp]);
    const down = birth => (common < 0 ? pathTo(birth) : wayDown(common, birth));
    return [
      [down(cmp), ink.second],
      [down(sel), ink.accent],
    ];
  }
  return sel >= 0 ? [[pathTo(sel), ink.accent]] : [];
}

const darkScheme = matchMedia("(prefers-color-scheme: dark)");

/** Colours of the canvas, from the style sheet. */
function readInk(theme = state.theme) {
  const root = document.documentElement,
    style = getComputedStyle(root);
  root.dataset.theme = theme === "auto" ? (darkScheme.matches ? "dark" : "light") : theme;
  const names = [
    "paper",
    "text",
    "muted",
    "grid",
    "edge",
    "rim",
    "fold",
    "fold-fill",
    "mate",
    "accent",
    "second",
    "best",
    "pick",
  ];
  app.ink = Object.fromEntries(
    names.map(name => [
      name.replace(/-(.)/, (_, letter) => letter.toUpperCase()),
      style.getPropertyValue(`--${name}`).trim(),
    ]),
  );
}

function render() {
  if (!forest) return;
  readInk();
  derive();
  renderHead();
  renderControls();
  renderLegend();
  renderStage();
  renderPanel();
}

function renderHead() {
  const alive = lab.ids.length - lab.death.size;
  document.title = `${lab.about.name ?? "lab"}: lineage`;
  $("lab").textContent = lab.about.name ?? "";
  const common = remember("mrca", 0, () => commonAncestor(livingBirths().slice(0, 2000)));
  const depth = most(forest.depth);
  const facts = [[count(lab.ids.length), "births"]];
  if (lab.death.size) facts.push([count(alive), "living"]);
  facts.push([count(forest.roots.length), forest.roots.length === 1 ? "root" : "roots"], [count(depth), "generations"]);
  const list = facts.map(([value, word]) => h("li", h("b", value), " " + word));
  if (lab.death.size && common >= 0)
    list.push(
      h("li", "common ancestor ", modelLink(common), ` ${plural(depth - forest.depth[common], "generation")} back`),
    );
  if (app.best >= 0)
    list.push(h("li", `best ${app.metric} `, h("b", number(valueOf(app.metric, app.best))), " ", modelLink(app.best)));
  $("facts").replaceChildren(...list);
  if (document.activeElement !== $("q")) $("q").value = state.q;
  $("found").textContent = app.matches ? plural(app.matches.births.length, "match", "matches") : "";
  $("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[state.theme];
  $("theme").title = `colours: ${state.theme}`;
}

const livingBirths = () =>
  lab.death.size
    ? forest.births.filter(birth => !isDead(birth))
    : forest.births.filter(birth => !forest.offspring[birth].length);

/** Select a birth and bring it into view. */
function select(birth, { panel = "", add = false } = {}) {
  if (birth < 0) return setState({ sel: "", cmp: "", panel: "" });
  if (add || (state.panel === "compare" && state.sel && !state.cmp)) {
    if (app.sel >= 0 && birth !== app.sel) {
      setState({ cmp: lab.ids[birth], panel: "compare" });
      return reveal(birth);
    }
    if (add) return undefined;
  }
  setState({ sel: lab.ids[birth], panel, ...(panel === "compare" ? {} : { cmp: "" }) });
  say(describe(birth));
  return reveal(birth);
}

/** A birth in one sentence, for those who listen. */
function describe(birth) {
  const { metric } = app,
    value = valueOf(metric, birth);
  return [
    labelFor(birth),
    lab.kind[birth],
    value == null ? "" : `${metric} ${number(value)}`,
    isDead(birth) ? "dead" : "living",
    `generation ${forest.depth[birth]}`,
    plural(forest.offspring[birth].length, "child", "children"),
  ]
    .filter(Boolean)
    .join(", ");
}

const say = text => {
  $("say").textContent = text;
};

/** Take in chunks; a new epoch is another lab. */
function take({ about, epoch = "", start = 0, told = 0, chunks }) {
  if (epoch !== app.epoch || start < app.told) {
    lab = emptyLab();
    forest = null;
    Object.assign(app, { layout: null, told: 0 });
    hays.clear();
  }
  Object.assign(app, { epoch, told });
  if (about) lab.about = about;
  for (const chunk of chunks) if (chunk) ingest(chunk);
  if (chunks.length || !forest) {
    growForest();
    app.version++;
    render();
  }
}

async function poll() {
  let wait = document.hidden ? 5000 : 1000;
  try {
    const answer = await fetch(`data?epoch=${app.epoch}&told=${app.told}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    take(await answer.json());
    showLive(true, "new births appear as they are recorded");
  } catch (error) {
    wait = 3000;
    showLive(
      false,
      error instanceof TypeError ? "the server has stopped; heredity ui starts it again" : String(error.message),
    );
  }
  setTimeout(poll, wait);
}

function showLive(well, why) {
  const mark = $("live");
  if (mark.hidden || app.live !== well) say(why);
  app.live = well;
  mark.hidden = false;
  mark.textContent = well ? "live" : "not live";
  mark.title = why;
  mark.classList.toggle("lost", !well);
}

function begin() {
  const content = JSON.parse($("data").textContent);
  listen();
  readInk();
  if (content.live) poll();
  else take(content);
}

window.heredity = {
  /** What is drawn, for programs and tests. */
  facts() {
    const { trunk, layout } = app,
      ids = births => births.map(birth => lab.ids[birth]);
    const drawn = forest.order.filter(birth => trunk.drawn[birth]);
    return {
      births: lab.ids.length,
      living: lab.ids.length - lab.death.size,
      metric: app.metric,
      best: lab.ids[app.best] ?? null,
      roots: ids(forest.roots),
      drawn: drawn.map(birth => ({
        id: lab.ids[birth],
        depth: forest.depth[birth],
        folded: trunk.folds.get(birth) ?? null,
      })),
      lost: { roots: trunk.lostRoots, ...trunk.lost },
      items: layout.items.length,
      rows: layout.rows,
    };
  },
  /** What the plot shows: points as [id, x, y], curves as [[x, y]], bands as [[x, low, high]], the front's births. */
  plot() {
    const { curves, bands, marked } = app.plot ?? {},
      ways = lines => lines?.map(line => line.points) ?? [];
    return {
      points: app.points.map(point => [lab.ids[point.birth], point.x, point.value]),
      curves: ways(curves),
      bands: ways(bands),
      front: (marked ?? []).map(birth => lab.ids[birth]),
    };
  },
  /** Where a birth is drawn, in pixels of the canvas; null where it is folded away. */
  where(id) {
    if (state.tab !== "graph") {
      const point = app.points.find(one => one.birth === find(id));
      return point ? { x: point.px, y: point.py } : null;
    }
    const item = app.layout.byBirth.get(find(id)),
      view = app.view;
    return item
      ? { x: item.x * view.kx + view.tx, y: item.y * view.ky + view.ty, row: item.y, births: item.members.length }
      : null;
  },
};

begin();
