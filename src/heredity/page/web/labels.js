// Text in the graph: placed in order of importance, and only where nothing is written yet.

function paintLabels(ctx, scene, nodes, place, radius) {
  const { view, width, height, ink, metric, best, sel, cmp, anyDeaths } = scene;
  const wishes = [],
    roomy = view.ky >= 11 && nodes.length < 1500;
  for (const item of nodes) {
    const [x, y] = place(item),
      births = item.members,
      first = births[0];
    if (!births.length) {
      wishes.push({
        rank: 1,
        x: x + wedge(item, radius).length + 6,
        y,
        text: `${plural(scene.lostRoots, "root")} without a line drawn: ${foldText(item.fold, anyDeaths)}`,
        colour: ink.muted,
      });
      continue;
    }
    const value = births.length > 1 ? valueOf(metric, bestOf(metric, scene.low, births)) : valueOf(metric, first);
    const names = births.length === 1 ? (lab.names.get(first) ?? []) : [];
    const chosen = first === sel || first === cmp || first === best;
    if (chosen || names.length) {
      const text = `${first === best ? "★ " : ""}${names.length ? names.join(", ") : first === best ? "best" : titleOf(first)}`;
      wishes.push({ rank: chosen ? 9 : 7, item, x, y, text, bold: true, colour: ink.text, more: number(value) });
    } else if (births.length > 1) {
      wishes.push({
        rank: 6,
        item,
        x: x + 5,
        y,
        text: `×${births.length} ${titleOf(first)}`,
        colour: ink.text,
        more: value == null ? "" : `best ${number(value)}`,
        roomy: true,
      });
    } else if (!item.children.length) {
      wishes.push({
        rank: 3,
        item,
        x,
        y,
        text: value == null ? titleOf(first) : number(value),
        colour: ink.muted,
        roomy: true,
      });
    }
    if (item.wedge && view.ky >= 15) {
      const { dx, dy, length, thick } = wedge(item, radius),
        fold = item.fold;
      wishes.push({
        rank: 2 + min(0.9, fold.births / 1e4),
        x: x + dx + length + 3,
        y: y + dy + thick * 0.55 + 2,
        text: `${count(fold.births)}${fold.best == null ? "" : ` · ${number(fold.best)}`}`,
        colour: ink.muted,
        small: true,
        roomy: true,
      });
    }
  }
  wishes.sort((a, b) => b.rank - a.rank);
  const boxes = roomy
    ? nodes.map(item => place(item)).map(([x, y]) => [x - radius, y - radius, x + radius, y + radius])
    : [];
  const grid = new Map(),
    cells = box => {
      const found = [];
      for (let column = floor(box[0] / 64); column <= floor(box[2] / 64); column++)
        for (let row = floor(box[1] / 32); row <= floor(box[3] / 32); row++) found.push(column * 4096 + row);
      return found;
    };
  const claim = box => cells(box).forEach(cell => listIn(grid, cell).push(box));
  const free = box =>
    cells(box).every(cell =>
      (grid.get(cell) ?? []).every(
        other => box[2] <= other[0] || box[0] >= other[2] || box[3] <= other[1] || box[1] >= other[3],
      ),
    );
  boxes.forEach(claim);
  let wedges = roomy ? nodes.filter(item => item.wedge) : [];
  ctx.textBaseline = "middle";
  for (const wish of wishes) {
    if (wish.roomy && !roomy) continue;
    if (wish.rank < 7) {
      for (const item of wedges) {
        const [x, y] = place(item),
          { dx, dy, length, thick } = wedge(item, radius);
        claim([x + dx, y + dy, x + dx + length, y + dy + thick]);
      }
      wedges = [];
    }
    const size = wish.small ? 10 : 12,
      plainFont = `${size}px ${FONT}`;
    ctx.font = wish.bold ? `bold ${plainFont}` : plainFont;
    const text = wish.text.length > 34 && wish.item ? wish.text.slice(0, 33) + "…" : wish.text;
    const own = ctx.measureText(text).width;
    ctx.font = plainFont;
    const total = own + (wish.more ? ctx.measureText(wish.more).width + 6 : 0);
    const beside = radius + (wish.bold ? 9 : 6);
    const spots = !wish.item
      ? [
          [wish.x, wish.y],
          [wish.x, wish.y - 11],
          [wish.x, wish.y + 11],
        ]
      : wish.item.children.length
        ? [
            [wish.x - radius, wish.y - radius - 11],
            [wish.x - radius - total - 6, wish.y],
            [wish.x - radius, wish.y + radius + (wish.item.wedge ? 22 : 11)],
          ]
        : [
            [wish.x + beside, wish.y],
            [wish.x - beside - total, wish.y],
          ];
    for (const [x, y] of spots) {
      const tall = wish.small ? 6.5 : 6,
        box = [x - 1, y - tall, x + total + 1, y + tall];
      if (box[0] < 2 || box[2] > width - 2 || box[1] < 2 || box[3] > height - PAD.bottom + 12 || !free(box)) continue;
      claim(box);
      ctx.lineWidth = 3;
      ctx.strokeStyle = ink.paper;
      if (wish.bold) ctx.font = `bold ${plainFont}`;
      ctx.strokeText(text, x, y);
      ctx.fillStyle = wish.colour;
      ctx.fillText(text, x, y);
      if (wish.more) {
        ctx.font = plainFont;
        ctx.strokeText(wish.more, x + own + 6, y);
        ctx.fillStyle = ink.muted;
        ctx.fillText(wish.more, x + own + 6, y);
      }
      break;
    }
  }
}
