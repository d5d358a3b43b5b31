// Pointer and keys.

function listen() {
  const apply = () => {
    state = readState(location.hash);
    render();
  };
  on(window, {
    popstate: apply,
    hashchange: () => {
      if ((writeState(state) || "#") !== (location.hash || "#")) apply();
    },
    resize: () => {
      if (forest) renderStage();
    },
    beforeprint: () => {
      readInk("light");
      app.path = paths();
      draw();
    },
    afterprint: render,
  });
  on(darkScheme, { change: render });
  on($("q"), { input: () => setState({ q: $("q").value }, { quiet: true }), keydown: searchKey });
  on($("search"), { submit: event => event.preventDefault() });
  on($("theme"), {
    click: () => setState({ theme: { auto: "light", light: "dark", dark: "auto" }[state.theme] }, { quiet: true }),
  });
  on($("ask"), { click: showHelp });
  on($("help"), {
    click: event => {
      if (event.target === $("help")) $("help").close();
    },
  });
  on(document, { keydown: key });
  listenGraph($("graph"));
  listenProgress($("progress"));
}

function searchKey(event) {
  if (event.key === "Enter" && app.matches?.births.length) {
    const { births } = app.matches;
    app.found = (births.indexOf(app.sel) + (event.shiftKey ? -1 : 1) + births.length) % births.length;
    select(births[app.found]);
    $("found").textContent = `${app.found + 1} of ${count(births.length)}`;
  } else if (event.key === "Escape") {
    if ($("q").value) {
      $("q").value = "";
      setState({ q: "" }, { quiet: true });
    } else $("graph").focus();
    event.stopPropagation();
  }
}

const local = event => {
  const box = event.currentTarget.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

const adding = event => event.shiftKey || event.metaKey || event.ctrlKey;

function listenGraph(canvas) {
  const down = new Map();
  let moved = 0,
    apart = 0;
  const up = event => {
    if (down.delete(event.pointerId) && moved <= 4 && event.type === "pointerup") click(...local(event), event);
  };
  on(canvas, {
    pointerdown(event) {
      canvas.setPointerCapture(event.pointerId);
      down.set(event.pointerId, local(event));
      moved = apart = 0;
    },
    pointermove(event) {
      const [x, y] = local(event),
        before = down.get(event.pointerId);
      if (!before) return hoverAt(x, y);
      moved += abs(x - before[0]) + abs(y - before[1]);
      down.set(event.pointerId, [x, y]);
      if (down.size === 2) {
        const [one, other] = [...down.values()],
          now = hypot(one[0] - other[0], one[1] - other[1]);
        if (apart) zoom(now / apart, now / apart, (one[0] + other[0]) / 2, (one[1] + other[1]) / 2);
        apart = now;
      } else if (moved > 4) {
        hideTip();
        pan(x - before[0], y - before[1]);
      }
      return null;
    },
    pointerup: up,
    pointercancel: up,
    pointerleave() {
      app.hover = null;
      hideTip();
      redraw();
    },
    dblclick(event) {
      const found = hit(...local(event));
      if (found?.item.birth >= 0) zoomTo(found.item.birth);
    },
    wheel(event) {
      event.preventDefault();
      const factor = Math.exp(-clamp(event.deltaY || event.deltaX, -200, 200) * (event.ctrlKey ? 0.01 : 0.002));
      zoom(event.altKey ? 1 : factor, event.shiftKey ? 1 : factor, ...local(event));
    },
  });
}

function click(x, y, event) {
  const found = hit(x, y);
  if (!found) {
    if (state.sel) select(-1);
    return;
  }
  const { item, fold } = found;
  if (fold || item.members.length > 1) toggleOpen(item.members.length === 1 ? tokenOf(item.birth) : item.token);
  else select(item.birth, { add: adding(event) });
}

function toggleOpen(token) {
  const { open } = state;
  setState({ open: open.includes(token) ? open.filter(one => one !== token) : [...open, token] });
}

function hoverAt(x, y) {
  const found = hit(x, y),
    item = found?.item ?? null;
  $("graph").classList.toggle("over", item !== null);
  if (item !== app.hover) {
    app.hover = item;
    redraw();
  }
  if (item) showTip(x, y, tipFor(found));
  else hideTip();
}

function listenProgress(canvas) {
  const at = event => {
    const [x, y] = local(event);
    let found = null,
      near = 9;
    for (const point of app.points) {
      const far = hypot(point.px - x, point.py - y);
      if (far < near) [found, near] = [point, far];
    }
    return found;
  };
  on(canvas, {
    pointermove(event) {
      const point = at(event);
      canvas.classList.toggle("over", point !== null);
      const { title, across } = app.plot;
      if (point)
        showTip(...local(event), [
          ...birthTip(point.birth),
          state.tab === "search" && h("div", `${title} ${brief(point.value)}, ${across} ${brief(point.x)}`),
        ]);
      else hideTip();
    },
    pointerleave: hideTip,
    click(event) {
      const point = at(event);
      if (point) select(point.birth, { add: adding(event) });
    },
  });
}

function tipFor({ item, fold }) {
  const anyDeaths = lab.death.size > 0;
  if (!item.members.length || fold) {
    const best = item.fold.best == null ? "" : `best ${app.metric} ${number(item.fold.best)}`;
    return [
      h("b", foldText(item.fold, anyDeaths)),
      best && h("div", best),
      h("div", { class: "muted" }, "click to open"),
    ];
  }
  if (item.members.length === 1) return birthTip(item.birth);
  const best = app.metric ? bestOf(app.metric, app.low, item.members) : -1;
  const matched = app.matches ? item.members.filter(birth => app.matches.flags[birth]).length : 0;
  return [
    h("b", `${item.members.length} siblings by ${titleOf(item.members[0])}`),
    best >= 0 && h("div", `best ${app.metric} ${number(valueOf(app.metric, best))}`),
    app.matches && h("div", plural(matched, "match", "matches")),
    h("div", { class: "muted" }, "equal parents and operator; click to open"),
  ];
}

function birthTip(birth) {
  const { metric } = app,
    change = changeOf(birth),
    value = valueOf(metric, birth);
  const parents = edgesOf(birth).length;
  return [
    h("b", labelFor(birth)),
    muted(` ${lab.kind[birth]}${parents > 1 ? `, ${parents} parents` : ""}${isDead(birth) ? ", dead" : ""}`),
    value != null && h("div", `${metric} ${number(value)} `, gainMark(birth, metric)),
    change && h("div", { class: "muted" }, change.length > 150 ? change.slice(0, 149) + "…" : change),
  ];
}

function showTip(x, y, content) {
  const tip = $("tip"),
    stage = $("stage");
  tip.replaceChildren(...content.filter(Boolean));
  tip.hidden = false;
  tip.style.left = `${clamp(x + 14, 4, max(4, stage.clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > stage.clientHeight ? max(4, y - tip.offsetHeight - 10) : y + 18}px`;
}

const hideTip = () => {
  $("tip").hidden = true;
};

const KEYS = [
  ["←", "the primary parent", () => walk("parent")],
  ["→", "a child", () => walk("child")],
  ["↑ ↓", "siblings", null],
  ["/", "search; Enter goes to the next match", () => $("q").focus()],
  ["t", "trunk or everything", () => setState({ all: !state.all, v: [] })],
  ["b", "the best", () => select(app.best)],
  [
    "p",
    "how did it get here",
    () => {
      if (app.sel >= 0) setState({ panel: state.panel === "path" ? "" : "path" });
    },
  ],
  [
    "c",
    "compare with another",
    () => {
      if (app.sel >= 0) setState({ panel: "compare", cmp: "" });
    },
  ],
  ["m", "second parents of all", () => setState({ mates: !state.mates })],
  [
    "z",
    "zoom to the clade",
    () => {
      if (app.sel >= 0) zoomTo(app.sel);
    },
  ],
  ["f", "fit everything", () => setState({ v: [] })],
  ["+", "zoom in", () => zoom(1.3, 1.3, ...middle())],
  ["-", "zoom out", () => zoom(1 / 1.3, 1 / 1.3, ...middle())],
  ["1", "graph", () => setState({ tab: "graph" })],
  ["2", "progress", () => setState({ tab: "progress" })],
  ["3", "table", () => setState({ tab: "table" })],
  ["4", "searches; arrows go from point to point", () => setState({ tab: "search" })],
  ["?", "this help", () => showHelp()],
  ["Esc", "close, deselect", null],
];
const middle = () => (app.size ?? [0, 0]).map(length => length / 2);

function key(event) {
  if (!forest || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
  if (event.key === "Escape") return escape(typing ? event.target : null);
  if (typing) return;
  const arrow = { ArrowLeft: "parent", ArrowRight: "child", ArrowUp: "before", ArrowDown: "after" }[event.key];
  if (arrow && (event.target.closest("#table, #panel, #tabs") || state.tab === "table")) return;
  const known = KEYS.find(([name, , action]) => name === event.key && action);
  if (!arrow && !known) return;
  event.preventDefault();
  if (arrow) walk(arrow);
  else known[2]();
}

function escape(field) {
  if (field) return field.blur();
  if (state.panel) return setState({ panel: "", cmp: "" });
  return app.sel >= 0 ? select(-1) : undefined;
}

/** From the selected birth to a relative; from nowhere to the best or the first root. */
function walk(where) {
  const { layout, sel } = app,
    { primary, children, roots } = forest;
  if (state.tab === "search") return walkPoints(where);
  if (sel < 0) return select(app.best >= 0 ? app.best : (roots[0] ?? -1));
  const single = births => {
    const drawn = births.filter(birth => layout.byBirth.get(birth)?.birth === birth);
    return drawn.length ? drawn : births;
  };
  if (where === "parent") return primary[sel] >= 0 ? select(primary[sel]) : undefined;
  if (where === "child") return children[sel].length ? select(single(children[sel])[0]) : undefined;
  const siblings = single(primary[sel] >= 0 ? children[primary[sel]] : roots),
    next = siblings[siblings.indexOf(sel) + (where === "after" ? 1 : -1)];
  return next == null ? undefined : select(next);
}

function showHelp() {
  const glyphs = [
    ["●", "one parent"],
    ["◆", "several parents"],
    ["■", "no parent"],
    ["pale", "dead: no population holds it any more"],
    ["◁", "a folded clade, with its births and best value; click opens it"],
    ["★", "the best"],
  ];
  const rows = pairs =>
    h(
      "dl",
      pairs.map(([term, text]) => [h("dt", term), h("dd", text)]),
    );
  $("help").replaceChildren(
    button("×", () => $("help").close(), { class: "close", "aria-label": "Close" }),
    h("h2", "Reading the graph"),
    h(
      "p",
      "Lines lead from a model to those it is the primary parent of. Drawn are the ancestors of what lives; the rest is folded. Dashed lines lead from second parents to what is pointed at or selected.",
    ),
    rows(glyphs),
    h("h2", "Keys and pointer"),
    rows([
      ...KEYS.map(([name, text]) => [h("kbd", name), text]),
      ["drag, wheel", "move, zoom; with Shift only across, with Alt only down"],
      ["double click", "zoom to the clade"],
      ["Shift-click", "compare with the selected one"],
    ]),
    h("h2", "Search"),
    h("p", HELP_QUERY),
    remark(`The address holds the view: copy it to share what you see. Heredity ${lab.about.version ?? ""}.`),
  );
  $("help").showModal();
}
