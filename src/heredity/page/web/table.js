// The table of births: only the rows in view exist; everything the graph shows is here as text.

const ROW = 28;

function columns() {
  const text = (key, title, of) => ({ key, title, of, show: birth => of(birth) });
  const metrics = [...lab.values.keys()].sort((a, b) =>
    a === app.metric ? -1 : b === app.metric ? 1 : a < b ? -1 : 1,
  );
  return [
    {
      key: "model",
      title: "model",
      of: birth => labelFor(birth).toLowerCase(),
      show: birth => modelLink(birth),
      wide: true,
    },
    text("kind", "kind", birth => lab.kind[birth]),
    ...metrics.map(metric => ({
      key: `m:${metric}`,
      title: metric,
      of: birth => valueOf(metric, birth),
      show: birth => number(valueOf(metric, birth)),
      right: true,
    })),
    { key: "order", title: "born", of: birth => forest.rank[birth], show: birth => moment(lab.time[birth]).slice(5) },
    {
      key: "generation",
      title: "gen.",
      of: birth => forest.depth[birth],
      show: birth => String(forest.depth[birth]),
      right: true,
    },
    {
      key: "parents",
      title: "parents",
      of: birth => edgesOf(birth).length,
      show: birth => String(edgesOf(birth).length),
      right: true,
    },
    {
      key: "children",
      title: "children",
      of: birth => forest.offspring[birth].length,
      show: birth => count(forest.offspring[birth].length),
      right: true,
    },
    { key: "alive", title: "lives", of: birth => (isDead(birth) ? 1 : 0), show: birth => (isDead(birth) ? "" : "●") },
    { key: "cost", title: "compute", of: birth => costOf(birth), show: birth => duration(costOf(birth)), right: true },
    {
      key: "change",
      title: "what changed",
      of: birth => changeOf(birth),
      show: birth => {
        const change = changeOf(birth);
        return change.length > 200 ? change.slice(0, 199) + "…" : change;
      },
      wide: true,
    },
  ];
}

function renderTable() {
  const holder = $("table"),
    shown = columns();
  const key = state.sort.replace(/^-/, ""),
    column = shown.find(one => one.key === key) ?? shown.find(one => one.key === "order"),
    down = state.sort.startsWith("-");
  const births = remember(
    "rows",
    [state.sort, state.q, state.kinds, state.named, state.min, state.max, app.metric],
    () => {
      const rows = (app.matches?.births ?? forest.births).map(birth => [birth, column.of(birth)]);
      const missing = value => value == null || value === "";
      rows.sort(
        ([a, x], [b, y]) =>
          missing(x) - missing(y) ||
          (x === y || missing(x) ? forest.rank[a] - forest.rank[b] : (x < y ? -1 : 1) * (down ? -1 : 1)),
      );
      return rows.map(([birth]) => birth);
    },
  );
  const head = JSON.stringify([shown.map(one => one.key), state.sort]);
  if (holder.dataset.head !== head) {
    holder.dataset.head = head;
    const title = one =>
      h(
        "th",
        {
          scope: "col",
          class: one.right ? "right" : null,
          "aria-sort": one === column ? (down ? "descending" : "ascending") : null,
        },
        button(
          one.title + (one === column ? (down ? " ↓" : " ↑") : ""),
          () =>
            setState({
              sort:
                one === column && !down
                  ? `-${one.key}`
                  : one === column
                    ? one.key
                    : one.right
                      ? `-${one.key}`
                      : one.key,
            }),
          { title: `sort by ${one.title}` },
        ),
      );
    const body = h("tbody"),
      old = holder.scrollTop;
    holder.replaceChildren(
      h(
        "table",
        { "aria-label": "Births" },
        h("thead", h("tr", h("th", { scope: "col" }, h("span", { class: "unseen" }, "highlight")), shown.map(title))),
        body,
      ),
    );
    holder.scrollTop = old;
    holder.onscroll = () => fillRows();
    holder.onkeydown = tableKey;
  }
  app.rows = { births, shown };
  fillRows();
}

function fillRows() {
  const holder = $("table"),
    body = holder.querySelector("tbody"),
    { births, shown } = app.rows;
  const first = max(0, floor(holder.scrollTop / ROW) - 10),
    last = min(births.length, first + ceil((holder.clientHeight || 600) / ROW) + 24);
  const focused = document.activeElement?.closest?.("tr")?.dataset.id,
    chosen = new Set(app.picked);
  const row = birth =>
    h(
      "tr",
      {
        class: birth === app.sel ? "chosen" : birth === app.cmp ? "other" : null,
        "data-id": lab.ids[birth],
        "aria-selected": String(birth === app.sel),
        on: {
          click: event => {
            if (!event.target.closest("a, input")) select(birth, { add: adding(event) });
          },
        },
      },
      h(
        "td",
        h("input", {
          type: "checkbox",
          checked: chosen.has(birth),
          "aria-label": `highlight ${labelFor(birth)} in the graph`,
          on: {
            change: event => {
              const id = lab.ids[birth];
              setState({
                pick: event.target.checked ? [...state.pick, id] : state.pick.filter(one => find(one) !== birth),
              });
            },
          },
        }),
      ),
      shown.map(one => h("td", { class: one.right ? "right" : one.wide ? "wide" : null }, one.show(birth))),
    );
  const space = rows =>
    rows > 0
      ? [h("tr", { "aria-hidden": "true", css: { height: `${rows * ROW}px` } }, h("td", { colspan: shown.length + 1 }))]
      : [];
  body.replaceChildren(...space(first), ...births.slice(first, last).map(row), ...space(births.length - last));
  if (!births.length) body.append(h("tr", h("td", { colspan: shown.length + 1 }, "no birth matches")));
  if (focused) body.querySelector(`tr[data-id="${focused}"] input`)?.focus({ preventScroll: true });
}

/** Up and down choose the row before and after. */
function tableKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key],
    { births } = app.rows;
  if (!step || !births.length) return;
  event.preventDefault();
  const place = clamp(births.indexOf(app.sel) + step, 0, births.length - 1),
    holder = $("table"),
    top = place * ROW;
  select(births[place]);
  if (top < holder.scrollTop || top > holder.scrollTop + holder.clientHeight - 3 * ROW) {
    holder.scrollTop = top - holder.clientHeight / 2;
    fillRows();
  }
}
