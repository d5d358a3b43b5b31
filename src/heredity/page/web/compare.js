// Two models side by side: their common ancestor, the ways down from it, and what differs.

function comparePanel() {
  const { sel, cmp } = app;
  const back = h(
    "div",
    { class: "actions" },
    button("Back", () => setState({ panel: "", cmp: "" })),
    cmp >= 0 && button("Swap", () => setState({ sel: state.cmp, cmp: state.sel })),
  );
  if (cmp < 0) {
    return [
      h("h2", "Compare"),
      h("p", "Choose the other one: click it in the graph, in the progress plot or in the table, or from here."),
      back,
      section(
        "Likely",
        [app.best, forest.primary[sel], ...lab.names.keys()]
          .filter((one, at, all) => one >= 0 && one !== sel && all.indexOf(one) === at)
          .slice(0, 12)
          .map(one =>
            h(
              "p",
              button(labelFor(one), () => setState({ cmp: lab.ids[one] })),
            ),
          ),
      ),
    ];
  }
  const common = commonAncestor([sel, cmp]);
  return [
    h("h2", "Compare"),
    h(
      "p",
      h("span", { class: "side" }, "A"),
      modelLink(sel),
      h("br"),
      h("span", { class: "side two" }, "B"),
      modelLink(cmp),
    ),
    back,
    section(
      "Common ancestor",
      common < 0
        ? h("p", "none: they descend from different roots")
        : h(
            "p",
            modelLink(common),
            muted(
              ` ${common === sel ? "A itself" : common === cmp ? "B itself" : `the latest, generation ${forest.depth[common]}`}`,
            ),
          ),
    ),
    section(
      "Measured",
      sidesTable(
        metricNames()
          .map(metric => [metric, valueOf(metric, sel), valueOf(metric, cmp)])
          .filter(([, a, b]) => a !== undefined || b !== undefined),
        true,
      ),
    ),
    section("Examples", flips(sel, cmp)),
    section("Operator", operatorSides(sel, cmp)),
    section(
      "Facts",
      sidesTable(
        [
          ["kind", lab.kind[sel], lab.kind[cmp]],
          ["born", moment(lab.time[sel]), moment(lab.time[cmp])],
          ["generation", forest.depth[sel], forest.depth[cmp]],
          ["ancestors", ancestorsOf(sel).size - 1, ancestorsOf(cmp).size - 1],
          ["compute on the line", duration(forest.spent[sel]), duration(forest.spent[cmp])],
          ["weights", lab.weights[sel].slice(0, 8), lab.weights[cmp].slice(0, 8)],
        ],
        false,
      ),
    ),
    common >= 0 && section("From there to A", wayList(common, sel)),
    common >= 0 && section("From there to B", wayList(common, cmp)),
  ];
}

/** For each probe that recorded it of both, how many examples both got right, only one, or none: "n:hexadecimal bits". */
function flips(one, other) {
  return [...(lab.right[one] ?? [])].map(([probe, text]) => {
    const [size, a] = text.split(":"),
      [same, b] = lab.right[other]?.get(probe)?.split(":") ?? [],
      counts = [0, 0, 0, 0];
    if (size !== same) return null;
    for (let at = 0; at < size; at++) {
      const bit = digits => (parseInt(digits[at >> 2], 16) >> (3 - (at % 4))) & 1;
      counts[2 * bit(a) + bit(b)]++;
    }
    return h(
      "p",
      `${lab.pool[probe][0]}: both right ${counts[3]}, only A ${counts[2]}, only B ${counts[1]}, both wrong ${counts[0]}`,
    );
  });
}

function sidesTable(rows, numeric) {
  if (!rows.length) return null;
  const text = value =>
    value === undefined ? "" : typeof value === "number" && numeric ? number(value) : plain(value);
  return h(
    "table",
    { class: "sides" },
    h(
      "thead",
      h(
        "tr",
        h("td"),
        h("th", { scope: "col" }, h("span", { class: "side" }, "A")),
        h("th", { scope: "col" }, h("span", { class: "side two" }, "B")),
        numeric && h("th", { scope: "col" }, "A − B"),
      ),
    ),
    h(
      "tbody",
      rows.map(([key, a, b]) =>
        h(
          "tr",
          { class: a !== b ? "changed" : null },
          h("th", { scope: "row" }, key),
          h("td", text(a)),
          h("td", text(b)),
          numeric &&
            h("td", a === undefined || b === undefined ? "" : gainText(a - b, app.low && key === app.metric)),
        ),
      ),
    ),
  );
}

function operatorSides(one, other) {
  const [a, b] = [settingsOf(one), settingsOf(other)],
    same = sameOperator(one, other);
  const keys = same ? differences(a, b).map(change => change.key) : [...new Set([...a.keys(), ...b.keys()])];
  const seeds = lab.seed[one] === lab.seed[other] ? [] : [["seed", lab.seed[one], lab.seed[other]]];
  const rows = [
    ...(same ? [] : [["operator", titleOf(one), titleOf(other)]]),
    ...keys.map(key => [key, a.get(key), b.get(key)]),
    ...seeds,
  ];
  return rows.length ? sidesTable(rows, false) : h("p", `both by ${titleOf(one)} with equal settings and seed`);
}

function wayList(from, to) {
  const { metric } = app,
    way = wayDown(from, to);
  return h(
    "ol",
    { class: "story", start: 0 },
    way.map((birth, place) => {
      const role = place ? edgesOf(birth).find(edge => edge.birth === way[place - 1])?.role : "",
        value = valueOf(metric, birth),
        change = changeOf(birth);
      return h(
        "li",
        modelLink(birth),
        muted(` ${lab.kind[birth]}${role && role !== "parent" ? ` (there as ${role})` : ""}`),
        value === undefined ? "" : h("span", { class: "value" }, number(value)),
        place ? change && h("div", { class: "change" }, change.slice(0, 160)) : null,
      );
    }),
  );
}
