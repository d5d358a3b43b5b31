// The births of searches, any quantity over any other: convergence, fronts, archives, schedules. A search is a value of
// the label `search`; several that a pattern with * or ? means are repetitions, drawn as one.

/** Name of each search → its births in birth order. */
const searchesOf = () =>
  remember("searches", 0, () => {
    const found = new Map();
    for (const birth of forest.births) {
      const name = lab.labels[birth].search;
      if (name != null) listIn(found, String(name)).push(birth);
    }
    return found;
  });

/** What means one name in the field of searches, where * and ? stand for others and ; separates. */
const patternFor = name => name.replace(/[;*?]|^\s|\s$/g, "?");

/** Patterns of names that differ in numbers alone, then every name. */
function searchChoices() {
  const names = [...searchesOf().keys()],
    alike = new Map();
  for (const name of names) listIn(alike, patternFor(name).replace(/\d+/g, "*")).push(name);
  return [
    ...new Set([
      ...[...alike].filter(([, members]) => members.length > 1).map(([pattern]) => pattern),
      ...names.map(patternFor),
    ]),
  ];
}

const askedSearches = () =>
  state.s
    .split(";")
    .map(text => text.trim())
    .filter(Boolean);

const searchColour = (pattern, choices) =>
  OKABE_ITO[[...choices, ...askedSearches()].indexOf(pattern) % OKABE_ITO.length];

/** [{pattern, colour, members: births of each search}] */
function chosenSearches() {
  const found = searchesOf(),
    choices = searchChoices(),
    asked = askedSearches();
  return (asked.length ? asked : [...found.keys()].map(patternFor))
    .map(pattern => {
      const plainText = pattern.replace(/[\\^$.+()|[\]{}]/g, "\\$&");
      const test = new RegExp(`^${plainText.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s");
      const members = [...found].filter(([name]) => test.test(name)).map(([, births]) => births);
      return { pattern, colour: searchColour(pattern, choices), members };
    })
    .filter(one => one.members.length);
}

const quantityTitle = key => (key[1] === ":" ? key.slice(2) : key);
const upKey = () => state.sy || `m:${app.metric}`;
const overRun = () => state.sx === "births" || state.sx === "generation";

function quantile(sorted, share) {
  const at = share * (sorted.length - 1),
    below = floor(at);
  return sorted[below] + (sorted[ceil(at)] - sorted[below]) * (at - below);
}

const quartiles = values => {
  const sorted = [...values].sort((a, b) => a - b);
  return [0.25, 0.5, 0.75].map(share => quantile(sorted, share));
};

/** A search's births that have both quantities, in the order of x; `part` tells its generations apart. */
function searchPoints(births) {
  const points = [],
    up = upKey(),
    window = ceil(births.length / 30);
  births.forEach((birth, place) => {
    const { generation } = lab.labels[birth];
    const x =
      state.sx === "births"
        ? place + 1
        : state.sx === "generation"
          ? (generation ?? forest.depth[birth])
          : colourValue(state.sx, birth);
    const value = colourValue(up, birth);
    if (typeof x === "number" && typeof value === "number")
      points.push({ birth, x, value, part: generation ?? floor(place / window) });
  });
  return points.sort((a, b) => a.x - b.x);
}

function searchPlot({ low, colour }) {
  const up = upKey(),
    measured = up[0] === "m",
    points = [],
    curves = [],
    bands = [],
    marked = [],
    paints = new Map();
  for (const { colour: paint, members } of chosenSearches()) {
    const runs = members.map(searchPoints),
      mine = runs.flat();
    for (const point of mine) {
      paints.set(point.birth, paint);
      points.push(point);
    }
    const spread = parts => {
      bands.push({ colour: paint, points: parts.map(([x, [lower, , upper]]) => [x, lower, upper]) });
      return parts.map(([x, [, middle]]) => [x, middle]);
    };
    if (!overRun()) {
      if (state.front === "none") continue;
      const front = frontOf(mine, state.front ? state.front === "left" : isMinimized(state.sx.slice(2)), low);
      for (const { birth } of front) marked.push(birth);
      curves.push({ points: front.map(one => [one.x, one.value]), colour: paint, steps: true });
    } else if (runs.length > 1 && measured) {
      curves.push({ points: spread(together(runs, low)), colour: paint, width: 2.5, steps: true });
    } else {
      const parts = new Map();
      for (const point of mine) listIn(parts, point.part).push(point);
      const middles = spread(
        [...parts.values()].map(part => [
          part.reduce((sum, one) => sum + one.x, 0) / part.length,
          quartiles(part.map(one => one.value)),
        ]),
      );
      curves.push({ points: middles, colour: paint, width: 1.4, dash: [4, 3] });
      if (measured) curves.push({ points: bestSoFar(mine, low), colour: paint, width: 2.5, steps: true, onward: true });
    }
  }
  const bySearch = overRun() || state.color === "kind";
  return {
    points,
    paint: bySearch ? birth => paints.get(birth) : colour.of,
    curves,
    bands,
    marked,
    title: quantityTitle(up),
    across: quantityTitle(state.sx),
    textOf: brief,
    whole: overRun(),
    low: low && measured,
    log: state.log && points.some(one => one.value > 0),
    clip: overRun() && !state.log,
    pale: overRun() ? 0.4 : 0.8,
    rim: !overRun(),
    steps: up[0] === "s",
    note: searchNote(),
    empty: searchesOf().size
      ? "no birth of these searches has both quantities"
      : "no search was recorded here: its births carry the label search",
  };
}

/** Best so far of repetitions as [x, quartiles]; one that has ended keeps its best. */
function together(runs, low) {
  const stairs = runs.map(run => bestSoFar(run, low));
  const xs = [...new Set(runs.flatMap(run => run.map(one => one.x)))].sort((a, b) => a - b),
    step = ceil(xs.length / 400);
  const at = stairs.map(() => -1);
  const found = [];
  xs.forEach((x, place) => {
    stairs.forEach((stair, run) => {
      while (at[run] + 1 < stair.length && stair[at[run] + 1][0] <= x) at[run]++;
    });
    const known = stairs.flatMap((stair, run) => (at[run] >= 0 ? stair[at[run]][1] : []));
    if (known.length && (place % step === 0 || place === xs.length - 1)) found.push([x, quartiles(known)]);
  });
  return found;
}

/** Points that no other one is at least as good as in both and better in one, from the best x on. */
function frontOf(points, left, low) {
  const sorted = [...points].sort(
    (a, b) => (left ? a.x - b.x : b.x - a.x) || (low ? a.value - b.value : b.value - a.value),
  );
  const front = [];
  for (const point of sorted) {
    const last = front[front.length - 1];
    const equal = last && point.x === last.x && point.value === last.value;
    if (!last || equal || (low ? point.value < last.value : point.value > last.value)) front.push(point);
  }
  return front;
}

/** Chips of the searches for the legend. */
function searchLegend() {
  const choices = searchChoices(),
    asked = askedSearches(),
    shown = [...new Set([...asked, ...choices])];
  const chip = pattern =>
    button(
      [dot(searchColour(pattern, choices)), pattern.length > 24 ? pattern.slice(0, 23) + "…" : pattern],
      () =>
        setState({
          s: (asked.includes(pattern) ? asked.filter(one => one !== pattern) : [...asked, pattern]).join(";"),
        }),
      { "aria-pressed": String(asked.includes(pattern)), title: "show it alone, or with others" },
    );
  return [shown.slice(0, 9).map(chip), shown.length > 9 && h("span", `${shown.length - 9} more`)];
}

function searchNote() {
  if (!overRun()) return state.front === "none" ? "" : "line: front of each search";
  if (upKey()[0] !== "m") return "dashed: median; band: quartiles of a generation";
  const sizes = chosenSearches().map(one => one.members.length);
  const of = [most(sizes) > 1 && "repetitions", least(sizes) === 1 && "a generation"].filter(Boolean);
  return `line: best so far; band: quartiles of ${of.join(" or ")}`;
}

/** To the point beside, above or below. */
function walkPoints(where) {
  const across = where === "parent" || where === "child";
  const sorted = [...app.points].sort((a, b) => (across && a.px - b.px) || a.py - b.py || a.px - b.px);
  const at = sorted.findIndex(one => one.birth === app.sel) + (where === "child" || where === "after" ? 1 : -1);
  if (sorted.length) select(sorted[clamp(at, 0, sorted.length - 1)].birth);
}
