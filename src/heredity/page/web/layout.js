// Where things are: x by a property of the birth, y by leaf order of the forest of primary parents. Linear in what is drawn.

const CROWD = 5; // siblings of equal parents and operator from which on they are drawn as one

/** Items {birth, members, parent, children, x, y, fold, token}; birth is -1 for the roots that are folded away. */
function layOut(trunk, { x, special, opened }) {
  const { roots, children, primary } = forest;
  const items = [],
    byBirth = new Map();
  const make = (members, parent, token) => {
    const item = {
      birth: members.length === 1 ? members[0] : -1,
      members,
      parent,
      children: [],
      x: 0,
      y: 0,
      fold: null,
      token,
    };
    item.x = members.reduce((sum, birth) => sum + xOf(x, birth), 0) / members.length;
    for (const birth of members) byBirth.set(birth, item);
    items.push(item);
    if (parent) parent.children.push(item);
    return item;
  };
  const shown = births => births.filter(birth => trunk.drawn[birth]);
  const grouped = (births, parent) => {
    const groups = new Map(),
      found = [];
    for (const birth of births) {
      const open = special.has(birth) || children[birth].some(child => trunk.drawn[child]);
      const key = open ? "" : crowdOf(birth);
      if (open || opened.has(key)) found.push([[birth], null]);
      else if (groups.has(key)) groups.get(key)[0].push(birth);
      else {
        groups.set(key, [[birth], key]);
        found.push(groups.get(key));
      }
    }
    return found.flatMap(([members, key]) =>
      key && members.length >= CROWD ? [make(members, parent, key)] : members.map(one => make([one], parent, null)),
    );
  };
  const stack = grouped(shown(roots), null).reverse();
  let row = 0,
    lastRoot = null;
  const preorder = [];
  while (stack.length) {
    const item = stack.pop();
    if (!item.parent && lastRoot) row += 0.6;
    if (!item.parent) lastRoot = item;
    preorder.push(item);
    if (item.birth >= 0) {
      item.fold = trunk.folds.get(item.birth) ?? null;
      const below = grouped(shown(children[item.birth]), item);
      for (let at = below.length - 1; at >= 0; at--) stack.push(below[at]);
    } else {
      item.fold = item.members.reduce(
        (fold, one) => (trunk.folds.has(one) ? (addFold((fold ??= newFold()), trunk.folds.get(one)), fold) : fold),
        null,
      );
    }
    if (!item.children.length) item.y = row++;
  }
  for (let at = preorder.length - 1; at >= 0; at--) {
    const { children: below } = preorder[at];
    if (below.length) preorder[at].y = (below[0].y + below[below.length - 1].y) / 2;
  }
  if (trunk.lostRoots) {
    const lost = {
      birth: -1,
      members: [],
      parent: null,
      children: [],
      x: xOf(x, roots[0]),
      y: row + (lastRoot ? 0.6 : 0),
      fold: trunk.lost,
      token: "*roots",
    };
    items.push(lost);
    row = lost.y + 1;
  }
  let inLine = [];
  if (x === "order") {
    // a column for each item, not for each birth: a few ancestors must not drown among thousands of births
    inLine = items
      .filter(item => item.members.length)
      .sort((a, b) => forest.rank[a.members[0]] - forest.rank[b.members[0]]);
    for (const item of items) item.x = 0;
    inLine.forEach((item, place) => {
      item.x = place;
    });
  }
  return { items, byBirth, rows: max(1, row), inLine, anchor: birth => nearest(byBirth, primary, birth) };
}

/** The item that stands for a birth: its own, or that of its nearest drawn ancestor. */
function nearest(byBirth, primary, birth) {
  let at = birth;
  while (at >= 0 && !byBirth.has(at)) at = primary[at];
  return byBirth.get(at) ?? null;
}

/** Equal for siblings with equal parents and operator. */
function crowdOf(birth) {
  const parents = edgesOf(birth)
    .map(edge => edge.id.slice(0, 10))
    .join("+");
  return `*${parents}/${lastName(lab.form[birth].type).replace(/[^\w-]/g, "")}`;
}

function xOf(x, birth) {
  const { rank, depth, spent } = forest;
  if (x === "generation") return depth[birth];
  if (x === "time") return lab.time[birth] - lab.time[forest.births[0]];
  return x === "compute" ? spent[birth] : rank[birth] + 1;
}

const AXES = {
  order: "number of the birth",
  generation: "generation",
  time: "time since the first birth",
  compute: "compute along the line of descent",
};

/** Round numbers between two, about `wanted` of them. */
function ticks(low, high, wanted, whole) {
  if (!(high > low)) return [low];
  const raw = (high - low) / max(1, wanted),
    power = 10 ** floor(Math.log10(raw));
  let step = power * ([1, 2, 5, 10].find(one => one * power >= raw) ?? 10);
  if (whole) step = max(1, Math.round(step));
  const found = [];
  for (let at = ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

const axisText = (x, value, inLine) =>
  inLine?.length
    ? brief(forest.rank[inLine[value].members[0]] + 1)
    : x === "time" || x === "compute"
      ? duration(value)
      : brief(value);
