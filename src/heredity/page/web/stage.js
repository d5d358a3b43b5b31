// The stage: canvases at the screen's resolution, drawn when something changed, and the view on the graph.

function scene(width, height) {
  const { layout, view, ink, colour, metric, best, sel, cmp, picked, path, matches, hover } = app;
  return {
    layout,
    view,
    ink,
    colour,
    metric,
    best,
    sel,
    cmp,
    picked,
    path,
    matches,
    hover,
    width,
    height,
    x: state.x,
    low: app.low,
    mates: state.mates,
    anyDeaths: lab.death.size > 0,
    lostRoots: app.trunk.lostRoots,
  };
}

function renderStage() {
  $("graph").hidden = state.tab !== "graph";
  $("progress").hidden = !["progress", "search"].includes(state.tab);
  $("table").hidden = state.tab !== "table";
  $("stage").setAttribute("aria-labelledby", `tab-${state.tab}`);
  const empty = lab.ids.length === 0;
  $("empty").hidden = !empty;
  $("empty").textContent = empty ? "No births yet. They appear here as soon as they are recorded." : "";
  if (state.tab === "table") renderTable();
  else redraw();
}

let asked = false;
/** Draw in the next frame. */
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

const shownCanvas = () => $(state.tab === "graph" ? "graph" : "progress");
const plotOf = scene => (state.tab === "search" ? searchPlot(scene) : progressPlot(scene));

function draw() {
  if (!forest || state.tab === "table") return;
  const canvas = shownCanvas(),
    box = canvas.getBoundingClientRect(),
    sharp = window.devicePixelRatio || 1;
  const width = max(1, floor(box.width)),
    height = max(1, floor(box.height));
  if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
  }
  const ctx = canvas.getContext("2d", { alpha: false });
  ctx.setTransform(sharp, 0, 0, sharp, 0, 0);
  if (state.tab === "graph") {
    placeView(width, height);
    paintGraph(ctx, scene(width, height));
  } else {
    const shown = scene(width, height);
    app.plot = plotOf(shown);
    app.points = paintPlot(ctx, shown, app.plot);
    const { title, across, empty } = app.plot,
      { metric, best, points } = app;
    const bestText = best < 0 ? "" : `; best ${metric} ${number(valueOf(metric, best))} by ${labelFor(best)}`;
    canvas.setAttribute(
      "aria-label",
      points.length ? `${title} over ${across}: ${plural(points.length, "birth")}${bestText}` : empty,
    );
  }
}

/** The view from the address: the centre in units of the graph and the scales; everything where it says nothing. */
function placeView(width, height) {
  const { v } = state;
  if (v.length === 4) {
    const [x, y, kx, ky] = v;
    app.view = { kx, ky, tx: width / 2 - x * kx, ty: height / 2 - y * ky };
  } else app.view = fitView(app.layout, width, height);
  app.size = [width, height];
}

let saving = 0;
function setView({ kx, ky, tx, ty }) {
  const [width, height] = app.size ?? [1, 1];
  state.v = [(width / 2 - tx) / kx, (height / 2 - ty) / ky, kx, ky];
  redraw();
  clearTimeout(saving);
  saving = setTimeout(() => {
    state.v = state.v.map(value => Number(value.toPrecision(6)));
    setState({}, { quiet: true });
  }, 300);
}

function zoom(factorX, factorY, atX, atY) {
  const { view } = app;
  const kx = clamp(view.kx * factorX, 1e-9, 1e7),
    ky = clamp(view.ky * factorY, 0.01, 80);
  setView({ kx, ky, tx: atX - ((atX - view.tx) / view.kx) * kx, ty: atY - ((atY - view.ty) / view.ky) * ky });
}

function pan(dx, dy) {
  const { view } = app;
  setView({ ...view, tx: view.tx + dx, ty: view.ty + dy });
}

/** When the layout changed under a view that was chosen, keep what is selected or central where it was. */
function keepPlace(before) {
  const { view, layout } = app;
  if (state.v.length !== 4 || !view || !app.size) return;
  const [cx, cy] = [app.size[0] / 2, app.size[1] / 2];
  const distance = item => abs(item.x * view.kx + view.tx - cx) + abs(item.y * view.ky + view.ty - cy);
  let old = before.byBirth.get(app.sel);
  if (!old)
    for (const item of before.items) if (item.members.length && (!old || distance(item) < distance(old))) old = item;
  const now = old && layout.byBirth.get(old.members[0]);
  if (now) state.v = [state.v[0] + now.x - old.x, state.v[1] + now.y - old.y, state.v[2], state.v[3]];
}

/** Bring a birth into view when it is outside. */
function reveal(birth) {
  if (state.tab !== "graph" || state.v.length !== 4 || !app.view) return;
  const item = app.layout.byBirth.get(birth),
    [width, height] = app.size ?? [0, 0];
  if (!item) return;
  const [, , kx, ky] = state.v,
    x = (item.x - state.v[0]) * kx + width / 2,
    y = (item.y - state.v[1]) * ky + height / 2;
  const margin = min(70, width / 5, height / 5);
  const dx = clamp(x, margin, width - margin) - x,
    dy = clamp(y, margin, height - margin) - y;
  if (dx || dy) setView({ kx, ky, tx: width / 2 - state.v[0] * kx + dx, ty: height / 2 - state.v[1] * ky + dy });
}

/** Fill the stage with a clade. */
function zoomTo(birth) {
  const item = app.layout.anchor(birth),
    [width, height] = app.size ?? [1, 1];
  if (!item) return;
  const clade = [item];
  for (const one of clade) clade.push(...one.children);
  const ys = clade.map(one => one.y),
    rows = most(ys) - least(ys) + 3;
  const around = { items: clade, rows },
    view = fitView(around, width, height);
  view.ty = height / 2 - ((most(ys) + least(ys)) / 2) * view.ky;
  if (clade.length === 1) {
    view.kx = app.view.kx;
    view.tx = width / 2 - item.x * view.kx;
  }
  setView(view);
}

/** What is under a point of the graph: {item, fold}. */
function hit(x, y) {
  const { layout, view } = app;
  if (!layout || !view) return null;
  const radius = radiusFor(view),
    reach = max(radius + 4, 7);
  let found = null,
    near = reach;
  for (const item of layout.items) {
    const px = item.x * view.kx + view.tx,
      py = item.y * view.ky + view.ty;
    if (item.members.length) {
      const far = hypot(px - x, py - y) - (item.members.length > 1 && abs(px + 6 - x) < 10 ? 4 : 0);
      if (far < near) [found, near] = [{ item, fold: false }, far];
    }
    if (item.wedge) {
      const { dx, dy, length, thick } = wedge(item, radius),
        room = item.members.length ? 0 : 240;
      if (
        near > 3 &&
        x >= px + dx - 1 &&
        x <= px + dx + length + 2 + room &&
        y >= py + dy - 2 &&
        y <= py + dy + thick + 3
      )
        return { item, fold: true };
    }
  }
  return found;
}

function exportSvg() {
  const { tab } = state,
    { clientWidth: width, clientHeight: height } = shownCanvas();
  const ctx = new SvgContext(width, height),
    shown = scene(width, height);
  if (tab === "graph") {
    placeView(width, height);
    paintGraph(ctx, scene(width, height));
  } else paintPlot(ctx, shown, plotOf(shown));
  saveSvg(ctx.root, `${lab.about.name ?? "lineage"}-${tab}.svg`);
}
