// The page: which image is shown, what was said of it, and the keys.

import { ask, Pictures, Saver } from "./desk.js";
import { fromRow, toRow } from "./outline.js";
import { Stage } from "./stage.js";
import { language, texts } from "./texts.js";

const at = (id) => document.getElementById(id);
const FEW = 50; // images asked for at once
const LUNGS = { "draw-right": "right_lung", "draw-left": "left_lung" };

const pictures = new Pictures();
const saver = new Saver(heard);
const stage = new Stage(at("stage"), (outlines) => say({ decision: "drawn", outlines }), tell);
const histories = new Map(); // of an image: { past, future, version }
const queue = { images: [], next: 0, everything: new URLSearchParams(location.search).has("all") };

let image = null; // what the server says of the image that is shown
let now = null; // { decision, outlines }
let asked = 0; // counts, so that an answer that comes too late is known

// ---- the queue

async function more() {
  if (queue.next === null) return false;
  const { next: from, images } = queue;
  const page = await ask(`api/list?after=${from}&limit=${FEW}${queue.everything ? "&all" : ""}`);
  if (queue.next !== from || queue.images !== images) return false; // asked twice, or begun anew
  queue.next = page.next;
  queue.images.push(...page.images);
  page.images.forEach((one) => at("list").append(line(one)));
  count(page);
  return page.images.length > 0;
}

function line(one) {
  const item = document.createElement("li");
  item.id = `item-${one.image_id}`;
  const button = document.createElement("button");
  const dot = span("dot", "");
  dot.classList.add(one.status);
  const name = document.createElement("code");
  name.textContent = one.image_id.slice(0, 8);
  const why = document.createElement("small");
  why.textContent = texts.reasons[one.reason] ?? (one.reason || texts.statuses[one.status]);
  button.append(dot, name, span("sure", one.confidence === null ? "" : one.confidence.toFixed(2)), why);
  button.addEventListener("click", () => show(one.image_id));
  item.append(button);
  mark(item, one.decision);
  return item;
}

function span(kind, text) {
  const made = document.createElement("span");
  made.className = kind;
  made.textContent = text;
  return made;
}

function mark(item, decision) {
  item.dataset.decision = decision;
  const sign = { accepted: "✓", drawn: "✎", rejected: "✕" }[decision];
  const old = item.querySelector(".dot, .mark");
  if (sign) {
    const made = span(`mark ${decision}`, sign);
    made.dataset.status = old.dataset.status ?? old.className;
    made.title = texts.decisions[decision];
    old.replaceWith(made);
  } else if (old.dataset.status) old.replaceWith(span(old.dataset.status, ""));
}

/** Bring a line into sight without moving the page, which scrolls where it is narrow. */
function scrollTo(item) {
  const list = at("list").parentElement;
  const [own, all] = [item.getBoundingClientRect(), list.getBoundingClientRect()];
  list.scrollTop += Math.min(own.top - all.top, 0) + Math.max(own.bottom - all.bottom, 0);
}

const place = () => queue.images.findIndex((one) => one.image_id === image?.image_id);

async function next() {
  const after = () => queue.images[place() + 1];
  if (!after()) await more();
  if (after()) await show(after().image_id);
  else tell(texts.finished);
}

async function previous() {
  const before = queue.images[place() - 1];
  if (before) await show(before.image_id);
  else tell(texts.first);
}

function count({ looked, total }) {
  at("count").textContent = texts.count(looked.toLocaleString(language), total.toLocaleString(language));
  at("bar").value = total ? looked / total : 1;
}

// ---- one image

async function show(id) {
  const mine = ++asked;
  image = null;
  stage.clear();
  at("picture").alt = "";
  tell(texts.loading);
  at("list").querySelector("[aria-current]")?.removeAttribute("aria-current");
  const item = at(`item-${id}`);
  item?.setAttribute("aria-current", "true");
  if (item) scrollTo(item);
  let found, url;
  try {
    while (saver.waits(id) && mine === asked) await new Promise((done) => setTimeout(done, 50));
    found = await ask(`api/image/${id}`);
    if (mine !== asked) return;
    image = found;
    restore();
    url = await pictures.get(id);
    if (mine !== asked) return;
    await stage.show(url, found.width, found.height);
  } catch {
    if (mine === asked) tell(texts.gone);
    return;
  }
  if (mine !== asked) return;
  at("picture").alt = `${texts.image} ${id}`;
  tell(now.outlines.length ? "" : texts.nothing);
  ahead();
}

/** Take the state from the server; the history is kept where it leads to this state. */
function restore() {
  saver.versions.set(image.image_id, image.version);
  const old = histories.get(image.image_id);
  if (old?.version !== image.version) histories.set(image.image_id, { past: [], future: [] });
  now = { decision: image.decision, outlines: image.polygons.map(fromRow) };
  refresh();
}

async function ahead() {
  const after = queue.images[place() + 1];
  if (after) await pictures.get(after.image_id).catch(() => {});
  else await more().catch(() => {});
}

function refresh() {
  const doubt = image.status !== "ok" && ["none", "rejected"].includes(now.decision);
  stage.set(now.outlines, `${doubt ? "doubt" : "fine"}${now.decision === "rejected" ? " rejected" : ""}`);
  const history = histories.get(image.image_id);
  at("undo").disabled = !history.past.length;
  at("redo").disabled = !history.future.length;
  at("accept").disabled = !now.outlines.length;
  at("withdraw").disabled = now.decision === "none";
  at("accept").setAttribute("aria-pressed", now.decision === "accepted" || now.decision === "drawn");
  at("reject").setAttribute("aria-pressed", now.decision === "rejected");
  at("hide").setAttribute("aria-pressed", stage.hidden);
  const item = at(`item-${image.image_id}`);
  if (item) mark(item, now.decision);
  const facts = {
    image: image.image_id,
    status: texts.statuses[image.status] ?? image.status,
    reason: image.reason && (texts.reasons[image.reason] ?? image.reason),
    confidence: image.confidence === null ? "" : image.confidence.toFixed(2),
    size: `${image.width} × ${image.height}`,
    points: now.outlines.map(({ points }) => points.length).join(" + "),
    decision: texts.decisions[now.decision],
  };
  at("facts").replaceChildren(...Object.entries(facts).filter(([, text]) => text).flatMap(([key, text]) => {
    const [term, said] = [document.createElement("dt"), document.createElement("dd")];
    [term.textContent, said.textContent] = [texts[key], text];
    return [term, said];
  }));
}

// ---- what is said

function say(state) {
  if (!image) return;
  const history = histories.get(image.image_id);
  history.past.push(now);
  history.future = [];
  settle(state);
}

function settle(state) {
  now = state;
  const drawn = now.decision === "drawn" && { polygons: now.outlines.map(toRow) };
  saver.save(image.image_id, { decision: now.decision, ...drawn });
  tell("");
  refresh();
}

function step(from, to) {
  const history = image && histories.get(image.image_id);
  if (!history?.[from].length) return;
  history[to].push(now);
  settle(history[from].pop());
}

const same = () => JSON.stringify(now.outlines.map(toRow)) === JSON.stringify(image.found);

const acts = {
  accept() {
    if (!now.outlines.length) return tell(texts.nothing);
    const decision = same() ? "accepted" : "drawn";
    if (now.decision !== decision) say({ ...now, decision });
    return next();
  },
  reject() {
    if (now.decision !== "rejected") say({ ...now, decision: "rejected" });
    return next();
  },
  save() {
    if (same()) return tell(texts.unchanged);
    if (now.decision !== "drawn") say({ ...now, decision: "drawn" });
    return undefined;
  },
  withdraw() {
    if (now.decision !== "none") say({ decision: "none", outlines: image.found.map(fromRow) });
  },
  undo: () => step("past", "future"),
  redo: () => step("future", "past"),
  "draw-right": () => draft("draw-right"),
  "draw-left": () => draft("draw-left"),
  remove: () => stage.removePoint(),
};

const views = {
  next,
  previous,
  hide() {
    stage.hidden = !stage.hidden;
    at("hide").setAttribute("aria-pressed", stage.hidden);
    stage.draw();
  },
  invert: () => at("invert").setAttribute("aria-pressed", stage.invert()),
  closer: () => stage.zoom(1.3),
  farther: () => stage.zoom(1 / 1.3),
  fit() {
    stage.fit();
    stage.resetGrey();
  },
};

function draft(id) {
  stage.startDraft(LUNGS[id]);
  at("hide").setAttribute("aria-pressed", "false");
  at("stage").focus();
}

function act(name) {
  if (views[name]) return views[name]();
  return image ? acts[name]() : undefined;
}

function reachTo(value) {
  at("reach").value = value;
  stage.reach = Number(at("reach").value) / 100;
}

// ---- what is told

function tell(text) {
  at("notice").textContent = text;
}

function heard(word, id, detail) {
  const text = { saving: texts.saving, kept: texts.kept, lost: texts.lost, elsewhere: texts.elsewhere }[word];
  at("saved").textContent = text ?? texts.refused(detail);
  at("saved").classList.toggle("alarm", ["lost", "refused", "elsewhere"].includes(word));
  if (word === "kept") count(detail);
  if (word === "kept" && histories.has(id)) histories.get(id).version = saver.versions.get(id);
  if (word === "elsewhere") show(id);
}

// ---- keys and buttons

const KEYS = {
  a: "accept", r: "reject", s: "save", n: "next", p: "previous", z: "undo", y: "redo", h: "hide", i: "invert",
  1: "draw-right", 2: "draw-left", 0: "fit", "+": "closer", "=": "closer", "-": "farther",
  Delete: "remove", Backspace: "remove",
};
const SHOWN = {
  accept: "A", reject: "R", save: "S", next: "N", previous: "P", undo: "Z", redo: "Y", hide: "H", invert: "I",
  "draw-right": "1", "draw-left": "2", fit: "0", closer: "+", farther: "−", remove: "Del",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function pressed(event) {
  const typing = event.target.matches?.("input[type=range]") && event.key in ARROWS;
  if (typing || event.isComposing || ((event.ctrlKey || event.metaKey) && !/^[zy]$/i.test(event.key)) || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (stage.drafting && ["Enter", "Escape"].includes(key)) {
    if (key === "Enter") stage.closeDraft();
    else stage.giveUpDraft();
  } else if (key in ARROWS && at("stage") === document.activeElement) {
    const far = event.shiftKey ? 10 : 1;
    if (!image || !stage.nudge(...ARROWS[key].map((v) => v * far))) return;
  } else if (key === "," || key === ".") {
    stage.choose(key === "." ? 1 : -1);
  } else if (key === "[" || key === "]") {
    reachTo(Number(at("reach").value) + (key === "]" ? 1 : -1));
  } else if (key === "z" && event.shiftKey) {
    act("redo");
  } else if (key in KEYS && !(event.repeat && "ars".includes(key))) {
    act(KEYS[key]);
  } else return;
  event.preventDefault();
}

function label() {
  document.documentElement.lang = language;
  document.title = `${texts.title} · xraytk`;
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = texts[one.dataset.text];
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", texts[one.dataset.label]);
  for (const button of document.querySelectorAll("aside button")) {
    button.textContent = texts[button.id];
    if (SHOWN[button.id]) {
      const key = document.createElement("kbd");
      key.textContent = SHOWN[button.id];
      key.setAttribute("aria-hidden", "true");
      button.append(key);
      button.setAttribute("aria-keyshortcuts", { "−": "-", Del: "Delete" }[SHOWN[button.id]] ?? SHOWN[button.id]);
    }
    button.addEventListener("click", () => act(button.id));
  }
  at("hints").replaceChildren(...texts.hints.map((hint) => {
    const item = document.createElement("li");
    item.textContent = hint;
    return item;
  }));
}

async function begin() {
  Object.assign(queue, { images: [], next: 0 });
  at("list").replaceChildren();
  image = null;
  await more();
  if (queue.images.length) await show(queue.images[0].image_id);
  else {
    stage.clear();
    at("facts").replaceChildren();
    tell(texts.finished);
  }
}

label();
at("all").checked = queue.everything;
at("all").addEventListener("change", () => {
  queue.everything = at("all").checked;
  begin();
});
at("reach").addEventListener("input", () => reachTo(at("reach").value));
at("list").parentElement.addEventListener("scroll", ({ target }) => {
  if (target.scrollTop + target.clientHeight > target.scrollHeight - 200) more().catch(() => {});
});
addEventListener("keydown", pressed);
begin().catch(() => tell(texts.lost));
