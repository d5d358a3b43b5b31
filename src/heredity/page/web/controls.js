// Tabs, choices, filters and the legend. Built once for each set of choices, so that focus stays where it is.

function renderControls() {
  const metrics = metricNames();
  if (!$("tabs").firstChild) {
    $("tabs").append(
      ...TABS.map(tab =>
        button(tab[0].toUpperCase() + tab.slice(1), () => setState({ tab }), {
          role: "tab",
          id: `tab-${tab}`,
          "aria-controls": "stage",
        }),
      ),
    );
    $("tabs").addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const tab = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length];
      setState({ tab });
      $(`tab-${tab}`).focus();
    });
  }
  for (const tab of TABS) {
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === state.tab));
    $(`tab-${tab}`).tabIndex = tab === state.tab ? 0 : -1;
  }
  const choices = JSON.stringify([metrics, colourChoices(), [...new Set(lab.kind)], searchChoices()]);
  if ($("controls").dataset.choices !== choices) {
    $("controls").dataset.choices = choices;
    buildControls(metrics);
  }
  const put = (id, value) => {
    const field = $(id);
    if (document.activeElement !== field || field.tagName === "SELECT") field.value = value;
  };
  put("x", state.x);
  put("color", state.color);
  put("metric", app.metric ?? "");
  put("min", state.min);
  put("max", state.max);
  put("ends", state.ends);
  put("s", state.s);
  put("sx", state.sx);
  put("sy", upKey());
  put("front", state.front);
  for (const id of ["log", "mates", "named"]) $(id).checked = state[id];
  $("low").checked = app.low;
  $("show-trunk").setAttribute("aria-pressed", String(!state.all));
  $("show-all").setAttribute("aria-pressed", String(state.all));
  for (const box of document.querySelectorAll("#kinds input"))
    box.checked = !state.kinds.length || state.kinds.includes(box.value);
  const filters = (state.kinds.length ? 1 : 0) + (state.min !== "" || state.max !== "" ? 1 : 0) + (state.named ? 1 : 0);
  $("filter-title").textContent = filters ? `Filter (${filters})` : "Filter";
  for (const part of document.querySelectorAll("[data-tabs]")) part.hidden = !part.dataset.tabs.includes(state.tab);
  $("fold-all").hidden ||= !state.open.length;
  $("front").parentNode.hidden ||= overRun();
  $("color").parentNode.hidden ||= state.tab === "search" && overRun();
}

function buildControls(metrics) {
  const colours = colourChoices(),
    kinds = [...new Set(lab.kind)].sort();
  const choice = (id, text, options, tabs, patch = () => ({})) =>
    h(
      "label",
      { "data-tabs": tabs },
      h("span", text),
      h(
        "select",
        { id, on: { change: ({ target: { value } }) => setState({ [id]: value, ...patch(value) }) } },
        options,
      ),
    );
  const option = ([value, text]) => h("option", { value }, text);
  const quantities = () => [
    group("measurements", colours.metrics),
    group("settings", colours.settings),
    group("labels", colours.numbers),
  ];
  const group = (label, options) => (options.length ? h("optgroup", { label }, options.map(option)) : null);
  const check = (id, text, tabs, value = on => on) =>
    h(
      "label",
      { class: "check", "data-tabs": tabs },
      h("input", { id, type: "checkbox", on: { change: event => setState({ [id]: value(event.target.checked) }) } }),
      text,
    );
  const limit = id =>
    h("input", {
      id,
      type: "number",
      step: "any",
      "aria-label": `${id === "min" ? "least" : "greatest"} value`,
      placeholder: id,
      on: { input: event => setState({ [id]: event.target.value }, { quiet: true }) },
    });
  const toggleKind = (kind, on) => {
    const chosen = new Set(state.kinds.length ? state.kinds : kinds);
    if (on) chosen.add(kind);
    else chosen.delete(kind);
    setState({ kinds: chosen.size === kinds.length ? [] : [...chosen] });
  };
  const show = h(
    "div",
    { class: "segments", role: "group", "aria-label": "What is drawn", "data-tabs": "graph" },
    button("Trunk", () => setState({ all: false, v: [] }), {
      id: "show-trunk",
      title: "ancestors of what lives; the rest folded (t)",
    }),
    button("All", () => setState({ all: true, v: [] }), { id: "show-all", title: "every birth (t)" }),
  );
  const filter = h(
    "details",
    { id: "filter" },
    h("summary", { id: "filter-title" }, "Filter"),
    h(
      "div",
      { class: "pop" },
      h(
        "fieldset",
        { id: "kinds" },
        h("legend", "kinds"),
        kinds.map(kind =>
          h(
            "label",
            { class: "check" },
            h("input", {
              type: "checkbox",
              value: kind,
              on: { change: event => toggleKind(kind, event.target.checked) },
            }),
            dot(kindColour(kind)),
            kind,
          ),
        ),
      ),
      h("fieldset", h("legend", "metric between"), limit("min"), " and ", limit("max")),
      h("fieldset", check("named", "only named models")),
      h(
        "fieldset",
        h("legend", "ends of the trunk"),
        h("input", {
          id: "ends",
          type: "number",
          min: 1,
          step: 1,
          "aria-label": "how many ends of the trunk are drawn at most",
          on: { change: event => setState({ ends: max(1, floor(Number(event.target.value)) || 100) }) },
        }),
      ),
      button("Clear all", () => setState({ kinds: [], min: "", max: "", named: false, q: "" })),
    ),
  );
  $("controls").replaceChildren(
    show,
    choice(
      "x",
      "x",
      Object.entries({ order: "birth order", generation: "generation", time: "time", compute: "compute" }).map(option),
      "graph progress",
      () => ({ v: [] }),
    ),
    choice("sy", "y", quantities(), "search", value =>
      value[0] === "m" ? { metric: value.slice(2), sy: "" } : {},
    ),
    choice(
      "sx",
      "over",
      [group("run", ["births", "generation"].map(text => [text, text])), ...quantities()],
      "search",
    ),
    choice(
      "color",
      "colour",
      [
        group("births", colours.births),
        group("measurements", colours.metrics),
        group("labels", colours.labels),
        group("settings", colours.settings),
      ],
      "graph progress search",
    ),
    choice(
      "metric",
      "metric",
      metrics.length ? metrics.map(metric => option([metric, metric])) : [option(["", "none measured"])],
      "graph progress table",
    ),
    choice(
      "front",
      "front",
      Object.entries({ "": "by aim", right: "greater x", left: "smaller x", none: "none" }).map(option),
      "search",
    ),
    h(
      "label",
      { "data-tabs": "search" },
      h("span", "searches"),
      h("input", {
        id: "s",
        type: "search",
        list: "names",
        placeholder: "all; a*;b",
        "aria-label": "searches, separated by ; with * for anything",
        on: { change: event => setState({ s: event.target.value }) },
      }),
      h(
        "datalist",
        { id: "names" },
        searchChoices().map(value => h("option", { value })),
      ),
    ),
    check("low", "lower is better", undefined, on => (on === app.lowSaid ? "" : on ? "1" : "0")),
    check("log", "log", "search"),
    check("mates", "second parents", "graph"),
    filter,
    h(
      "span",
      { class: "buttons" },
      button("Fold all", () => setState({ open: [] }), { id: "fold-all", "data-tabs": "graph" }),
      button("−", () => zoom(1 / 1.3, 1 / 1.3, ...middle()), { "aria-label": "Zoom out", "data-tabs": "graph" }),
      button("+", () => zoom(1.3, 1.3, ...middle()), { "aria-label": "Zoom in", "data-tabs": "graph" }),
      button("Fit", () => setState({ v: [] }), { title: "show everything (f)", "data-tabs": "graph" }),
      button("SVG", exportSvg, { title: "save what is shown as SVG", "data-tabs": "graph progress search" }),
    ),
  );
}

function renderLegend() {
  const put = parts => $("legend").replaceChildren(...parts.flat(Infinity).filter(Boolean));
  const { legend, key } = app.colour,
    own = state.tab === "search" ? searchLegend() : [];
  $("legend").hidden = state.tab === "table" || !lab.ids.length;
  if (state.tab === "search" && (overRun() || key === "kind")) return put(own);
  if (legend.range) {
    const bar = h("span", {
      class: "ramp",
      css: { background: `linear-gradient(90deg,${[0, 0.25, 0.5, 0.75, 1].map(viridis).join(",")})` },
    });
    return put([
      h("span", key.slice(key.indexOf(":") + 1)),
      h("span", (legend.clipped ? "≤ " : "") + brief(legend.range[0])),
      bar,
      h("span", brief(legend.range[1])),
      legend.missing && h("span", dot(OTHER), "none"),
      own,
    ]);
  }
  const most = 9,
    entries = legend.entries.slice(0, most);
  const chip = ({ value, colour, births }) => {
    const content = [dot(colour), value.length > 24 ? value.slice(0, 23) + "…" : value, h("small", count(births))];
    if (key !== "kind") return h("span", content);
    const only = state.kinds.length === 1 && state.kinds[0] === value;
    return h(
      "button",
      {
        type: "button",
        "aria-pressed": String(only),
        title: only ? "show all kinds" : `highlight only ${value}`,
        on: { click: () => setState({ kinds: only ? [] : [value] }) },
      },
      content,
    );
  };
  return put([
    entries.map(chip),
    legend.entries.length > most && h("span", `${legend.entries.length - most} more`),
    own,
  ]);
}
