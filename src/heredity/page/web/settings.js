// An operator's configuration as people read it, and what differs between two.

const IMPORT = "heredity.lab.steps:Import",
  STEP = "heredity.lab.steps:Step";
const lastName = path => path.split(/[:.]/).pop();
const settingsCache = new WeakMap();

/** What a birth did: the operator's short name, a step's name, or "added". */
function titleOf(birth) {
  const form = lab.form[birth];
  if (form.type === STEP) return String(form.config.name);
  return form.type === IMPORT ? "added" : lastName(form.type);
}

/** The configuration as a Map of dotted names to null, booleans, numbers and text. */
function settingsOf(birth) {
  const form = lab.form[birth];
  if (form.type === IMPORT) return new Map(lab.labels[birth].source ? [["source", lab.labels[birth].source]] : []);
  if (!settingsCache.has(form)) settingsCache.set(form, flatten(form.type === STEP ? form.config.config : form.config));
  return settingsCache.get(form);
}

function flatten(config) {
  const found = new Map(),
    stack = [["", config]];
  while (stack.length) {
    const [path, value] = stack.pop();
    const prefix = path ? path + "." : "";
    if (Array.isArray(value)) {
      if (value.some(item => item !== null && typeof item === "object")) {
        value
          .map((item, at) => [`${path}[${at}]`, item])
          .reverse()
          .forEach(pair => stack.push(pair));
      } else found.set(path, `[${value.map(plain).join(", ")}]`);
    } else if (value !== null && typeof value === "object") {
      const keys = Object.keys(value),
        tag = keys.find(key => key.startsWith("$"));
      if (tag === "$type") {
        found.set(path, lastName(value.$type));
        Object.keys(value.fields ?? {})
          .reverse()
          .forEach(key => stack.push([prefix + key, value.fields[key]]));
      } else if (tag) found.set(path, tagged(tag, value));
      else if (keys.length) keys.reverse().forEach(key => stack.push([prefix + key, value[key]]));
      else found.set(path, "{}");
    } else found.set(path, value);
  }
  found.delete("");
  return found;
}

function tagged(tag, value) {
  const content = String(value[tag]);
  if (tag === "$enum") return String(value.name);
  if (tag === "$code") return lastName(content);
  if (tag === "$tensor" || tag === "$array") return `${tag.slice(1)} ${content.slice(0, 8)}`;
  return tag === "$bytes" ? `${content.length / 2} bytes` : content;
}

const sameOperator = (one, other) => lab.form[one].type === lab.form[other].type && titleOf(one) === titleOf(other);

/** Settings that differ, as [{key, before, after}], in the order of the second. */
function differences(before, after) {
  const keys = new Set([...after.keys(), ...before.keys()]);
  return [...keys]
    .map(key => ({ key, before: before.get(key), after: after.get(key) }))
    .filter(one => one.before !== one.after);
}

/** One line: what differs from the primary parent's operator where it is the same one, else this one's settings. */
function changeOf(birth) {
  const parent = forest.primary[birth],
    mine = settingsOf(birth);
  if (parent >= 0 && sameOperator(birth, parent)) {
    const changed = differences(settingsOf(parent), mine);
    if (changed.length) return changed.map(one => `${one.key} ${plain(one.before)} → ${plain(one.after)}`).join(", ");
    return lab.seed[birth] === lab.seed[parent] ? "" : `seed ${lab.seed[birth]}`;
  }
  return [...mine]
    .filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}=${plain(value)}`)
    .join(", ");
}

/** Hashes of evidence (tensors, arrays, files) that a configuration holds, as [[where, kind, hash]]. */
function evidenceOf(birth) {
  const found = [],
    stack = [["", lab.form[birth].config]];
  while (stack.length) {
    const [path, value] = stack.pop();
    if (value === null || typeof value !== "object") continue;
    for (const [key, item] of Object.entries(value)) {
      if (/^\$(tensor|array|file|data)/.test(key) && typeof item === "string") found.push([path, key.slice(1), item]);
      else stack.push([path && key !== "fields" ? `${path}.${key}` : key === "fields" ? path : key, item]);
    }
  }
  return found;
}

const labelFor = birth => lab.names.get(birth)?.[0] ?? `${titleOf(birth)} ${shortId(birth)}`;
