// Outlines as plain arrays: [[x, y], ...], closed, in pixels of the image, integers at pixel centres.
// Nothing here knows of the page; every function returns new arrays.

export const fromRow = (row) => ({ name: row.name, points: row.x.map((x, i) => [x, row.y[i]]) });

const hundredth = (v) => Math.round(v * 100) / 100;

export const toRow = (outline) => ({
  name: outline.name,
  x: outline.points.map((p) => hundredth(p[0])),
  y: outline.points.map((p) => hundredth(p[1])),
});

const within = (v, low, high) => Math.min(Math.max(v, low), high);

export const clipped = (points, width, height) =>
  points.map(([x, y]) => [within(x, 0, width - 1), within(y, 0, height - 1)]);

const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** The point nearest to `at` of all outlines: {outline, point, distance}, or null. */
export function nearestPoint(outlines, at) {
  let best = null;
  outlines.forEach(({ points }, outline) => points.forEach((p, point) => {
    const d = distance(p, at);
    if (!best || d < best.distance) best = { outline, point, distance: d };
  }));
  return best;
}

/** The edge nearest to `at`: {outline, point (the edge's first), distance}, or null. */
export function nearestEdge(outlines, at) {
  let best = null;
  outlines.forEach(({ points }, outline) => points.forEach((a, point) => {
    const d = distanceToEdge(a, points[(point + 1) % points.length], at);
    if (!best || d < best.distance) best = { outline, point, distance: d };
  }));
  return best;
}

function distanceToEdge(a, b, at) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const share = length ? within(((at[0] - a[0]) * dx + (at[1] - a[1]) * dy) / length, 0, 1) : 0;
  return distance([a[0] + share * dx, a[1] + share * dy], at);
}

/** Index of the outline that `at` lies in, the last drawn first; -1 for none. */
export const surrounding = (outlines, at) => outlines.findLastIndex(({ points }) => holds(points, at));

function holds(points, [x, y]) {
  let inside = false;
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [points[i], points[j]];
    if ((yi > y) !== (yj > y) && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/**
 * Drag one point; its neighbours follow less and less, to nothing at `reach` along the outline.
 * A dense outline bends smoothly so, and one of a few far points moves in that point only.
 */
export function dragged(points, index, dx, dy, reach) {
  const n = points.length;
  const away = new Array(n).fill(Infinity);
  away[index] = 0;
  for (const step of [1, -1]) {
    let walked = 0;
    for (let k = 1, i = index; k < n; k++) {
      const j = (i + step + n) % n;
      walked += distance(points[i], points[j]);
      if (walked >= reach) break;
      away[j] = Math.min(away[j], walked);
      i = j;
    }
  }
  return points.map(([x, y], i) => {
    const share = i === index ? 1 : away[i] < reach ? Math.cos((Math.PI / 2) * (away[i] / reach)) ** 2 : 0;
    return [x + share * dx, y + share * dy];
  });
}

/** Move a whole outline, no farther than the image's edge. */
export function moved(points, dx, dy, width, height) {
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
  const x = within(dx, -Math.min(...xs), width - 1 - Math.max(...xs));
  const y = within(dy, -Math.min(...ys), height - 1 - Math.max(...ys));
  return points.map((p) => [p[0] + x, p[1] + y]);
}

export const withPoint = (points, after, at) => points.toSpliced(after + 1, 0, at);
export const withoutPoint = (points, index) => points.toSpliced(index, 1);

/** Leave out points that lie within `tolerance` of the line between others (Douglas and Peucker). */
export function thinned(points, tolerance) {
  if (points.length < 4) return points;
  const keep = new Set([0, points.length - 1]);
  const open = [[0, points.length - 1]];
  while (open.length) {
    const [from, to] = open.pop();
    let [far, most] = [-1, tolerance];
    for (let i = from + 1; i < to; i++) {
      const d = distanceToEdge(points[from], points[to], points[i]);
      if (d > most) [far, most] = [i, d];
    }
    if (far >= 0) {
      keep.add(far);
      open.push([from, far], [far, to]);
    }
  }
  return points.filter((_, i) => keep.has(i));
}

export function middle(points) {
  const [xs, ys] = [points.map((p) => p[0]), points.map((p) => p[1])];
  return [(Math.min(...xs) + Math.max(...xs)) / 2, (Math.min(...ys) + Math.max(...ys)) / 2];
}
