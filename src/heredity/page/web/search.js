// Which births a search and the filters mean. Words must all match; `kind:merge`, `op:Ties`, `name:`, `id:`, `label:`,
// `is:living`, `accuracy>0.9`, `generation<=3` narrow; a minus in front of a word excludes.

const HELP_QUERY =
  "words, kind:merge, op:Merge, name:…, label:…, is:living, is:dead, is:merge, accuracy>0.9, generation<=3, -word";
const hays = new Map();

function hayOf(birth) {
  if (!hays.has(birth)) {
    const settings = [...settingsOf(birth)].map(([key, value]) => `${key}=${plain(value)}`).join(" ");
    const labels = Object.entries(lab.labels[birth])
      .map(([key, value]) => `${key}=${plain(value)}`)
      .join(" ");
    hays.set(birth, [lab.ids[birth], titleOf(birth), lab.kind[birth], settings, labels].join(" ").toLowerCase());
  }
  const events =
    lab.events
      .get(lab.ids[birth])
      ?.map(event => `${event.held.text ?? ""} ${(event.held.tags ?? []).join(" ")}`)
      .join(" ") ?? "";
  return `${hays.get(birth)} ${(lab.names.get(birth) ?? []).join(" ").toLowerCase()} ${events.toLowerCase()}`;
}

function numberOf(field, birth) {
  if (lab.values.has(field)) return valueOf(field, birth);
  if (field === "generation" || field === "gen" || field === "depth") return forest.depth[birth];
  if (field === "parents") return edgesOf(birth).length;
  if (field === "children") return forest.offspring[birth].length;
  if (field === "seed") return Number(lab.seed[birth]);
  const setting = settingsOf(birth).get(field) ?? lab.labels[birth][field];
  return typeof setting === "number" ? setting : undefined;
}

const FIELDS = {
  kind: (birth, text) => lab.kind[birth] === text,
  op: (birth, text) => titleOf(birth).toLowerCase().includes(text),
  id: (birth, text) => lab.ids[birth].startsWith(text),
  name: (birth, text) => (lab.names.get(birth) ?? []).some(name => name.toLowerCase().includes(text)),
  label: (birth, text) =>
    Object.entries(lab.labels[birth]).some(([key, value]) => `${key}=${plain(value)}`.toLowerCase().includes(text)),
  is: (birth, text) =>
    ({
      living: !isDead(birth),
      alive: !isDead(birth),
      dead: isDead(birth),
      merge: forest.several[birth] === 1,
      root: forest.primary[birth] < 0,
      failed: lab.failures.has(birth),
      named: lab.names.has(birth),
    })[text] === true,
};

/** A word of the query as a test; names of metrics keep their case, all other text is compared without it. */
function wordTest(word) {
  const not = word.length > 1 && word.startsWith("-"),
    raw = not ? word.slice(1) : word,
    text = raw.toLowerCase();
  const compared = /^(.+?)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)$/i.exec(raw),
    field = /^([a-z]+):(.+)$/s.exec(text);
  let test;
  if (field && Object.hasOwn(FIELDS, field[1])) test = birth => FIELDS[field[1]](birth, field[2]);
  else if (compared) {
    const [, name, sign] = compared,
      limit = Number(compared[3]);
    const holds = {
      "<": v => v < limit,
      "<=": v => v <= limit,
      ">": v => v > limit,
      ">=": v => v >= limit,
      "=": v => v === limit,
    }[sign];
    test = birth => {
      const value = numberOf(name, birth);
      return value == null ? sign === "=" && hayOf(birth).includes(text) : holds(value);
    };
  } else test = birth => hayOf(birth).includes(text);
  return not ? birth => !test(birth) : test;
}

/** Matching births in the order of birth, and as flags; null where nothing is asked. */
function matching(state, metric) {
  const words = (state.q.match(/(?:[^\s"]|"[^"]*")+/g) ?? []).map(word => word.replaceAll('"', "")).filter(Boolean);
  const tests = words.map(wordTest),
    low = Number(state.min || "x"),
    high = Number(state.max || "x");
  if (state.kinds.length) tests.push(birth => state.kinds.includes(lab.kind[birth]));
  if (state.named) tests.push(birth => lab.names.has(birth));
  if (Number.isFinite(low)) tests.push(birth => valueOf(metric, birth) >= low);
  if (Number.isFinite(high)) tests.push(birth => valueOf(metric, birth) <= high);
  if (!tests.length) return null;
  const flags = new Uint8Array(lab.ids.length);
  const births = forest.births.filter(birth => tests.every(test => test(birth)));
  for (const birth of births) flags[birth] = 1;
  return { births, flags };
}
