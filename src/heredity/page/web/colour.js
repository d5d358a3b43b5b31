// What a birth's colour means. Categories: the palette of Okabe and Ito, told apart with every common colour blindness;
// numbers: viridis, whose lightness rises evenly.

const OKABE_ITO = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#882255"];
const KIND_COLOURS = {
  train: "#0072b2",
  mutate: "#e69f00",
  merge: "#d55e00",
  crossover: "#cc79a7",
  explore: "#56b4e9",
  exploit: "#f0e442",
  distill: "#009e73",
  adapt: "#44aa99",
  prune: "#882255",
  grow: "#999933",
  init: "#7d8590",
  import: "#7d8590",
  step: "#a6761d",
};
const OTHER = "#8a8f98";
const kindColour = kind => KIND_COLOURS[kind] ?? OTHER;
const VIRIDIS = [
  "#440154",
  "#482878",
  "#3e4989",
  "#31688e",
  "#26828e",
  "#1f9e89",
  "#35b779",
  "#6ece58",
  "#b5de2b",
  "#fde725",
].map(hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)));

function viridis(share) {
  const at = clamp(share, 0, 1) * (VIRIDIS.length - 1),
    low = min(VIRIDIS.length - 2, floor(at));
  return `rgb(${VIRIDIS[low].map((one, channel) => Math.round(one + (VIRIDIS[low + 1][channel] - one) * (at - low))).join(",")})`;
}

/** Keys that colour may mean: kind, operator, alive, generation, m:METRIC, l:LABEL, s:SETTING. */
const colourChoices = () => remember("choices", 0, findChoices);

function findChoices() {
  const labels = new Set(),
    numbers = new Set(),
    settings = new Map();
  for (const held of new Set(lab.labels))
    for (const [key, value] of Object.entries(held)) {
      labels.add(key);
      if (typeof value === "number") numbers.add(key);
    }
  for (const birth of new Map(lab.form.map((form, birth) => [form, birth])).values())
    for (const [key, value] of numbersOf(birth))
      settings.set(key, (settings.get(key) ?? value) === value ? value : NaN); // equal to nothing: it varies
  const keyed = (letter, keys) =>
    [...keys]
      .sort()
      .slice(0, 40)
      .map(key => [`${letter}:${key}`, key]);
  const births = [
    ["kind", "kind"],
    ["operator", "operator"],
    ["alive", "living or dead"],
    ["depth", "generation"],
  ];
  const metrics = metricNames().map(metric => [`m:${metric}`, metric]);
  return {
    births,
    metrics,
    labels: keyed("l", labels),
    numbers: keyed("l", numbers),
    settings: keyed(
      "s",
      [...settings].filter(([, value]) => value !== value).map(([key]) => key),
    ),
  };
}

function colourValue(key, birth) {
  if (key === "kind") return lab.kind[birth];
  if (key === "operator") return titleOf(birth);
  if (key === "alive") return isDead(birth) ? "dead" : "living";
  if (key === "depth") return forest.depth[birth];
  if (key.startsWith("m:")) return valueOf(key.slice(2), birth);
  if (key.startsWith("s:")) return numbersOf(birth).get(key.slice(2));
  const value = lab.labels[birth][key.slice(2)];
  return value !== null && typeof value === "object" ? JSON.stringify(value) : value;
}

/** {of(birth), legend}: a legend has either entries [{value, colour, births}] or a range [low, high]. */
function colouring(key) {
  const values = lab.ids.map((_, birth) => colourValue(key, birth));
  const known = values.filter(value => value != null && value !== null);
  const numeric = key !== "kind" && known.length > 0 && known.every(value => typeof value === "number");
  if (numeric) return numericColouring(key, values, known);
  const counts = new Map();
  for (const value of values) counts.set(String(value ?? "none"), (counts.get(String(value ?? "none")) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const colours = new Map(sorted.map(([value], at) => [value, value === "none" ? OTHER : (OKABE_ITO[at] ?? OTHER)]));
  if (key === "kind") for (const [value] of sorted) colours.set(value, kindColour(value));
  if (key === "alive") {
    colours.set("living", "#009e73");
    colours.set("dead", OTHER);
  }
  const entries = sorted.map(([value, births]) => ({ value, births, colour: colours.get(value) }));
  return { key, of: birth => colours.get(String(values[birth] ?? "none")), legend: { entries } };
}

function numericColouring(key, values, known) {
  const sorted = [...known].sort((a, b) => a - b),
    at = share => sorted[Math.round(share * (sorted.length - 1))];
  // a few hopeless births must not take the whole scale
  const low = sorted.length > 50 ? at(0.05) : at(0),
    high = at(1);
  const clipped = low > at(0);
  const of = birth => (values[birth] == null ? OTHER : viridis(high > low ? (values[birth] - low) / (high - low) : 1));
  return { key, of, legend: { range: [low, high], clipped, missing: known.length < values.length } };
}
