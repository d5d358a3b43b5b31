// The view, all of it, in the address after #: shareable, and the back button works.

const DEFAULTS = {
  tab: "graph",
  x: "order",
  color: "kind",
  metric: "",
  low: "",
  all: false,
  mates: false,
  ends: 100,
  open: [],
  sel: "",
  cmp: "",
  panel: "",
  q: "",
  kinds: [],
  min: "",
  max: "",
  named: false,
  pick: [],
  sort: "order",
  theme: "auto",
  v: [],
  s: "",
  sx: "births",
  sy: "",
  front: "",
  log: false,
};
const TABS = ["graph", "progress", "table", "search"];

function readState(fragment) {
  const state = { ...DEFAULTS };
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const [key, ...rest] = part.split("=");
    if (!Object.hasOwn(DEFAULTS, key)) continue;
    let text;
    try {
      text = decodeURIComponent(rest.join("=").replaceAll("+", " "));
    } catch {
      continue;
    }
    const usual = DEFAULTS[key];
    if (Array.isArray(usual)) state[key] = text ? text.split(",").slice(0, 2000) : [];
    else if (typeof usual === "boolean") state[key] = text === "1";
    else if (typeof usual === "number")
      state[key] = Number.isFinite(Number(text)) && Number(text) >= 1 ? floor(Number(text)) : usual;
    else state[key] = text;
  }
  if (!TABS.includes(state.tab)) state.tab = DEFAULTS.tab;
  if (!Object.hasOwn(AXES, state.x)) state.x = DEFAULTS.x;
  if (!["auto", "light", "dark"].includes(state.theme)) state.theme = "auto";
  state.v = state.v.map(Number);
  if (state.v.length !== 4 || !state.v.every(Number.isFinite) || state.v[2] <= 0 || state.v[3] <= 0) state.v = [];
  return state;
}

function writeState(state) {
  const parts = [];
  for (const [key, usual] of Object.entries(DEFAULTS)) {
    const value = state[key];
    if (Array.isArray(usual) ? value.length === 0 : value === usual) continue;
    const text = Array.isArray(value) ? value.join(",") : value === true ? "1" : String(value);
    parts.push(
      `${key}=${encodeURIComponent(text).replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%20", "+")}`,
    );
  }
  return parts.length ? "#" + parts.join("&") : "";
}
