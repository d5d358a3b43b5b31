// Drawing the graph. One pass over what is drawn; what is out of view, or would fall on pixels already painted, is skipped.

const PAD = { left: 34, right: 190, top: 26, bottom: 36 };
const FONT = 'system-ui, -apple-system, "Segoe UI", sans-serif';

/** The view that shows everything: pixel = x * kx + tx, row * ky + ty. */
function fitView(layout, width, height) {
  let low = Infinity,
    high = -Infinity;
  for (const item of layout.items) {
    low = min(low, item.x);
    high = max(high, item.x);
  }
  const right = min(PAD.right, width * 0.28),
    across = max(60, width - PAD.left - right),
    down = max(60, height - PAD.top - PAD.bottom);
  const kx = high > low ? across / (high - low) : 1,
    ky = min(40, down / layout.rows);
  return {
    kx,
    ky,
    tx: PAD.left - (Number.isFinite(low) ? low : 0) * kx,
    ty: PAD.top + (down - ky * layout.rows) / 2 + ky / 2,
  };
}

/** Small where rows are low or, in birth order, columns are narrow. */
const radiusFor = view =>
  clamp(min(view.ky * 0.34, state.x === "order" || state.x === "generation" ? 2 + view.kx * 0.8 : 4.5), 1.4, 6);

/** Paint a scene: {lab, layout, view, width, height, ink, colour, metric, low, x, best, sel, cmp, picked, path, matches, mates, hover, anyDeaths}. */
function paintGraph(ctx, scene) {
  const { layout, view, width, height, ink } = scene;
  const radius = radiusFor(view),
    place = item => [item.x * view.kx + view.tx, item.y * view.ky + view.ty];
  ctx.globalAlpha = 1;
  ctx.fillStyle = ink.paper;
  ctx.fillRect(0, 0, width, height);
  paintGrid(ctx, scene);
  const visible = inView(scene, place);
  paintEdges(ctx, scene, visible, place);
  paintMates(ctx, scene, visible, place);
  paintFolds(ctx, scene, visible.nodes, place, radius);
  paintNodes(ctx, scene, visible.nodes, place, radius);
  paintRings(ctx, scene, place, radius);
  paintLabels(ctx, scene, visible.nodes, place, radius);
  paintAxis(ctx, scene);
}

/** Items whose node is on the screen, one for each cell of pixels, and edges that cross it. */
function inView({ layout, view, width, height, sel, cmp }, place) {
  const cell = view.ky < 3 ? max(1.5, radiusFor(view)) : 0,
    columns = ceil(width / (cell || 1)) + 2;
  const taken = cell ? new Uint8Array(columns * (ceil(height / cell) + 2)) : null;
  const nodes = [],
    edges = [];
  for (const item of layout.items) {
    const [x, y] = place(item);
    const outside = x < -20 || x > width + 20 || y < -20 || y > height + 20;
    let crowded = false;
    if (taken && !outside && x >= 0 && y >= 0 && x < width && y < height) {
      const at = floor(x / cell) + columns * floor(y / cell);
      crowded = taken[at] === 1 && item.birth !== sel && item.birth !== cmp;
      taken[at] = 1;
    }
    if (!outside && !crowded) nodes.push(item);
    if (!item.parent || crowded) continue;
    const [px, py] = place(item.parent);
    if (max(x, px) < 0 || min(x, px) > width || max(y, py) < 0 || min(y, py) > height) continue;
    edges.push([px, py, x, y]);
  }
  return { nodes, edges };
}

/** Down from the parent, then across to the child, with a round corner. */
function elbow(ctx, px, py, x, y) {
  const bend = min(6, abs(y - py), abs(x - px));
  ctx.moveTo(px, py);
  if (bend > 1) {
    ctx.lineTo(px, y - Math.sign(y - py) * bend);
    ctx.quadraticCurveTo(px, y, px + Math.sign(x - px) * bend, y);
  } else ctx.lineTo(px, y);
  ctx.lineTo(x, y);
}

function curve(ctx, px, py, x, y) {
  const pull = max(24, abs(x - px) * 0.45);
  ctx.moveTo(px, py);
  ctx.bezierCurveTo(px + pull * 0.6, py, x - pull, y, x, y);
}

function paintEdges(ctx, { path, layout, view, ink, matches }, { edges }, place) {
  ctx.lineWidth = view.ky < 3 ? 0.6 : 1.2;
  ctx.strokeStyle = ink.edge;
  ctx.globalAlpha = matches ? 0.5 : 1;
  ctx.beginPath();
  for (const [px, py, x, y] of edges) elbow(ctx, px, py, x, y);
  ctx.stroke();
  ctx.globalAlpha = 1;
  for (const [births, colour] of path) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2.5;
    ctx.beginPath();
    for (let at = 1; at < births.length; at++) {
      const item = layout.byBirth.get(births[at]),
        parent = layout.byBirth.get(births[at - 1]);
      if (item && parent && item.parent === parent) elbow(ctx, ...place(parent), ...place(item));
      else if (item && parent) curve(ctx, ...place(parent), ...place(item));
    }
    ctx.stroke();
  }
}

/** Second parents: of what is hovered or selected, or of everything when asked for. */
function paintMates(ctx, { layout, mates, sel, hover, ink }, visible, place) {
  const draw = (birth, alpha, colour) => {
    const target = layout.byBirth.get(birth);
    if (!target) return;
    const seen = new Set([layout.byBirth.get(forest.primary[birth])]);
    for (const edge of edgesOf(birth).slice(1)) {
      const source = layout.anchor(edge.birth);
      if (!source || seen.has(source) || source === target) continue;
      seen.add(source);
      ctx.globalAlpha = layout.byBirth.has(edge.birth) ? alpha : alpha * 0.5;
      ctx.strokeStyle = colour;
      ctx.beginPath();
      curve(ctx, ...place(source), ...place(target));
      ctx.stroke();
    }
  };
  ctx.lineWidth = 1.2;
  ctx.setLineDash([4, 3]);
  if (mates)
    for (const item of visible.nodes)
      if (item.birth >= 0 && forest.several[item.birth]) draw(item.birth, 0.35, ink.mate);
  ctx.lineWidth = 1.6;
  const chosen = new Set([sel, hover?.birth ?? -1].filter(birth => birth >= 0));
  if (hover?.members.length > 1) chosen.add(hover.members[0]);
  for (const birth of chosen) {
    const item = layout.byBirth.get(birth);
    if (item && item.birth < 0) continue;
    draw(birth, 0.95, ink.mate);
    if (forest.offspring[birth].length <= 200) {
      for (const child of forest.offspring[birth])
        if (forest.primary[child] !== birth && layout.byBirth.get(child)?.birth === child) draw(child, 0.3, ink.mate);
    }
  }
  if (hover?.members.length > 1) draw(hover.members[0], 0.95, ink.mate);
  ctx.setLineDash([]);
  ctx.globalAlpha = 1;
}

function glyph(ctx, shape, x, y, r) {
  if (shape === 1) {
    const q = r * 1.28;
    ctx.moveTo(x, y - q);
    ctx.lineTo(x + q, y);
    ctx.lineTo(x, y + q);
    ctx.lineTo(x - q, y);
    ctx.closePath();
  } else if (shape === 2 || r < 2) ctx.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else {
    ctx.moveTo(x + r, y);
    ctx.arc(x, y, r, 0, 7);
  }
}

/** 0 a circle, 1 a diamond for several parents, 2 a square for a root. */
const shapeOf = birth => (forest.several[birth] ? 1 : forest.primary[birth] < 0 ? 2 : 0);

/** By colour, so that thousands of nodes are a few strokes; the dead are pale with a rim. */
function paintNodes(ctx, { colour, ink, matches }, nodes, place, radius) {
  const groups = new Map();
  for (const item of nodes) {
    if (!item.members.length) continue;
    const first = item.members[0],
      dead = item.members.every(birth => isDead(birth));
    const dim = matches && !item.members.some(birth => matches.flags[birth]);
    listIn(groups, `${dim ? 0 : 1}${dead ? 0 : 1}${colour.of(first)}`).push(item);
  }
  for (const [key, items] of [...groups].sort()) {
    const [dim, dead, paint] = [key[0] === "0", key[1] === "0", key.slice(2)];
    const trace = () => {
      ctx.beginPath();
      for (const item of items) {
        const [x, y] = place(item),
          shape = shapeOf(item.members[0]);
        if (item.members.length > 1 && radius > 2)
          glyph(ctx, shape, x + radius * 0.75, y - radius * 0.35, radius * 0.85);
        glyph(ctx, shape, x, y, radius);
      }
    };
    trace();
    ctx.globalAlpha = 1;
    if (dead && radius >= 2) {
      ctx.fillStyle = ink.paper;
      ctx.fill();
    }
    ctx.fillStyle = paint;
    ctx.globalAlpha = (dim ? 0.16 : 1) * (dead ? (radius < 2 ? 0.55 : 0.3) : 1);
    ctx.fill();
    if (radius < 2) continue;
    ctx.globalAlpha = dim ? 0.2 : 1;
    ctx.lineWidth = dead ? 1.3 : 1;
    ctx.strokeStyle = dead ? paint : ink.rim;
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

function circle(ctx, x, y, radius, colour, width) {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 7);
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.stroke();
}

function paintRings(ctx, { layout, ink, sel, cmp, best, picked, hover }, place, radius) {
  const ring = (birth, colour, wide, width) => {
    const item = layout.byBirth.get(birth);
    if (!item) return;
    circle(ctx, ...place(item), radius + wide, colour, width);
  };
  for (const birth of picked) ring(birth, ink.pick, 3, 2);
  if (best >= 0) ring(best, ink.best, 3.5, 2);
  if (cmp >= 0) ring(cmp, ink.second, 5, 3);
  if (sel >= 0) ring(sel, ink.accent, 5, 3);
  if (hover?.members.length) ring(hover.members[0], ink.text, 3, 1.2);
}

/** Where the wedge of a folded clade stands, relative to its node. */
function wedge(item, radius) {
  const size = Math.log10(item.fold.births + 1),
    length = 9 + 5 * size,
    thick = 4 + 2.5 * size;
  return item.members.length
    ? { dx: radius * 0.5, dy: radius + 2, length, thick }
    : { dx: -4, dy: -thick / 2, length: length + 6, thick };
}

/** Wedges where there is room for them, else a tick; `item.wedge` tells the pointer and the labels. */
function paintFolds(ctx, { ink, view }, nodes, place, radius) {
  const ends = new Map();
  for (const item of nodes) {
    if (!item.fold || view.ky < 5) continue;
    const [x, y] = place(item),
      { dx, dy, length, thick } = wedge(item, radius);
    item.wedge = !item.members.length || (view.ky >= 12 && x >= (ends.get(item.y) ?? -Infinity));
    if (!item.wedge) {
      ctx.fillStyle = ink.fold;
      ctx.fillRect(x + radius * 0.3, y + radius + 1, 2.5, 2.5);
      continue;
    }
    ends.set(item.y, x + length);
    paintWedge(ctx, ink, x, y, dx, dy, length, thick);
  }
}

function paintWedge(ctx, ink, x, y, dx, dy, length, thick) {
  ctx.beginPath();
  ctx.moveTo(x + dx, y + dy);
  ctx.lineTo(x + dx + length, y + dy + thick * 0.1);
  ctx.lineTo(x + dx + length, y + dy + thick);
  ctx.closePath();
  ctx.fillStyle = ink.foldFill;
  ctx.fill();
  ctx.strokeStyle = ink.fold;
  ctx.lineWidth = 1;
  ctx.stroke();
}

function paintGrid(ctx, scene) {
  const { view, height, ink } = scene;
  ctx.strokeStyle = ink.grid;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const value of axisTicks(scene)) {
    const x = Math.round(value * view.kx + view.tx) + 0.5;
    ctx.moveTo(x, 0);
    ctx.lineTo(x, height - PAD.bottom + 14);
  }
  ctx.stroke();
}

function axisTicks({ view, width, x, layout }) {
  if (!layout.items.length) return [];
  const low = max(0, -view.tx / view.kx),
    high = max(low, (width - view.tx) / view.kx);
  const found = ticks(low, high, width / 110, x === "generation" || x === "order");
  return x === "order" ? found.filter(value => value < layout.inLine.length) : found;
}

function paintAxis(ctx, scene) {
  const { view, width, height, ink, x } = scene;
  ctx.fillStyle = ink.paper;
  ctx.globalAlpha = 0.9;
  ctx.fillRect(0, height - PAD.bottom + 14, width, PAD.bottom - 14);
  ctx.globalAlpha = 1;
  ctx.font = `11px ${FONT}`;
  ctx.fillStyle = ink.muted;
  ctx.textBaseline = "top";
  ctx.textAlign = "right";
  const title = AXES[x] + " →",
    room = ctx.measureText(title).width + 16;
  ctx.fillText(title, width - 8, height - PAD.bottom + 19);
  ctx.textAlign = "center";
  for (const value of axisTicks(scene)) {
    const at = value * view.kx + view.tx;
    if (at > 8 && at < width - room - 14)
      ctx.fillText(axisText(x, value, scene.layout.inLine), at, height - PAD.bottom + 19);
  }
  ctx.textAlign = "left";
}
