// The picture with its outlines: closer and farther, grey window, and the hand that moves points.

import * as outline from "./outline.js";
import { texts } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const REACH = { mouse: { point: 12, edge: 8 }, touch: { point: 26, edge: 18 } }; // screen pixels
const STEP = 7; // screen pixels between two points of a line that is drawn freely

export class Stage {
  outlines = [];
  selected = null; // { outline, point }
  hidden = false;
  reach = 0.12; // of the image's longer side
  #root; #picture; #lines; #changed; #told;
  #size = { width: 1, height: 1 };
  #view = { scale: 1, x: 0, y: 0 };
  #grey = { centre: 0.5, width: 1, invert: false };
  #tone = "fine";
  #hover = null;
  #draft = null; // { name, points, at }
  #gesture = null;
  #pointers = new Map();
  #fitted = true;
  #waiting = false;

  /** `changed(outlines)` is called when a hand has moved something; `told(text)` with a hint. */
  constructor(root, changed, told) {
    this.#root = root;
    this.#picture = root.querySelector("#picture");
    this.#lines = root.querySelector("#lines");
    this.#changed = changed;
    this.#told = told;
    const on = (name, work) => root.addEventListener(name, work.bind(this));
    on("pointerdown", this.#down);
    on("pointermove", this.#move);
    on("pointerup", this.#up);
    on("pointercancel", this.#cancel);
    on("pointerleave", () => this.#point(null));
    on("dblclick", () => this.closeDraft());
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode ? 30 : 1;
      this.zoom(Math.exp((-event.deltaY * lines) / 400), this.#place(event));
    }, { passive: false });
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.draw())).observe(root);
  }

  clear() {
    this.#picture.classList.remove("there");
    this.outlines = [];
    this.selected = this.#hover = this.#draft = this.#gesture = null;
    this.draw();
  }

  async show(url, width, height) {
    this.#picture.src = url;
    await this.#picture.decode();
    [this.#picture.width, this.#picture.height] = [width, height];
    this.#size = { width, height };
    this.#picture.classList.add("there");
    this.fit();
  }

  set(outlines, tone) {
    this.outlines = outlines;
    this.#tone = tone;
    const kept = this.selected && outlines[this.selected.outline]?.points[this.selected.point];
    if (!kept) this.selected = null;
    this.#hover = this.#draft = this.#gesture = null;
    this.#root.classList.remove("draft");
    this.draw();
  }

  // ---- view

  fit() {
    const { clientWidth: w, clientHeight: h } = this.#root;
    const scale = Math.min(w / this.#size.width, h / this.#size.height);
    this.#view = { scale, x: (w - scale * this.#size.width) / 2, y: (h - scale * this.#size.height) / 2 };
    this.#fitted = true;
    this.draw();
  }

  resetGrey() {
    Object.assign(this.#grey, { centre: 0.5, width: 1 });
    this.draw();
  }

  invert() {
    this.#grey.invert = !this.#grey.invert;
    this.draw();
    return this.#grey.invert;
  }

  zoom(by, at = [this.#root.clientWidth / 2, this.#root.clientHeight / 2]) {
    const view = this.#view;
    const whole = Math.min(this.#root.clientWidth, this.#root.clientHeight) / Math.max(this.#size.width, this.#size.height);
    const scale = Math.min(Math.max(view.scale * by, whole / 2), Math.max(20, whole));
    const share = scale / view.scale;
    this.#view = { scale, x: at[0] - share * (at[0] - view.x), y: at[1] - share * (at[1] - view.y) };
    this.#fitted = false;
    this.draw();
  }

  #place(event) {
    const box = this.#root.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #toImage([x, y]) {
    return [(x - this.#view.x) / this.#view.scale - 0.5, (y - this.#view.y) / this.#view.scale - 0.5];
  }

  #toScreen([x, y]) {
    return [(x + 0.5) * this.#view.scale + this.#view.x, (y + 0.5) * this.#view.scale + this.#view.y];
  }

  // ---- drawing

  draw() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#drawNow();
    });
  }

  #drawNow() {
    const { scale, x, y } = this.#view;
    this.#picture.style.transform = `matrix(${scale}, 0, 0, ${scale}, ${x}, ${y})`;
    this.#picture.style.imageRendering = scale > 3 ? "pixelated" : "auto";
    const { centre, width, invert } = this.#grey;
    const low = centre - width / 2;
    for (const part of document.querySelectorAll("#window feComponentTransfer > *")) {
      part.setAttribute("slope", (invert ? -1 : 1) / width);
      part.setAttribute("intercept", invert ? 1 + low / width : -low / width);
    }
    this.#lines.replaceChildren();
    if (!this.hidden) this.outlines.forEach((one, i) => this.#drawOutline(one, i));
    if (this.#draft) this.#drawDraft();
  }

  #make(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    this.#lines.append(made);
    return made;
  }

  #drawOutline({ name, points }, i) {
    const there = points.map((p) => this.#toScreen(p));
    const list = there.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ");
    if (!this.#tone.includes("rejected")) this.#make("polygon", { points: list, class: "halo" });
    this.#make("polygon", { points: list, class: `line ${this.#tone}` });
    const [x, y] = this.#toScreen(outline.middle(points));
    this.#make("text", { x, y }).textContent = texts.names[name] ?? name;
    if (this.#tone.includes("rejected")) return;
    const around = there.reduce((sum, p, k) => sum + Math.hypot(p[0] - there.at(k - 1)[0], p[1] - there.at(k - 1)[1]), 0);
    const r = around / points.length < 24 ? 2.2 : 4; // dense: dots, no beads, so that the edge is seen
    there.forEach(([cx, cy], k) => {
      const hot = [this.selected, this.#hover].some((one) => one && one.outline === i && one.point === k);
      if (hot || around / points.length > 4) {
        this.#make("circle", { cx, cy, r: hot ? 6 : r, class: hot ? "hot" : this.#tone });
      }
    });
  }

  #drawDraft() {
    const { points, at } = this.#draft;
    const there = [...points, ...(at ? [at] : [])].map((p) => this.#toScreen(p));
    const list = there.map((p) => p.join(",")).join(" ");
    this.#make("polyline", { points: list, class: "halo" });
    this.#make("polyline", { points: list, class: "line fine" });
    there.slice(0, points.length).forEach(([cx, cy], k) =>
      this.#make("circle", { cx, cy, r: k ? 3 : 6, class: k ? "fine" : "hot" }));
  }

  // ---- what a hand can do

  #target(event) {
    if (this.hidden || this.#tone.includes("rejected")) return null;
    const at = this.#toImage(this.#place(event));
    const reach = REACH[event.pointerType] ?? REACH.mouse;
    const point = outline.nearestPoint(this.outlines, at);
    if (point && point.distance * this.#view.scale <= reach.point) return { kind: "point", ...point };
    const edge = outline.nearestEdge(this.outlines, at);
    if (edge && edge.distance * this.#view.scale <= reach.edge) return { kind: "edge", ...edge };
    const inside = outline.surrounding(this.outlines, at);
    return inside < 0 ? null : { kind: "inside", outline: inside };
  }

  #point(target) {
    for (const kind of ["point", "edge", "inside"]) this.#root.classList.toggle(kind, target?.kind === kind);
    const next = target?.kind === "point" ? target : null;
    if (next?.outline === this.#hover?.outline && next?.point === this.#hover?.point) return;
    this.#hover = next;
    this.draw();
  }

  #down(event) {
    if (!this.#picture.classList.contains("there")) return;
    this.#root.focus();
    this.#root.setPointerCapture(event.pointerId);
    const at = this.#place(event);
    this.#pointers.set(event.pointerId, at);
    if (this.#pointers.size === 2) {
      this.#drop();
      this.#gesture = { kind: "pinch" };
    } else if (this.#pointers.size === 1) {
      this.#begin(event, at);
    }
  }

  #begin(event, at) {
    const start = { from: at, before: this.outlines, moved: false };
    if (event.button === 2) {
      this.#gesture = { kind: "grey", ...start, grey: { ...this.#grey } };
    } else if (event.button === 1) {
      this.#gesture = { kind: "pan", ...start, view: this.#view };
    } else if (this.#draft) {
      this.#gesture = { kind: "draft", ...start };
      this.#addToDraft(at);
    } else {
      this.#grab(event, at, start);
    }
    this.#root.classList.toggle("busy", this.#gesture?.kind === "pan");
  }

  #grab(event, at, start) {
    const target = this.#target(event);
    if (!target) {
      this.#gesture = { kind: "pan", ...start, view: this.#view };
    } else if (target.kind === "inside") {
      this.#gesture = { kind: "inside", ...start, outline: target.outline };
    } else if (target.kind === "point" && event.altKey) {
      this.selected = target;
      this.removePoint();
    } else if (target.kind === "point") {
      this.selected = target;
      this.#gesture = { kind: "point", ...start, ...target, base: this.outlines };
    } else if (!event.altKey) {
      const made = this.#replaced(target.outline, (points) =>
        outline.withPoint(points, target.point, this.#toImage(at)));
      this.selected = { outline: target.outline, point: target.point + 1 };
      this.outlines = made;
      this.#gesture = { kind: "point", ...start, ...this.selected, base: made, moved: true };
    }
    this.draw();
  }

  #replaced(index, change, outlines = this.outlines) {
    const { width, height } = this.#size;
    return outlines.map((one, i) =>
      i === index ? { ...one, points: outline.clipped(change(one.points), width, height) } : one);
  }

  #move(event) {
    const at = this.#place(event);
    const gesture = this.#gesture;
    if (!gesture) {
      if (this.#draft) {
        this.#draft.at = this.#toImage(at);
        this.draw();
      } else if (event.pointerType !== "touch") this.#point(this.#target(event));
      return;
    }
    if (gesture.kind === "pinch") return this.#pinch(event.pointerId, at);
    const [dx, dy] = [at[0] - gesture.from[0], at[1] - gesture.from[1]];
    if (!gesture.moved && Math.hypot(dx, dy) < 3) return;
    gesture.moved = true;
    this.#pointers.set(event.pointerId, at);
    this.#carry(gesture, at, dx, dy);
    this.draw();
  }

  #carry(gesture, at, dx, dy) {
    const { scale } = this.#view;
    const { width, height } = this.#size;
    if (gesture.kind === "pan") {
      this.#view = { scale, x: gesture.view.x + dx, y: gesture.view.y + dy };
      this.#fitted = false;
    } else if (gesture.kind === "grey") {
      this.#grey.width = Math.min(Math.max(gesture.grey.width * Math.exp(dx / 250), 0.02), 4);
      this.#grey.centre = Math.min(Math.max(gesture.grey.centre - dy / 400, -0.5), 1.5);
    } else if (gesture.kind === "draft") {
      const last = this.#toScreen(this.#draft.points.at(-1));
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= STEP) this.#addToDraft(at);
    } else if (gesture.kind === "inside") {
      this.outlines = this.#replaced(gesture.outline, (points) =>
        outline.moved(points, dx / scale, dy / scale, width, height), gesture.before);
    } else if (gesture.kind === "point") {
      this.outlines = this.#replaced(gesture.outline, (points) =>
        outline.dragged(points, gesture.point, dx / scale, dy / scale, this.#reachPx()), gesture.base);
    }
  }

  #pinch(id, at) {
    const [a, b] = [...this.#pointers.values()];
    const before = { far: Math.hypot(a[0] - b[0], a[1] - b[1]), x: (a[0] + b[0]) / 2, y: (a[1] + b[1]) / 2 };
    this.#pointers.set(id, at);
    const [c, d] = [...this.#pointers.values()];
    const [x, y] = [(c[0] + d[0]) / 2, (c[1] + d[1]) / 2];
    this.#view = { ...this.#view, x: this.#view.x + x - before.x, y: this.#view.y + y - before.y };
    this.zoom(Math.hypot(c[0] - d[0], c[1] - d[1]) / Math.max(before.far, 1), [x, y]);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    const gesture = this.#gesture;
    if (!gesture || (gesture.kind === "pinch" && this.#pointers.size)) return;
    this.#gesture = null;
    this.#root.classList.remove("busy");
    if (gesture.kind === "draft" && gesture.moved) this.#endFreeLine();
    else if (gesture.moved && ["point", "inside"].includes(gesture.kind)) this.#changed(this.outlines);
    this.draw();
  }

  #cancel(event) {
    this.#pointers.delete(event.pointerId);
    this.#drop();
  }

  /** Give up what the hand holds. */
  #drop() {
    if (this.#gesture?.before) this.outlines = this.#gesture.before;
    if (this.#gesture?.kind === "draft") this.#draft.points.pop();
    this.#gesture = null;
    this.draw();
  }

  #reachPx() {
    return this.reach * Math.max(this.#size.width, this.#size.height);
  }

  // ---- an outline drawn anew

  startDraft(name) {
    this.#draft = { name, points: [], at: null };
    this.selected = null;
    this.hidden = false;
    this.#root.classList.add("draft");
    this.#told(texts.drawing(texts.names[name]));
    this.draw();
  }

  get drafting() {
    return this.#draft !== null;
  }

  #addToDraft(at) {
    const { width, height } = this.#size;
    const { points } = this.#draft;
    const first = points.length > 2 && this.#toScreen(points[0]);
    if (first && !this.#gesture?.moved && Math.hypot(at[0] - first[0], at[1] - first[1]) < 14) {
      this.#gesture = null;
      this.closeDraft();
      return;
    }
    points.push(...outline.clipped([this.#toImage(at)], width, height));
    this.draw();
  }

  /** A line that comes back to its beginning is closed; another waits for more. */
  #endFreeLine() {
    const { points } = this.#draft;
    const [a, b] = [this.#toScreen(points[0]), this.#toScreen(points.at(-1))];
    if (points.length > 12 && Math.hypot(a[0] - b[0], a[1] - b[1]) < 40) this.closeDraft();
  }

  closeDraft() {
    if (!this.#draft) return;
    const { name, points } = this.#draft;
    const thin = outline.thinned(points, 1.2 / this.#view.scale);
    if (thin.length < 3) {
      this.#told(texts.few);
      return;
    }
    this.giveUpDraft();
    this.#changed([...this.outlines.filter((one) => one.name !== name), { name, points: thin }]);
  }

  giveUpDraft() {
    this.#draft = null;
    this.#root.classList.remove("draft");
    this.#told("");
    this.draw();
  }

  // ---- by keys

  removePoint() {
    if (this.#draft) {
      this.#draft.points.pop();
      this.draw();
      return;
    }
    if (!this.selected) return;
    const { outline: index, point } = this.selected;
    if (this.outlines[index].points.length <= 3) {
      this.#told(texts.few);
      return;
    }
    this.selected = null;
    this.#changed(this.#replaced(index, (points) => outline.withoutPoint(points, point)));
  }

  choose(step) {
    const all = this.outlines.flatMap(({ points }, i) => points.map((_, k) => ({ outline: i, point: k })));
    if (!all.length || this.#tone.includes("rejected")) return;
    const now = all.findIndex((one) => one.outline === this.selected?.outline && one.point === this.selected?.point);
    this.selected = all[(now + step + all.length) % all.length];
    this.draw();
  }

  nudge(dx, dy) {
    if (!this.selected) return false;
    const { outline: index, point } = this.selected;
    this.#changed(this.#replaced(index, (points) => outline.dragged(points, point, dx, dy, this.#reachPx())));
    return true;
  }
}
