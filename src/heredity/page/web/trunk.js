// What is drawn: ancestors of what lives; everything else is counted where it branched off. The same rule as
// `heredity tree`, which a test holds against this one.

/** Births whose descent is drawn: the best, the named and the newest, then living ones (leaves where nothing died), best first. */
function tipsOf(metric, low, most) {
  const { order, depth, children, rank } = forest;
  const always = new Set([...lab.names.keys()].filter(birth => depth[birth] >= 0));
  const best = bestOf(metric, low);
  if (best >= 0) always.add(best);
  if (order.length) always.add(order.reduce((a, b) => (rank[a] > rank[b] ? a : b)));
  const alive = lab.death.size > 0;
  const worth = birth => {
    const value = valueOf(metric, birth);
    return value == null ? -Infinity : low ? -value : value;
  };
  const others = order.filter(birth => !always.has(birth) && (alive ? !isDead(birth) : children[birth].length === 0));
  others.sort((a, b) => (worth(b) === worth(a) ? rank[b] - rank[a] : worth(b) - worth(a)));
  return [...always, ...others].slice(0, max(most, always.size));
}

const newFold = () => ({ births: 0, living: 0, best: undefined });

function addFold(fold, other, low) {
  fold.births += other.births;
  fold.living += other.living;
  if (other.best != null && (fold.best == null || (low ? other.best < fold.best : other.best > fold.best)))
    fold.best = other.best;
}

/** {drawn, folds, lost, lostRoots}: `opened` tells at which births (and "*roots") folded children are drawn all the same. */
function growTrunk({ metric, low, ends, all, opened, extra }) {
  const { order, primary, children, roots, depth } = forest;
  const drawn = new Uint8Array(lab.ids.length);
  if (all) for (const birth of order) drawn[birth] = 1;
  else {
    for (const tip of [...tipsOf(metric, low, ends), ...extra]) {
      for (let at = tip; at >= 0 && depth[at] >= 0 && !drawn[at]; at = primary[at]) drawn[at] = 1;
    }
    if (opened.has("*roots")) for (const root of roots) drawn[root] = 1;
    for (const birth of order)
      if (drawn[birth] && opened.has(tokenOf(birth))) for (const child of children[birth]) drawn[child] = 1;
  }
  const folds = new Map(),
    below = new Map(),
    lost = newFold();
  let lostRoots = 0;
  for (let at = order.length - 1; at >= 0; at--) {
    const birth = order[at];
    if (drawn[birth]) continue;
    const fold = below.get(birth) ?? newFold();
    below.delete(birth);
    addFold(fold, { births: 1, living: isDead(birth) ? 0 : 1, best: valueOf(metric, birth) }, low);
    const parent = primary[birth];
    if (parent < 0) {
      addFold(lost, fold, low);
      lostRoots++;
      continue;
    }
    const target = drawn[parent] ? folds : below;
    if (!target.has(parent)) target.set(parent, newFold());
    addFold(target.get(parent), fold, low);
  }
  return { drawn, folds, lost, lostRoots };
}

const tokenOf = birth => lab.ids[birth].slice(0, 10);
/** `37 extinct`, `3 living`, or `37 extinct + 3 living`. */
function foldText(fold, anyDeaths) {
  const extinct = fold.births - fold.living;
  const counted = [
    extinct ? `${count(extinct)} extinct` : "",
    fold.living ? `${count(fold.living)} ${anyDeaths ? "living" : "more"}` : "",
  ];
  return counted.filter(Boolean).join(" + ");
}
