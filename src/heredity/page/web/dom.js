// Elements and numbers. Text of a lab reaches the document only as text nodes and attribute values.

const { abs, ceil, floor, hypot, max, min } = Math;
const SVG = "http://www.w3.org/2000/svg";
const $ = id => document.getElementById(id);

/** An element with attributes, if the first argument is a plain object; `on` holds listeners; empty children are left out. */
function h(tag, first, ...children) {
  const plainObject = first?.constructor === Object;
  return fill(document.createElement(tag), plainObject ? first : {}, plainObject ? children : [first, children]);
}

/** The same for SVG. */
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") on(element, value);
    else if (name === "css")
      for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value != null) element.setAttribute(name, String(value));
  }
  element.append(
    ...children.flat(Infinity).filter(child => child !== null && child != null && child !== false && child !== ""),
  );
  return element;
}

/** Listeners of an element, by event. */
function on(element, listeners) {
  for (const [event, listener] of Object.entries(listeners)) element.addEventListener(event, listener);
}

const button = (text, action, attributes = {}) =>
  h("button", { type: "button", ...attributes, on: { click: action } }, text);

const dot = colour => h("i", { class: "dot", css: { background: colour } });
const muted = (...content) => h("span", { class: "muted" }, content);
const remark = (...content) => h("p", { class: "muted" }, content);

/** A measured value: four decimals for small ones, fewer for large ones, an exponent where those do not do. */
function number(value) {
  if (value == null) return "";
  const size = abs(value);
  if (value === 0 || (size >= 1e-3 && size < 10)) return value.toFixed(4);
  if (size >= 10 && size < 1000) return value.toFixed(2);
  return size >= 1000 && size < 1e6 ? value.toFixed(1) : value.toExponential(3);
}

/** A number as short as it can be, for ticks and counts that may be fractions. */
const brief = value =>
  Number.isInteger(value) && abs(value) < 1e7 ? value.toLocaleString("en") : String(Number(value.toPrecision(3)));

const count = value => value.toLocaleString("en");
const plural = (value, word, many = word + "s") => `${count(value)} ${value === 1 ? word : many}`;
const signed = value => (value >= 0 ? "+" : "−") + number(abs(value));

function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const two = value => String(value).padStart(2, "0");
  if (whole < 3600) return `${floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 864000) return `${count(floor(whole / 3600))}h ${two(floor((whole % 3600) / 60))}m`;
  return `${count(Math.round(whole / 86400))} days`;
}

function bytes(size) {
  for (const [unit, name] of [
    [1e12, "TB"],
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
  ]) {
    if (size >= unit) return `${(size / unit).toFixed(1)} ${name}`;
  }
  return `${size} bytes`;
}

const moment = seconds => new Date(seconds * 1000).toLocaleString("sv-SE");

/** A setting's value as people read it. */
function plain(value) {
  if (value == null) return "none";
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value);
}

/** Without spreading: there may be more values than a call takes arguments. */
const most = values => values.reduce((a, b) => (a > b ? a : b), -Infinity),
  least = values => values.reduce((a, b) => (a < b ? a : b), Infinity);
const clamp = (value, low, high) => min(high, max(low, value));
const quoted = text => (/^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`);
