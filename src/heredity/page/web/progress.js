// Every birth a dot, the best so far a staircase.

const PROGRESS_AXES = {
  order: "birth order",
  generation: "generation",
  time: "time since the first birth",
  compute: "compute spent by the whole lab",
};

function progressPoints(metric, x) {
  const { births, total } = forest;
  const points = [];
  for (const birth of births) {
    const value = valueOf(metric, birth);
    if (value != null) points.push({ birth, x: x === "compute" ? total[birth] : xOf(x, birth), value });
  }
  return points;
}

/** Paint and return the points with their pixels, for the pointer. */
function paintProgress(ctx, scene) {
  const { metric, low, x, width, height, ink, colour, matches, sel, cmp, picked, path } = scene;
  ctx.globalAlpha = 1;
  ctx.fillStyle = ink.paper;
  ctx.fillRect(0, 0, width, height);
  const points = metric ? progressPoints(metric, x) : [];
  ctx.font = `12px ${FONT}`;
  if (!points.length) {
    ctx.fillStyle = ink.muted;
    ctx.textAlign = "center";
    ctx.fillText("nothing was measured in this lab yet", width / 2, height / 2);
    ctx.textAlign = "left";
    return [];
  }
  const xs = points.map(one => one.x),
    sorted = points.map(one => one.value).sort((a, b) => a - b);
  // hopeless births are drawn on the edge, so that the rest has room
  const outlier = sorted[floor(sorted.length * 0.02)],
    top = sorted[sorted.length - 1],
    bottom = sorted[0];
  const clip = !low && sorted.length > 100 && top - outlier < (top - bottom) * 0.4;
  const y0 = clip ? outlier - (top - outlier) * 0.15 : bottom,
    y1 = top > y0 ? top : y0 + 1;
  const x0 = least(xs),
    x1 = max(most(xs), x0 + 1e-9);
  const left = 58,
    right = width - 24,
    over = 26,
    under = height - PAD.bottom;
  const px = value => left + ((value - x0) / (x1 - x0)) * (right - left),
    py = value => under - clamp((value - y0) / (y1 - y0), 0, 1) * (under - over);
  progressAxes(ctx, { x, x0, x1, y0, y1, px, py, left, right, over, under, ink, metric, low });
  const groups = new Map(),
    radius = points.length > 3000 ? 2 : 3;
  for (const point of points) {
    point.px = px(point.x);
    point.py = py(point.value);
    listIn(groups, `${matches && !matches.flags[point.birth] ? 0 : 1}${colour.of(point.birth)}`).push(point);
  }
  for (const [key, dots] of [...groups].sort()) {
    ctx.beginPath();
    for (const dot of dots) glyph(ctx, shapeOf(dot.birth) === 1 ? 1 : 0, dot.px, dot.py, radius);
    ctx.fillStyle = key.slice(1);
    ctx.globalAlpha = key[0] === "0" ? 0.1 : points.length > 500 ? 0.6 : 0.85;
    ctx.fill();
  }
  ctx.globalAlpha = 1;
  staircase(
    ctx,
    [...points].sort((a, b) => a.x - b.x),
    low,
    right,
    ink,
  );
  const at = new Map(points.map(point => [point.birth, point]));
  for (const [births, line] of path) {
    ctx.beginPath();
    let begun = false;
    for (const birth of births) {
      const point = at.get(birth);
      if (!point) continue;
      if (begun) ctx.lineTo(point.px, point.py);
      else ctx.moveTo(point.px, point.py);
      begun = true;
    }
    ctx.strokeStyle = line;
    ctx.lineWidth = 1.6;
    ctx.setLineDash([5, 3]);
    ctx.stroke();
    ctx.setLineDash([]);
  }
  const ring = (birth, line, wide) => {
    const point = at.get(birth);
    if (point) circle(ctx, point.px, point.py, radius + wide, line, 2.5);
  };
  for (const birth of picked) ring(birth, ink.pick, 2.5);
  ring(cmp, ink.second, 4);
  ring(sel, ink.accent, 4);
  return points;
}

function progressAxes(ctx, { x, x0, x1, y0, y1, px, py, left, right, over, under, ink, metric, low }) {
  ctx.strokeStyle = ink.grid;
  ctx.lineWidth = 1;
  ctx.fillStyle = ink.muted;
  ctx.font = `11px ${FONT}`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "right";
  for (const value of ticks(y0, y1, (under - over) / 60)) {
    const y = Math.round(py(value)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(left, y);
    ctx.lineTo(right, y);
    ctx.stroke();
    ctx.fillText(brief(value), left - 8, y);
  }
  ctx.textBaseline = "top";
  const title = PROGRESS_AXES[x] + " →";
  ctx.fillText(title, right, under + 20);
  ctx.textAlign = "center";
  for (const value of ticks(x0, x1, (right - left) / 110, x === "order" || x === "generation")) {
    ctx.fillText(axisText(x, value), px(value), under + 6);
  }
  ctx.textAlign = "left";
  ctx.fillStyle = ink.text;
  ctx.font = `bold 12px ${FONT}`;
  ctx.fillText(`${metric}${low ? " (lower is better)" : ""}`, 8, 6);
  ctx.font = `12px ${FONT}`;
}

function staircase(ctx, points, low, right, ink) {
  ctx.beginPath();
  let best = null;
  for (const point of points) {
    if (best !== null && (low ? point.value >= best.value : point.value <= best.value)) continue;
    if (best === null) ctx.moveTo(point.px, point.py);
    else {
      ctx.lineTo(point.px, best.py);
      ctx.lineTo(point.px, point.py);
    }
    best = point;
  }
  if (best) ctx.lineTo(right, best.py);
  ctx.strokeStyle = ink.best;
  ctx.lineWidth = 2;
  ctx.stroke();
  if (!best) return;
  ctx.fillStyle = ink.text;
  ctx.font = `bold 12px ${FONT}`;
  ctx.textAlign = "right";
  ctx.textBaseline = "bottom";
  ctx.fillText(`best ${number(best.value)}`, right, best.py - 4);
  ctx.textAlign = "left";
}
