// Births as dots over two quantities, with curves and bands: the progress of a lab, searches and their fronts.

/** A plot is {points: [{birth, x, value}], paint: birth → colour, curves: [{points: [[x, y]], colour, …}], bands:
 * [{points: [[x, low, high]], colour}], marked: births, title, across, textOf: x → text, whole, low, log, …}. Paint it
 * and return the points with their pixels, for the pointer. */
function paintPlot(ctx, scene, plot) {
  const { width, height, ink, matches, sel, cmp, picked, path } = scene;
  const { low, log } = plot;
  ctx.globalAlpha = 1;
  ctx.fillStyle = ink.paper;
  ctx.fillRect(0, 0, width, height);
  ctx.font = `12px ${FONT}`;
  ctx.textBaseline = "middle";
  const scaled = value => (log ? Math.log10(value) : value);
  const points = log ? plot.points.filter(one => one.value > 0) : plot.points;
  if (!points.length) {
    ctx.fillStyle = ink.muted;
    ctx.textAlign = "center";
    ctx.fillText(plot.empty, width / 2, height / 2);
    ctx.textAlign = "left";
    return [];
  }
  const xs = points.map(one => one.x),
    sorted = points.map(one => scaled(one.value)).sort((a, b) => a - b);
  let [y0, y1] = [sorted[0], sorted[sorted.length - 1]];
  // hopeless births are drawn on the edge, so that the rest has room
  const worst = low ? y1 : y0,
    best = low ? y0 : y1,
    outlier = sorted[floor((sorted.length - 1) * (low ? 0.98 : 0.02))];
  if (plot.clip && sorted.length > 100 && abs(best - outlier) < abs(best - worst) * 0.4) {
    if (low) y1 = outlier + (outlier - best) * 0.15;
    else y0 = outlier - (best - outlier) * 0.15;
  }
  if (y1 <= y0) y1 = y0 + 1;
  let [x0, x1] = [least(xs), most(xs)];
  const room = plot.clip ? 0 : (x1 - x0) * 0.03;
  [x0, x1] = [x0 - room, max(x1 + room, x0 + 1e-9)];
  const left = 58,
    right = width - 24,
    over = 26,
    under = height - PAD.bottom;
  const px = value => left + ((value - x0) / (x1 - x0)) * (right - left),
    py = value => under - clamp((scaled(value) - y0) / (y1 - y0), 0, 1) * (under - over);
  plotAxes(ctx, { plot, x0, x1, y0, y1, px, py, left, right, over, under, ink });
  const line = (spots, steps) => {
    let before = null;
    for (const [x, y] of spots) {
      if (before === null) ctx.moveTo(x, y);
      else {
        if (steps) ctx.lineTo(x, before);
        ctx.lineTo(x, y);
      }
      before = y;
    }
  };
  const drawn = spots => spots.map(([x, y]) => [px(x), py(y)]);
  for (const band of plot.bands ?? []) {
    ctx.beginPath();
    line([
      ...drawn(band.points.map(([x, , y]) => [x, y])),
      ...drawn(band.points.map(([x, y]) => [x, y]).reverse()),
    ]);
    ctx.closePath();
    ctx.fillStyle = band.colour;
    ctx.globalAlpha = 0.22;
    ctx.fill();
  }
  const groups = new Map(),
    radius = points.length > 3000 ? 2 : 3,
    marked = new Set(plot.marked);
  for (const point of points) {
    point.px = px(point.x);
    point.py = py(point.value);
    const shown = matches && !matches.flags[point.birth] ? 0 : marked.has(point.birth) ? 2 : 1;
    listIn(groups, `${shown}${plot.paint(point.birth)}`).push(point);
  }
  for (const [key, dots] of [...groups].sort()) {
    ctx.beginPath();
    for (const dot of dots)
      glyph(ctx, shapeOf(dot.birth) === 1 ? 1 : 0, dot.px, dot.py, key[0] === "2" ? radius + 2 : radius);
    ctx.fillStyle = key.slice(1);
    ctx.globalAlpha = key[0] === "0" ? 0.1 : key[0] === "2" ? 1 : (plot.pale ?? (points.length > 500 ? 0.6 : 0.85));
    ctx.fill();
    if (key[0] === "0" || (key[0] === "1" && !plot.rim)) continue;
    ctx.strokeStyle = key[0] === "2" ? ink.text : ink.rim;
    ctx.lineWidth = 1;
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
  for (const { points: spots, colour, steps, label, width: wide = 2, dash = [], onward } of plot.curves) {
    if (!spots.length) continue;
    const ways = drawn(spots),
      y = ways[ways.length - 1][1];
    ctx.beginPath();
    line(onward ? [...ways, [right, y]] : ways, steps);
    stroke(ctx, colour, wide, dash);
    if (!label) continue;
    ctx.fillStyle = ink.text;
    ctx.font = `bold 12px ${FONT}`;
    ctx.textAlign = "right";
    ctx.textBaseline = low ? "top" : "bottom";
    ctx.fillText(label, right, y + (low ? 4 : -4));
    ctx.textAlign = "left";
  }
  const at = new Map(points.map(point => [point.birth, point]));
  for (const [births, colour] of path) {
    ctx.beginPath();
    line(
      births.flatMap(birth => at.get(birth) ?? []).map(point => [point.px, point.py]),
      plot.steps,
    );
    stroke(ctx, colour, 1.6, [5, 3]);
  }
  const ring = (birth, colour, wide) => {
    const point = at.get(birth);
    if (point) circle(ctx, point.px, point.py, radius + wide, colour, 2.5);
  };
  for (const birth of picked) ring(birth, ink.pick, 2.5);
  ring(cmp, ink.second, 4);
  ring(sel, ink.accent, 4);
  return points;
}

function stroke(ctx, colour, width, dash) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.stroke();
  ctx.setLineDash([]);
}

function plotAxes(ctx, { plot, x0, x1, y0, y1, px, py, left, right, over, under, ink }) {
  const { log, low, whole, title } = plot;
  ctx.strokeStyle = ink.grid;
  ctx.lineWidth = 1;
  ctx.fillStyle = ink.muted;
  ctx.font = `11px ${FONT}`;
  ctx.textAlign = "right";
  for (const tick of (log ? logTicks : ticks)(y0, y1, (under - over) / 60)) {
    const value = log ? 10 ** tick : tick,
      y = Math.round(py(value)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(right, y);
    ctx.stroke();
    ctx.fillText(brief(value), left - 8, y);
  }
  ctx.textBaseline = "top";
  ctx.fillText(plot.across + " →", right, under + 20);
  ctx.textAlign = "left";
  ctx.fillText(plot.note ?? "", 8, under + 20);
  ctx.textAlign = "center";
  for (const value of ticks(x0, x1, (right - left) / 110, whole))
    ctx.fillText(plot.textOf(value), px(value), under + 6);
  ctx.textAlign = "left";
  ctx.fillStyle = ink.text;
  ctx.font = `bold 12px ${FONT}`;
  ctx.fillText(title + (low ? " (lower is better)" : ""), 8, 6);
  ctx.font = `12px ${FONT}`;
}

/** Between two logarithms: of 1, 2 and 5 times powers of ten where those are few, else of powers. */
function logTicks(low, high, wanted) {
  const found = [];
  if (high - low < 3)
    for (let power = floor(low); power <= high; power++)
      for (const one of [1, 2, 5]) found.push(power + Math.log10(one));
  const within = found.filter(tick => tick >= low && tick <= high);
  return within.length > 1 ? within : ticks(low, high, wanted, high - low >= 3);
}

/** [x, best value so far] wherever it changed, of points in the order of x. */
function bestSoFar(points, low) {
  const found = [];
  let best = null;
  for (const { x, value } of points)
    if (best === null || (low ? value < best : value > best)) {
      found.push([x, value]);
      best = value;
    }
  return found;
}
