// The record as arrays by birth, filled chunk by chunk, and what follows from it: the forest of primary parents.

const KEPT = 1,
  DETERMINISTIC = 2;

function emptyLab() {
  return {
    about: {},
    pool: [],
    ids: [],
    place: new Map(),
    time: [],
    kind: [],
    form: [],
    rawParents: [],
    seed: [],
    labels: [],
    notes: [],
    environment: [],
    architecture: [],
    weights: [],
    bytes: [],
    wall: [],
    cpu: [],
    rss: [],
    flags: [],
    threads: [],
    values: new Map(),
    failures: new Map(),
    right: [],
    death: new Map(),
    names: new Map(),
    events: new Map(),
  };
}

/** Take in what LabReader.read said. */
function ingest(chunk) {
  const { pool } = lab;
  pool.push(...chunk.pool);
  for (const row of chunk.births ?? []) {
    const [
      id,
      time,
      kind,
      form,
      parents,
      seed,
      labels,
      notes,
      environment,
      architecture,
      weights,
      size,
      wall,
      cpu,
      rss,
      flags,
      threads,
    ] = row;
    lab.place.set(id, lab.ids.length);
    lab.ids.push(id);
    lab.time.push(time);
    lab.kind.push(pool[kind]);
    lab.form.push(pool[form]);
    lab.rawParents.push(parents);
    lab.seed.push(seed);
    lab.labels.push(pool[labels] ?? {});
    lab.notes.push(pool[notes] ?? {});
    lab.environment.push(pool[environment]);
    lab.architecture.push(pool[architecture]);
    lab.weights.push(weights);
    lab.bytes.push(size);
    lab.wall.push(wall);
    lab.cpu.push(cpu);
    lab.rss.push(rss);
    lab.flags.push(flags);
    lab.threads.push(threads);
  }
  for (const [metric, pairs] of Object.entries(chunk.values ?? {})) {
    if (!lab.values.has(metric)) lab.values.set(metric, []);
    const column = lab.values.get(metric);
    for (let at = 0; at < pairs.length; at += 2) column[pairs[at]] = pairs[at + 1];
  }
  for (const [birth, probe, reason] of chunk.failures ?? []) listIn(lab.failures, birth).push({ probe, reason });
  for (const [birth, probe, right] of chunk.right ?? []) (lab.right[birth] ??= new Map()).set(probe, right);
  const deaths = chunk.deaths ?? [];
  for (let at = 0; at < deaths.length; at += 3)
    lab.death.set(deaths[at], { time: deaths[at + 1], reason: pool[deaths[at + 2]] ?? "" });
  if (chunk.names) {
    lab.names = new Map();
    for (const [name, birth] of chunk.names) listIn(lab.names, birth).push(name);
  }
  for (const [id, kind, time, held] of chunk.events ?? [])
    listIn(lab.events, id).push({ kind, time, held: pool[held] ?? {} });
}

function listIn(map, key) {
  if (!map.has(key)) map.set(key, []);
  return map.get(key);
}

/** Parents as [{birth, role}], the primary one first; birth is -1 where the record is missing, then id says which. */
function edgesOf(birth) {
  const raw = lab.rawParents[birth],
    edges = [];
  for (let at = 0; at < raw.length; at += 2) {
    const known = typeof raw[at] === "number" ? raw[at] : (lab.place.get(raw[at]) ?? -1);
    edges.push({ birth: known, role: lab.pool[raw[at + 1]], id: known >= 0 ? lab.ids[known] : raw[at] });
  }
  return edges;
}

/** Everything that follows from the record: computed anew after each chunk in time linear in births and edges. */
function growForest() {
  const size = lab.ids.length;
  const births = Array.from({ length: size }, (_, birth) => birth);
  births.sort((a, b) => lab.time[a] - lab.time[b] || (lab.ids[a] < lab.ids[b] ? -1 : 1));
  const rank = new Int32Array(size),
    primary = new Int32Array(size).fill(-1),
    several = new Uint8Array(size);
  births.forEach((birth, place) => {
    rank[birth] = place;
  });
  const children = births.map(() => []),
    offspring = births.map(() => []);
  for (const birth of births) {
    const edges = edgesOf(birth);
    if (edges.length) primary[birth] = edges[0].birth;
    several[birth] = edges.length > 1 ? 1 : 0;
    for (const parent of new Set(edges.map(edge => edge.birth))) if (parent >= 0) offspring[parent].push(birth);
    if (primary[birth] >= 0) children[primary[birth]].push(birth);
  }
  const roots = births.filter(birth => primary[birth] < 0);
  const depth = new Int32Array(size).fill(-1),
    spent = new Float64Array(size),
    order = [...roots];
  for (const root of roots) depth[root] = 0;
  for (let at = 0; at < order.length; at++) {
    const birth = order[at];
    spent[birth] = (primary[birth] >= 0 ? spent[primary[birth]] : 0) + costOf(birth);
    for (const child of children[birth]) {
      depth[child] = depth[birth] + 1;
      order.push(child);
    }
  }
  const total = new Float64Array(size);
  let sum = 0;
  for (const birth of births) total[birth] = sum += costOf(birth);
  forest = {
    births,
    rank,
    primary,
    several,
    children,
    offspring,
    roots,
    depth,
    spent,
    total,
    order,
    length: idLength(),
  };
}

/** Seconds of compute: of the processor where it was recorded, else on the clock. */
const costOf = birth => lab.cpu[birth] ?? lab.wall[birth] ?? 0;

/** How many first characters tell every id from every other, at least 6. */
function idLength() {
  const sorted = [...lab.ids].sort();
  let length = 6;
  for (let at = 1; at < sorted.length; at++)
    while (length < 16 && sorted[at].slice(0, length) === sorted[at - 1].slice(0, length)) length++;
  return length;
}

const shortId = birth => lab.ids[birth].slice(0, forest.length);
const isDead = birth => lab.death.has(birth);
const metricNames = () => [...lab.values.keys()].sort();
const valueOf = (metric, birth) => lab.values.get(metric)?.[birth];

/** The metric of a first look: fitness, else the one that most births have. */
function usualMetric() {
  if (lab.values.has("fitness")) return "fitness";
  let found = null,
    most = 0;
  for (const metric of metricNames()) {
    const known = lab.values.get(metric).reduce(sum => sum + 1, 0);
    if (known > most || (known === most && metric === "accuracy")) [found, most] = [metric, known];
  }
  return found;
}

/** Whether the searches that aim at a metric all minimise it. */
function isMinimized(metric) {
  const aims = new Set([...new Set(lab.labels)].flatMap(({ aim }) => (typeof aim === "string" ? aim.split(", ") : [])));
  return aims.has(`minimize ${metric}`) && !aims.has(`maximize ${metric}`);
}

/** The birth with the best value, the first born of equals; -1 when nothing was measured. */
function bestOf(metric, low, among = forest.births) {
  let best = -1,
    bestValue = 0;
  for (const birth of among) {
    const value = valueOf(metric, birth);
    if (value != null && (best < 0 || (low ? value < bestValue : value > bestValue)))
      [best, bestValue] = [birth, value];
  }
  return best;
}

/** From the root to a birth along primary parents. */
function pathTo(birth) {
  const path = [];
  for (let at = birth, steps = lab.ids.length; at >= 0 && steps >= 0; at = forest.primary[at], steps--) path.push(at);
  return path.reverse();
}

/** A birth and all its ancestors along any parents. */
function ancestorsOf(birth) {
  const seen = new Set([birth]);
  for (const at of seen) for (const edge of edgesOf(at)) if (edge.birth >= 0) seen.add(edge.birth);
  return seen;
}

/** How many births descend from one, along any parents. */
function descendantsOf(birth) {
  const seen = new Set([birth]);
  for (const at of seen) for (const child of forest.offspring[at]) seen.add(child);
  seen.delete(birth);
  return seen;
}

/** The latest born ancestor that all have, along any parents; each counts as its own; -1 when there is none. */
function commonAncestor(births) {
  if (!births.length) return -1;
  let common = null;
  for (const birth of births) {
    const mine = ancestorsOf(birth);
    common = common === null ? mine : new Set([...common].filter(one => mine.has(one)));
    if (!common.size) return -1;
  }
  return [...common].reduce((a, b) => (forest.rank[a] > forest.rank[b] ? a : b));
}

/** Shortest way down from an ancestor to a birth along any parents, primary ones where there is a choice. */
function wayDown(ancestor, birth) {
  const below = new Map([[birth, -1]]);
  for (const [at] of below) {
    if (at === ancestor) break;
    for (const edge of edgesOf(at)) if (edge.birth >= 0 && !below.has(edge.birth)) below.set(edge.birth, at);
  }
  const way = [];
  for (let at = ancestor; at !== -1 && at != null; at = below.get(at)) way.push(at);
  return way;
}
