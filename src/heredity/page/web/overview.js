// What the lineage as a whole says: its size and shape, and which operators left descendants that live.

function overviewPanel() {
  const { picked } = app,
    facts = remember("overview", [app.metric, app.low], phylogeny);
  return [
    h("h2", "The lineage"),
    remark("Select a model to see where it comes from and what came of it."),
    picked.length
      ? section(
          `Picked in the table (${picked.length})`,
          picked.slice(0, 20).map(birth => relative(birth, "")),
          button("Clear", () => setState({ pick: [] })),
        )
      : null,
    section(
      "Shape",
      pairs([
        ["births", count(lab.ids.length)],
        ["living", lab.death.size ? `${count(lab.ids.length - lab.death.size)}` : "no death was recorded"],
        ["roots", count(forest.roots.length)],
        ["generations", facts.depth ? `${count(facts.depth)} at most` : "0"],
        ["several parents", `${count(facts.several)} births (${share(facts.several, lab.ids.length)})`],
        [
          "trunk",
          `${count(facts.trunk)} births (${share(facts.trunk, lab.ids.length)}) are primary ancestors of ${lab.death.size ? "the living" : "leaves"}`,
        ],
        [
          "common ancestor",
          facts.common >= 0
            ? [
                modelLink(facts.common),
                `, ${plural(facts.depth - forest.depth[facts.common], "generation")} and ${duration(facts.newest - lab.time[facts.common])} before the newest birth`,
              ]
            : "none",
        ],
        ["turnover", lab.death.size ? `${share(lab.death.size, lab.ids.length)} have died` : null],
        ["compute", duration(forest.total[forest.births[forest.births.length - 1]] ?? 0)],
        ["time span", duration(facts.newest - lab.time[forest.births[0]])],
      ]),
    ),
    app.best >= 0 &&
      section(
        `Best ${app.metric}`,
        relative(app.best, ""),
        h(
          "div",
          { class: "actions" },
          button("How did it get here", () => {
            select(app.best, { panel: "path" });
          }),
        ),
      ),
    section("Which operators leave living descendants", operatorsTable(facts.operators)),
    remark(
      `Ancestors: births of the operator from which a living one descends, along any parents. Gain: mean change of ${app.metric ?? "the metric"} from the primary parent.`,
    ),
  ];
}

const share = (part, whole) =>
  whole ? `${((100 * part) / whole).toFixed(part && part / whole < 0.1 ? 1 : 0)} %` : "0 %";

function phylogeny() {
  const { metric } = app,
    living = livingBirths(),
    operators = new Map();
  const above = new Set(living),
    trunk = new Set();
  for (const birth of above) for (const edge of edgesOf(birth)) if (edge.birth >= 0) above.add(edge.birth);
  for (const birth of living) for (let at = birth; at >= 0 && !trunk.has(at); at = forest.primary[at]) trunk.add(at);
  for (const birth of forest.births) {
    const title = titleOf(birth);
    if (!operators.has(title))
      operators.set(title, {
        title,
        kind: lab.kind[birth],
        births: 0,
        living: 0,
        left: 0,
        gains: 0,
        gained: 0,
        spent: 0,
      });
    const row = operators.get(title),
      parent = forest.primary[birth];
    row.births++;
    row.spent += costOf(birth);
    if (!isDead(birth)) row.living++;
    if (forest.offspring[birth].some(child => above.has(child))) row.left++;
    const value = valueOf(metric, birth),
      before = metric && parent >= 0 ? valueOf(metric, parent) : undefined;
    if (value != null && before != null) {
      row.gains += value - before;
      row.gained++;
    }
  }
  return {
    depth: most(forest.depth),
    several: forest.several.reduce((a, b) => a + b, 0),
    trunk: trunk.size,
    common: commonAncestor(living.slice(0, 2000)),
    newest: lab.time[forest.births[forest.births.length - 1]],
    operators: [...operators.values()].sort((a, b) => b.left / b.births - a.left / a.births || b.births - a.births),
  };
}

function operatorsTable(rows) {
  const { low } = state;
  return h(
    "table",
    { class: "operators" },
    h(
      "thead",
      h(
        "tr",
        ["operator", "births", "living", "ancestors", "gain"].map(text => h("th", { scope: "col" }, text)),
      ),
    ),
    h(
      "tbody",
      rows
        .slice(0, 40)
        .map(row =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, dot(kindColour(row.kind)), row.title),
            h("td", count(row.births)),
            h("td", count(row.living)),
            h("td", count(row.left), h("small", ` ${share(row.left, row.births)}`)),
            h("td", row.gained ? gainText(row.gains / row.gained, low) : ""),
          ),
        ),
    ),
  );
}
