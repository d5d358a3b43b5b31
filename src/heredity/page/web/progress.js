// Every birth a dot, the best so far a staircase.

const PROGRESS_AXES = {
  order: "birth order",
  generation: "generation",
  time: "time since the first birth",
  compute: "compute spent by the whole lab",
};

function progressPlot({ metric, low, x, ink, colour }) {
  const { births, total } = forest;
  const points = [];
  for (const birth of metric ? births : []) {
    const value = valueOf(metric, birth);
    if (value != null) points.push({ birth, x: x === "compute" ? total[birth] : xOf(x, birth), value });
  }
  const stairs = bestSoFar(
    [...points].sort((a, b) => a.x - b.x),
    low,
  );
  const label = stairs.length ? `best ${number(stairs[stairs.length - 1][1])}` : "";
  return {
    points,
    paint: colour.of,
    curves: [{ points: stairs, colour: ink.best, steps: true, onward: true, label }],
    title: metric,
    across: PROGRESS_AXES[x],
    textOf: value => axisText(x, value),
    whole: x === "order" || x === "generation",
    low,
    clip: true,
    empty: "nothing was measured in this lab yet",
  };
}
