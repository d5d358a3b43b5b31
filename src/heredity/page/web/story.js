// How did it get here: the path from the root as numbered steps, and settings that changed on the way as steps of a line.

function storyPanel(birth) {
  const { metric } = app,
    path = pathTo(birth);
  const mates = new Set(
    path.flatMap(one =>
      edgesOf(one)
        .slice(1)
        .map(edge => edge.birth),
    ),
  );
  return [
    h("h2", "How did it get here"),
    remark(
      modelLink(birth),
      ` in ${plural(path.length - 1, "step")} from its root along primary parents${mates.size ? `, with ${plural(mates.size, "other parent")}` : ""}; ${duration(forest.spent[birth])} of compute on the way`,
    ),
    h(
      "div",
      { class: "actions" },
      button("Back", () => setState({ panel: "" })),
    ),
    metric &&
      path.length > 1 &&
      section(
        metric,
        stepPlot(path, one => valueOf(metric, one), "value"),
      ),
    schedules(path).map(([key, of]) => section(key, stepPlot(path, of, "setting"))),
    section(
      "Steps",
      h(
        "ol",
        { class: "story" },
        path.map((one, place) => storyStep(one, place, path, app.low)),
      ),
    ),
  ];
}

function storyStep(birth, place, path, low) {
  const { metric } = app,
    value = valueOf(metric, birth),
    change = changeOf(birth);
  const mates = edgesOf(birth).slice(1),
    before = place && metric ? lastKnown(path.slice(0, place), metric) : undefined;
  return h(
    "li",
    { "aria-current": place === path.length - 1 ? "step" : null },
    h("div", modelLink(birth), muted(` ${lab.kind[birth]}${lab.names.has(birth) ? ` by ${titleOf(birth)}` : ""}`)),
    change && h("div", { class: "change" }, change.length > 240 ? change.slice(0, 239) + "…" : change),
    mates.length
      ? h(
          "div",
          { class: "change" },
          "with ",
          mates
            .slice(0, 8)
            .map((edge, at) => [
              at ? ", " : "",
              edge.birth < 0 ? edge.id : modelLink(edge.birth),
              ["mate", "parent"].includes(edge.role) ? "" : ` as ${edge.role}`,
            ]),
          mates.length > 8 ? ` and ${mates.length - 8} more` : "",
        )
      : null,
    h(
      "div",
      { class: "numbers" },
      value == null ? "" : [`${metric} ${number(value)} `, before == null ? "" : gainText(value - before, low)],
      muted(` ${duration(costOf(birth))}, ${duration(forest.spent[birth])} so far`),
    ),
  );
}

function lastKnown(path, metric) {
  for (let at = path.length - 1; at >= 0; at--) {
    const value = valueOf(metric, path[at]);
    if (value != null) return value;
  }
  return undefined;
}

/** Numeric settings with several values on the way, those of most steps first; numbers in lists count, too. */
function schedules(path) {
  const columns = new Map();
  path.forEach((birth, place) => {
    for (const [key, value] of numbersOf(birth)) listIn(columns, `${titleOf(birth)} ${key}`).push([place, value]);
  });
  const changing = [...columns].filter(
    ([, points]) => points.length > 2 && new Set(points.map(point => point[1])).size > 1,
  );
  changing.sort((a, b) => b[1].length - a[1].length);
  return changing.slice(0, 6).map(([key, points]) => {
    const at = new Map(points.map(([place, value]) => [path[place], value]));
    return [key, birth => at.get(birth)];
  });
}

const numbersCache = new WeakMap();

/** Numbers of the configuration by dotted name; those in short lists one by one. */
function numbersOf(birth) {
  const form = lab.form[birth];
  if (!numbersCache.has(form)) numbersCache.set(form, numbersIn(birth));
  return numbersCache.get(form);
}

function numbersIn(birth) {
  const found = new Map();
  for (const [key, value] of settingsOf(birth)) {
    if (typeof value === "number") found.set(key, value);
    else if (typeof value === "string" && /^\[-?[\d.e+-]+(, -?[\d.e+-]+)*\]$/i.test(value) && value.length < 200) {
      value
        .slice(1, -1)
        .split(", ")
        .map(Number)
        .forEach((one, at) => found.set(`${key}[${at}]`, one));
    }
  }
  return found;
}

/** A small plot along a path: a value holds until the next one. */
function stepPlot(path, of, what) {
  const points = path.map((birth, place) => [place, of(birth)]).filter(([, value]) => value != null);
  if (points.length < 2) return points.length ? h("p", number(points[0][1])) : null;
  const width = 320,
    height = 76,
    values = points.map(point => point[1]),
    low = least(values),
    high = most(values);
  const x = place => 6 + (place / max(1, path.length - 1)) * (width - 12),
    y = value => height - 16 - (high > low ? (value - low) / (high - low) : 0.5) * (height - 30);
  let line = "";
  points.forEach(([place, value], at) => {
    line += at ? `H${round(x(place))}V${round(y(value))}` : `M${round(x(place))} ${round(y(value))}`;
  });
  const dots =
    points.length <= 80
      ? points.map(([place, value]) =>
          s(
            "circle",
            { cx: round(x(place)), cy: round(y(value)), r: 0.8, class: what },
            s("title", {}, `${labelFor(path[place])}: ${plain(value)}`),
          ),
        )
      : [];
  return s(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "steps",
      role: "img",
      "aria-label": `from ${plain(values[0])} to ${plain(values[values.length - 1])} in ${points.length} steps, between ${plain(low)} and ${plain(high)}`,
    },
    s("path", { d: line, class: what }),
    dots,
    s("text", { x: 6, y: height - 3 }, `${brief(values[0])} → ${brief(values[values.length - 1])}`),
    s("text", { x: width - 6, y: height - 3, "text-anchor": "end" }, `${brief(low)} to ${brief(high)}`),
  );
}
