// Everything about one birth: where it comes from, what came of it, what it cost, how to get it.

function renderPanel() {
  const { sel } = app,
    panel = $("panel");
  const key = JSON.stringify([
    state.panel,
    sel,
    app.cmp,
    app.metric,
    app.low,
    app.picked,
    state.open,
    state.theme,
    app.version,
  ]);
  if (panel.dataset.key === key) return;
  const same = panel.dataset.of === String(sel) + state.panel,
    top = panel.scrollTop;
  panel.dataset.key = key;
  panel.dataset.of = String(sel) + state.panel;
  let content;
  if (!lab.ids.length) content = [h("h2", "An empty lab")];
  else if (sel >= 0 && state.panel === "compare") content = comparePanel();
  else if (sel >= 0 && state.panel === "path") content = storyPanel(sel);
  else if (sel >= 0) content = birthPanel(sel);
  else content = overviewPanel();
  panel.replaceChildren(...content.flat(Infinity).filter(Boolean));
  panel.scrollTop = same ? top : 0;
}

/** A link to a birth; a real one, so that it can be opened beside. */
function modelLink(birth, text = null) {
  const address = writeState({ ...state, sel: lab.ids[birth], cmp: "", panel: "" });
  const follow = event => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    select(birth);
  };
  return h(
    "a",
    { href: address, class: "model", on: { click: follow } },
    h("i", { class: "dot" + (forest.several[birth] ? " diamond" : ""), css: { background: app.colour.of(birth) } }),
    text ?? labelFor(birth),
  );
}

function gainMark(birth, metric) {
  const parent = forest.primary[birth];
  const value = valueOf(metric, birth),
    before = parent >= 0 ? valueOf(metric, parent) : undefined;
  return value == null || before == null ? "" : gainText(value - before, app.low);
}

/** A difference; colour is not all that tells better from worse: the sign does. */
const gainText = (gain, low) =>
  h("span", { class: gain === 0 ? "muted" : gain > 0 !== low ? "better" : "worse" }, signed(gain));

const section = (title, ...content) => {
  const inner = content.flat(Infinity).filter(Boolean);
  return inner.length ? h("section", h("h3", title), inner) : null;
};
const pairs = rows => {
  const known = rows.filter(([, value]) => value !== null && value != null && value !== "");
  return known.length
    ? h(
        "dl",
        known.map(([term, value]) => [h("dt", term), h("dd", value)]),
      )
    : null;
};

const factsOf = held => pairs([...flatten(held)].map(([key, value]) => [key, plain(value)]));

function birthPanel(birth) {
  const names = lab.names.get(birth) ?? [],
    death = lab.death.get(birth);
  const token = tokenOf(birth),
    opened = state.open.includes(token),
    fold = app.trunk.folds.get(birth);
  const below = descendantsOf(birth),
    livingBelow = [...below].filter(one => !isDead(one)).length;
  return [
    h(
      "h2",
      names.length ? names.join(", ") : titleOf(birth),
      h("span", { class: "kind", css: { "border-color": kindColour(lab.kind[birth]) } }, lab.kind[birth]),
    ),
    remark(
      names.length ? titleOf(birth) + " " : "",
      copyable(lab.ids[birth]),
      ` born ${moment(lab.time[birth])}, seed ${lab.seed[birth]}, `,
      death ? `dead since ${moment(death.time)}${death.reason ? ` (${death.reason})` : ""}` : "living",
    ),
    h(
      "div",
      { class: "actions" },
      button("How did it get here", () => setState({ panel: "path" })),
      button("Compare with…", () => setState({ panel: "compare", cmp: "" })),
      button("Zoom to clade", () => {
        setState({ tab: "graph" });
        zoomTo(birth);
      }),
      fold && button(`Open ${foldText(fold, lab.death.size > 0)}`, () => toggleOpen(token)),
      opened && button("Fold again", () => toggleOpen(token)),
    ),
    section("Measured", measuredTable(birth)),
    section(
      "Parents",
      edgesOf(birth).map(edge => relative(edge.birth, edge.role, edge.id)),
    ),
    section(
      `Children${forest.offspring[birth].length ? ` (${count(forest.offspring[birth].length)})` : ""}`,
      childrenList(birth),
    ),
    below.size
      ? remark(`${plural(below.size, "descendant")}${lab.death.size ? `, ${count(livingBelow)} living` : ""}`)
      : null,
    section("Operator", operatorTable(birth)),
    section("Said by the operator", factsOf(lab.notes[birth])),
    section("Labels", factsOf(lab.labels[birth])),
    section("Notes and tags", eventsList(birth)),
    section("Cost", costPairs(birth)),
    section("Weights", weightsPairs(birth)),
    section("Evidence and environment", evidencePairs(birth)),
    section("Commands", commands(birth)),
  ];
}

function measuredTable(birth) {
  const parent = forest.primary[birth];
  const rows = metricNames()
    .filter(metric => valueOf(metric, birth) != null)
    .map(metric => {
      const before = parent >= 0 ? valueOf(metric, parent) : undefined;
      return h(
        "tr",
        h("th", { scope: "row" }, metric),
        h("td", number(valueOf(metric, birth))),
        h("td", before == null ? "" : gainText(valueOf(metric, birth) - before, app.low && metric === app.metric)),
      );
    });
  const failed = (lab.failures.get(birth) ?? []).map(({ probe, reason }) =>
    h("p", { class: "worse" }, `${lastName(probe)} failed: ${reason}`),
  );
  return [
    rows.length
      ? h(
          "table",
          parent >= 0 && h("thead", h("tr", h("td"), h("td"), h("td", { class: "muted" }, "to the parent"))),
          h("tbody", rows),
        )
      : null,
    failed,
  ];
}

function relative(birth, role, id) {
  const { metric } = app;
  if (birth < 0)
    return h("p", { class: "relative" }, h("span", { class: "role" }, role), `${id} (its record is missing)`);
  const value = valueOf(metric, birth);
  return h(
    "p",
    { class: "relative" },
    h("span", { class: "role" }, role),
    modelLink(birth),
    muted(` ${lab.kind[birth]}`),
    value == null ? "" : h("span", { class: "value" }, number(value)),
  );
}

function childrenList(birth) {
  const { metric } = app,
    list = h("div"),
    children = forest.offspring[birth];
  const role = child =>
    [
      ...new Set(
        edgesOf(child)
          .filter(edge => edge.birth === birth)
          .map(edge => edge.role),
      ),
    ].join(", ");
  const worth = child => {
    const value = valueOf(metric, child);
    return value == null ? -Infinity : app.low ? -value : value;
  };
  const sorted = children.length > 12 ? [...children].sort((a, b) => worth(b) - worth(a) || 0) : children;
  const show = most => {
    const rest = sorted.length - most;
    list.replaceChildren(
      ...sorted.slice(0, most).map(child => relative(child, role(child))),
      ...(rest > 0 ? [button(`${count(rest)} more`, () => show(most + 200))] : []),
    );
  };
  show(12);
  return children.length ? [children.length > 12 && metric && remark(`best ${metric} first`), list] : null;
}

/** The configuration; what differs from the primary parent's is marked with the value before. */
function operatorTable(birth) {
  const form = lab.form[birth],
    parent = forest.primary[birth];
  const same = parent >= 0 && sameOperator(birth, parent),
    before = same ? settingsOf(parent) : new Map(),
    mine = settingsOf(birth);
  const rows = [...new Set([...mine.keys(), ...before.keys()])].map(key => {
    const changed = same && mine.get(key) !== before.get(key);
    const old = changed ? h("del", before.has(key) ? plain(before.get(key)) : "not set") : "";
    return h(
      "tr",
      { class: changed ? "changed" : null },
      h("th", { scope: "row" }, key),
      h("td", old, changed ? " → " : "", mine.has(key) ? plain(mine.get(key)) : "not set"),
    );
  });
  return [
    h("p", { class: "code" }, form.type, muted(` version ${form.version}`)),
    rows.length ? h("table", { class: "settings" }, h("tbody", rows)) : null,
    remark(
      same
        ? "compared with the primary parent, which the same operator made"
        : parent >= 0
          ? `the primary parent was made by ${titleOf(parent)}`
          : "",
    ),
  ];
}

function eventsList(birth) {
  return (lab.events.get(lab.ids[birth]) ?? []).map(({ kind, time, held }) => {
    const text =
      kind === "note"
        ? held.text
        : kind === "tag"
          ? (held.tags ?? []).join(", ")
          : kind === "drop"
            ? "weights dropped"
            : kind === "conflict"
              ? "another writer recorded other weights for this birth: heredity verify"
              : Object.values(held).map(plain).join(" ");
    return h("p", h("span", { class: "role" }, kind), String(text ?? ""), muted(` ${moment(time)}`));
  });
}

function costPairs(birth) {
  const above = ancestorsOf(birth);
  let all = 0;
  for (const one of above) all += costOf(one);
  const known = (value, text) => (value == null ? null : text(value));
  return pairs([
    ["processor", known(lab.cpu[birth], duration)],
    ["clock", known(lab.wall[birth], duration)],
    ["threads", known(lab.threads[birth], String)],
    ["peak memory", known(lab.rss[birth], bytes)],
    ["line of descent", above.size > 1 ? duration(forest.spent[birth]) : null],
    ["with all ancestors", above.size > 1 ? `${duration(all)} (${count(above.size)} births)` : null],
  ]);
}

function weightsPairs(birth) {
  const flags = lab.flags[birth],
    dropped = (lab.events.get(lab.ids[birth]) ?? []).some(event => event.kind === "drop");
  const architecture = lab.architecture[birth],
    what = architecture ? (architecture.spec?.path ?? architecture.spec?.kind ?? architecture.id) : null;
  const stored =
    flags & KEPT && !dropped ? "stored" : flags & DETERMINISTIC ? "not stored; rebuilt when asked for" : "not stored";
  return pairs([
    ["SHA-256", h("code", lab.weights[birth] + "…")],
    ["size", lab.bytes[birth] ? bytes(lab.bytes[birth]) : null],
    ["", stored],
    ["rebuild", flags & DETERMINISTIC ? "the same bits" : "cannot be repeated"],
    ["architecture", what ? lastName(String(what)) : null],
    ["", architecture?.spec?.config ? h("code", JSON.stringify(architecture.spec.config).slice(0, 300)) : null],
  ]);
}

function evidencePairs(birth) {
  const here = lab.environment[birth] ?? {},
    versions = here.versions ?? {};
  const rows = evidenceOf(birth).map(([path, kind, hash]) => [path, h("code", `${kind} ${hash.slice(0, 16)}…`)]);
  const packages = Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
  return pairs([
    ...rows,
    ["versions", packages],
    ["python", here.python],
    ["host", here.host ? `${here.host}${here.system ? `, ${here.system}` : ""}` : null],
    ["processor", here.cpu?.model ? `${here.cpu.model}, ${here.cpu.cores} cores` : null],
    ["git", here.git],
    ["command", Array.isArray(here.command) ? h("code", here.command.join(" ")) : null],
  ]);
}

function commands(birth) {
  const path = lab.about.path ?? "lab",
    id = shortId(birth),
    option = path === "lab" ? "" : ` --lab ${quoted(path)}`;
  return [
    ["load in Python", `import heredity as hd\nmodel = hd.Lab(${JSON.stringify(path)}, mode="r")["${id}"].load()`],
    ["show", `heredity show ${id}${option}`],
    ["export", `heredity export ${id} ./${id}${option}`],
    ["rebuild in Python", `import heredity as hd\nhd.Lab(${JSON.stringify(path)}, mode="r+").rebuild("${id}")`],
  ].map(([title, text]) => h("div", { class: "command" }, muted(title), h("pre", text), copyButton(text)));
}

const copyable = text => h("span", h("code", text), copyButton(text));

function copyButton(text) {
  return button(
    "copy",
    async event => {
      const mark = event.currentTarget;
      let done = true;
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        done = false;
      }
      mark.textContent = done ? "copied" : "select it";
      setTimeout(() => {
        mark.textContent = "copy";
      }, 1500);
    },
    { class: "copy", "aria-label": `Copy ${text.split("\n").pop()}` },
  );
}
