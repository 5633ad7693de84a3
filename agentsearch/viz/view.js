// Draws a run's tasks, or one search tree. Data lies in text/plain blocks: "index", and for
// each tree "tree-I-0" with its shape and numbers and "tree-I-1", ... with its texts.
// Texts come from models and environments: they are set as text, never as markup.

const $ = (id) => document.getElementById(id);
const CARD = { width: 216, height: 64 }; // of a node, in pixels at zoom 1
const COLUMN = 292; // from one depth to the next
const ROW = 76; // from one leaf to the next
const FAMILY_GAP = 12; // more between leaves of different parents
const FIRST_SHOWN = 120; // nodes unfolded at first, about
const ZOOM = { least: 0.0002, most: 3, cards: 0.5, words: 0.2 };
const STRETCH = 0.85; // how much less the width shrinks than the height, below words
const PLAY_S = 15; // seconds to play a large tree
const END = ["", "end", "cut off"];

// -- data -----------------------------------------------------------------------------

async function unpack(id) {
  const text = atob($(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

/** The texts of a tree by number; their blocks are opened when they are needed. */
class Texts {
  constructor(tree, starts) {
    this.tree = tree;
    this.starts = starts;
    this.opened = [];
    this.opening = [];
  }

  block(i) {
    this.opening[i] ??= unpack(`tree-${this.tree}-${i + 1}`).then((texts) => {
      this.opened[i] = texts;
      return texts;
    });
    return this.opening[i];
  }

  async get(number) {
    const i = before(this.starts, number);
    return (await this.block(i))[number - this.starts[i]];
  }

  /** The text if its block is open; else opens it and calls `later`. */
  peek(number, later) {
    const i = before(this.starts, number);
    if (this.opened[i]) return this.opened[i][number - this.starts[i]];
    if (!this.opening[i]) this.block(i).then(later);
    return undefined;
  }
}

/** Index of the last item that is at most `value`, in an ascending list; -1 for none. */
function before(list, value, at = (item) => item) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(list[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A tree's columns, and what follows from them. */
class Tree {
  constructor(head, number) {
    Object.assign(this, head);
    const { nodes } = head;
    this.texts = new Texts(number, head.starts);
    this.size = nodes.parent.length;
    this.chosen = new Uint8Array(this.size);
    for (const id of head.committed) this.chosen[id] = 1;
    this.mean = nodes.sum.map((sum, i) => (nodes.visits[i] ? sum / nodes.visits[i] : null));
    this.depth = new Uint32Array(this.size);
    this.below = new Uint32Array(this.size); // how many descendants
    this.children = Array.from({ length: this.size }, () => []);
    for (let id = 1; id < this.size; id++) {
      this.depth[id] = this.depth[nodes.parent[id]] + 1;
      this.children[nodes.parent[id]].push(id);
    }
    for (let id = this.size - 1; id > 0; id--) this.below[nodes.parent[id]] += this.below[id] + 1;
    const rank = (a, b) => this.chosen[b] - this.chosen[a] || nodes.visits[b] - nodes.visits[a]
      || this.mean[b] - this.mean[a] || a - b;
    for (const siblings of this.children) siblings.sort(rank);
  }

  path(id) {
    const path = [];
    for (let at = id; at !== null; at = this.nodes.parent[at]) path.push(at);
    return path.reverse();
  }

  /** The messages sent at a node, as numbers; null where nobody is asked. */
  chat(id) {
    let chat = [];
    for (const at of this.path(id)) {
      if (!this.prompts[at]) return null;
      const [shared, ...added] = this.prompts[at];
      chat = [...chat.slice(0, shared), ...added];
    }
    return chat;
  }

  label(id) {
    return visible(this.nodes.labels[this.nodes.label[id]], "") || "(no text)";
  }
}

// -- words ----------------------------------------------------------------------------

const UNSAFE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** `text` with characters that hide or reorder others written out. */
function visible(text, keep = "\n\t") {
  return String(text).replace(UNSAFE, (c) => {
    if (keep.includes(c)) return c;
    const code = c.codePointAt(0).toString(16);
    return code.length < 3 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
  });
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value; // not finite
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(+value.toFixed(digits));
}

/** An element; attributes by name, functions as listeners, children as text or elements. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function pairs(rows) {
  return rows.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, visible(text))]);
}

// -- colours --------------------------------------------------------------------------

// Nine steps of viridis, uniform to the eye and safe for colour-blind readers.
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962",
  "#addc30", "#fde725"].map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function viridis(share) {
  const place = (0.06 + 0.9 * Math.min(Math.max(share, 0), 1)) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const mixed = VIRIDIS[i].map((from, c) => from + (place - i) * (VIRIDIS[i + 1][c] - from));
  const light = 0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2] > 140;
  return { fill: `rgb(${mixed.map(Math.round).join(" ")})`, ink: light ? "#101418" : "#ffffff" };
}

const MEASURES = {
  mean: (tree, id) => tree.mean[id],
  value: (tree, id) => tree.nodes.value[id],
  visits: (tree, id) => Math.log1p(tree.nodes.visits[id]),
  prior: (tree, id) => (id ? tree.nodes.prior[id] : null),
  credit: (tree, id) => tree.nodes.credit[id],
  tokens: (tree, id) => Math.log1p(tree.nodes.cost[id]?.tokens ?? 0),
};
const LOGARITHMIC = new Set(["visits", "tokens"]);
const PALETTE_STEPS = 64;

/** Colours of all nodes by one measure, with its ends. */
function colouring(tree, name) {
  const values = Array.from({ length: tree.size }, (_, id) => MEASURES[name](tree, id));
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const steps = Array.from({ length: PALETTE_STEPS + 1 }, (_, i) => viridis(i / PALETTE_STEPS));
  const of = values.map((value) => {
    if (!Number.isFinite(value)) return null;
    return steps[Math.round((high > low ? (value - low) / (high - low) : 0.5) * PALETTE_STEPS)];
  });
  const shown = LOGARITHMIC.has(name) ? Math.expm1 : (value) => value;
  const ends = low <= high ? [low, high].map((end) => number(+shown(end).toFixed(2))) : ["none", ""];
  return { of, ends };
}

// -- pictures of grids ----------------------------------------------------------------

const OBJECTS = { "#": "wall", a: "ball", b: "box", k: "key", O: "open door", C: "closed door",
  L: "locked door", ">": "agent facing right", v: "agent facing down", "<": "agent facing left",
  "^": "agent facing up" };
const PAINTS = { r: ["red", "#e5484d"], g: ["green", "#46a758"], b: ["blue", "#3e7bfa"],
  p: ["purple", "#a350d8"], y: ["yellow", "#eac000"], e: ["grey", "#8b949e"], " ": ["", "#e5484d"] };
const CARRYING = /^carrying: (nothing|(\S)(\S))$/;

/** The cells of a picture, row by row, and what is carried; null if it is no such picture. */
function gridOf(picture) {
  const lines = picture.replace(/\n$/, "").split("\n");
  const held = CARRYING.exec(lines.at(-1));
  if (held) lines.pop();
  const width = lines[0]?.length ?? 0;
  if (!width || width % 2 || lines.some((line) => line.length !== width)) return null;
  const rows = lines.map((line) => line.match(/../gs).map((cell) => [cell[0], cell[1]]));
  const known = ([what, paint]) => (what === " " || what in OBJECTS) && paint in PAINTS;
  return rows.every((row) => row.every(known)) ? { rows, held } : null;
}

function nameOf(what, paint) {
  return `${PAINTS[paint]?.[0] ?? ""} ${OBJECTS[what] ?? what}`.trim();
}

/** The picture in words, for those who do not see it. */
function gridWords({ rows, held }) {
  const things = rows.flatMap((row, y) => row.map(([what, paint], x) => ({ what, paint, x, y })))
    .filter(({ what }) => what !== "#" && what !== " ")
    .map(({ what, paint, x, y }) => `${nameOf(what, paint)} at column ${x + 1}, row ${y + 1}`);
  const carried = held?.[2] ? [`carrying ${nameOf(held[2], held[3])}`] : [];
  return `Grid of ${rows[0].length} by ${rows.length}: ${[...things, ...carried].join("; ")}`;
}

function paintGrid(ctx, { rows }, side) {
  rows.forEach((row, y) => row.forEach(([what, paint], x) => {
    ctx.save();
    ctx.translate(x * side, y * side);
    ctx.scale(side / 16, side / 16);
    paintCell(ctx, what, PAINTS[paint][1]);
    ctx.restore();
  }));
}

/** One cell, 16 by 16. */
function paintCell(ctx, what, colour) {
  ctx.fillStyle = what === "#" ? "#6b7480" : "#20262e";
  ctx.fillRect(0, 0, 16, 16);
  if (what === "#") return;
  ctx.strokeStyle = "#343c47";
  ctx.lineWidth = 0.5;
  ctx.strokeRect(0.25, 0.25, 15.5, 15.5);
  ctx.fillStyle = ctx.strokeStyle = colour;
  ctx.lineWidth = 2;
  ctx.beginPath();
  if (what === "a") {
    ctx.arc(8, 8, 5, 0, 7);
    ctx.fill();
  } else if (what === "b") {
    ctx.strokeRect(3.5, 3.5, 9, 9);
    ctx.fillRect(3, 7.2, 10, 1.6);
  } else if (what === "k") {
    ctx.arc(8, 4.8, 2.3, 0, 7);
    ctx.stroke();
    ctx.fillRect(7.1, 7, 1.8, 7);
    ctx.fillRect(8, 9.4, 3, 1.4);
    ctx.fillRect(8, 12.2, 3, 1.4);
  } else if (what === "O") {
    ctx.fillRect(0, 0, 16, 1.6);
    ctx.fillRect(0, 0, 1.6, 16);
    ctx.fillRect(0, 0, 4, 16);
  } else if (what === "C" || what === "L") {
    ctx.fillRect(1, 1, 14, 14);
    ctx.fillStyle = "#101418";
    if (what === "L") {
      ctx.arc(8, 6.6, 2, 0, 7);
      ctx.fill();
      ctx.fillRect(7.1, 7, 1.8, 5);
    } else {
      ctx.arc(11.6, 8, 1.3, 0, 7);
      ctx.fill();
    }
  } else if (what in OBJECTS) {
    ctx.translate(8, 8);
    ctx.rotate((">v<^".indexOf(what) * Math.PI) / 2);
    ctx.moveTo(6, 0);
    ctx.lineTo(-4.5, 5);
    ctx.lineTo(-4.5, -5);
    ctx.fill();
  }
}

/** A canvas with the grid on it, as wide as fits into `most` pixels. */
function gridCanvas(grid, most) {
  const across = Math.max(grid.rows[0].length, grid.rows.length);
  const ratio = window.devicePixelRatio || 1;
  const side = Math.max(1, Math.floor(Math.min(28, most / across) * ratio));
  const canvas = make("canvas", { role: "img", "aria-label": gridWords(grid) });
  canvas.width = side * grid.rows[0].length;
  canvas.height = side * grid.rows.length;
  canvas.style.width = `${canvas.width / ratio}px`;
  paintGrid(canvas.getContext("2d"), grid, side);
  return canvas;
}

// -- the tree on its canvas -----------------------------------------------------------

const canvas = $("canvas");
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
let tree = null; // the one on show
let open = null; // 1 where a node is unfolded
let pathOnly = false;
let columns = []; // shown nodes of each depth, from top to bottom
let shown = []; // shown nodes, parents before children
let top_ = null; // of each node's card
let time = 0; // the last node in order of expansion that is drawn
let selected = 0;
let found = new Set();
let colours = null;
let camera = { x: 0, y: 0, k: 1 };
let theme = {};
let thumbnails = new Map();
let clipped = new Map();
let drawing = 0;

/**
 * Places every shown node as high as its column allows, level with its first child.
 * The chosen path, or else the most visited one, runs straight from the root. Each run of
 * first children is placed once, so that this takes time in proportion to the nodes.
 */
function layout() {
  columns = [];
  shown = [];
  const stack = [0];
  while (stack.length) {
    const id = stack.pop();
    shown.push(id);
    (columns[tree.depth[id]] ??= []).push(id);
    const next = shownChildren(id);
    for (let i = next.length - 1; i >= 0; i--) stack.push(next[i]);
  }
  const { parent } = tree.nodes;
  const free = new Array(columns.length).fill(0);
  const family = new Array(columns.length).fill(null);
  for (const id of shown) {
    if (id && shownChildren(parent[id])[0] === id) continue; // placed with its parent
    const run = [];
    for (let at = id; at !== undefined; [at] = shownChildren(at)) run.push(at);
    let y = 0;
    for (const at of run) {
      const depth = tree.depth[at];
      const gap = family[depth] === null || family[depth] === parent[at] ? 0 : FAMILY_GAP;
      y = Math.max(y, free[depth] + gap);
    }
    for (const at of run) {
      top_[at] = y;
      free[tree.depth[at]] = y + ROW;
      family[tree.depth[at]] = parent[at];
    }
  }
}

function shownChildren(id) {
  if (pathOnly) return tree.children[id].filter((child) => tree.chosen[child]);
  return open[id] ? tree.children[id] : [];
}

/** Unfolds as the choice says: the most visited, the chosen path, down to a depth, all. */
function unfold(choice) {
  pathOnly = choice === "path";
  open.fill(0);
  const depth = { all: Infinity, most: tree.size <= FIRST_SHOWN ? Infinity : 1 }[choice] ?? +choice;
  if (!pathOnly) for (let id = 0; id < tree.size; id++) open[id] = tree.depth[id] < depth ? 1 : 0;
  if (choice === "most" && tree.size > FIRST_SHOWN) unfoldMostVisited();
  layout();
}

function unfoldMostVisited() {
  let count = 1 + tree.children[0].length;
  for (const id of tree.committed) {
    if (!open[id]) count += tree.children[id].length;
    open[id] = 1;
  }
  const { parent, visits } = tree.nodes;
  const inner = Array.from(tree.children.keys()).filter((id) => tree.children[id].length);
  inner.sort((a, b) => visits[b] - visits[a] || a - b);
  for (const id of inner) {
    if (count >= FIRST_SHOWN) break;
    if (open[id] || !open[parent[id]]) continue;
    open[id] = 1;
    count += tree.children[id].length;
  }
}

function toggle(id) {
  if (!tree.children[id].length) return;
  const screen = toScreen(id);
  if (pathOnly) {
    pathOnly = false;
    open.fill(0);
    for (const each of tree.committed) open[each] = 1;
    open[id] = 1;
  } else {
    open[id] = 1 - open[id];
  }
  $("unfold").value = "hand";
  layout();
  camera.y += screen.y - toScreen(id).y; // the node stays under the finger
  if (!isShown(selected)) select(id);
  redraw();
}

function isShown(id) {
  if (pathOnly) return Boolean(tree.chosen[id]);
  return tree.path(id).slice(0, -1).every((each) => open[each]);
}

function reveal(id) {
  if (time < id) setTime(tree.size - 1);
  if (isShown(id)) return;
  if (pathOnly) for (const each of tree.committed) open[each] = 1;
  pathOnly = false;
  for (const each of tree.path(id).slice(0, -1)) open[each] = 1;
  $("unfold").value = "hand";
  layout();
}

/** Scale of the width: small trees keep their shape, tall ones are not drawn as a thread. */
function widthScale(k = camera.k) {
  return k >= ZOOM.words ? k : k * (ZOOM.words / k) ** STRETCH;
}

/** Left and top of a node's card on the screen, and its size. */
function toScreen(id) {
  const wide = widthScale();
  return {
    x: camera.x + wide * tree.depth[id] * COLUMN,
    y: camera.y + camera.k * top_[id],
    width: wide * CARD.width,
    height: camera.k * CARD.height,
  };
}

function redraw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    if (tree && !$("tree").hidden) draw();
  });
}

/** The shown nodes of a depth between two heights, with a neighbour on either side. */
function inSight(depth, from, to) {
  const column = columns[depth] ?? [];
  const height = (id) => top_[id];
  const first = Math.max(before(column, from, height), 0);
  return column.slice(first, before(column, to, height) + 2).filter((id) => id <= time);
}

function draw() {
  const ctx = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  const { x, y, k } = camera;
  const wide = widthScale();
  const width = canvas.width / ratio;
  const height = canvas.height / ratio;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  const from = -y / k - CARD.height;
  const to = (height - y) / k;
  const left = Math.max(Math.floor((-x / wide - CARD.width) / COLUMN), 0);
  const right = Math.min(Math.floor((width - x) / wide / COLUMN) + 1, columns.length - 1);
  const sight = [];
  for (let depth = left; depth <= right; depth++) sight.push(...thin(inSight(depth, from, to)));
  drawEdges(ctx, sight);
  const paint = k >= ZOOM.cards ? drawCard : k >= ZOOM.words ? drawWord : drawDot;
  if (paint !== drawDot) ctx.setTransform(ratio * k, 0, 0, ratio * k, ratio * x, ratio * y);
  const drawn = sight.filter((id) => top_[id] >= from && top_[id] <= to);
  for (const id of drawn) paint(ctx, id);
  canvas.dataset.drawn = drawn.length;
  $("status").textContent = status(drawn.length);
}

/** Leaves out nodes that would fall on the same pixel as the one before. */
function thin(ids) {
  if (ROW * camera.k > 1.5) return ids;
  let last = -Infinity;
  return ids.filter((id) => {
    const at = top_[id] * camera.k;
    if (at - last < 1.5 && id !== selected && !tree.chosen[id] && !found.has(id)) return false;
    last = at;
    return true;
  });
}

function status(drawn) {
  const folded = tree.size - shown.length;
  const all = `${drawn.toLocaleString("en")} of ${tree.size.toLocaleString("en")} nodes in sight`;
  return folded ? `${all}, ${folded.toLocaleString("en")} folded` : all;
}

/** Lines to the parents, the wider the more visited. */
function drawEdges(ctx, ids) {
  const { parent, visits } = tree.nodes;
  const { k } = camera;
  const most = Math.max(visits[0], 1);
  const paths = Array.from({ length: 5 }, () => new Path2D());
  const chosen = new Path2D();
  for (const id of ids) {
    if (parent[id] === null) continue;
    const thick = Math.min(Math.ceil(4 * Math.sqrt(visits[id] / most)), 4);
    addEdge(tree.chosen[id] ? chosen : paths[thick], toScreen(parent[id]), toScreen(id));
  }
  ctx.strokeStyle = theme.edge;
  paths.forEach((path, i) => {
    ctx.lineWidth = Math.max((1 + i) * k, 0.6);
    ctx.stroke(path);
  });
  ctx.strokeStyle = theme.chosen;
  ctx.lineWidth = Math.max(5 * k, 1.2);
  ctx.stroke(chosen);
}

function addEdge(path, from, to) {
  const half = from.height / 2;
  const x = from.x + from.width;
  const down = x + (to.x - x) / 2;
  const bend = Math.min(12 * camera.k, (to.y - from.y) / 2);
  path.moveTo(x, from.y + half);
  path.arcTo(down, from.y + half, down, to.y + half, bend);
  path.arcTo(down, to.y + half, to.x, to.y + half, bend);
  path.lineTo(to.x, to.y + half);
}

function drawCard(ctx, id) {
  const x = tree.depth[id] * COLUMN;
  const y = top_[id];
  frame(ctx, id, x, y, theme.surface);
  ctx.save();
  ctx.beginPath();
  ctx.roundRect(x, y, CARD.width, CARD.height, 8);
  ctx.clip();
  ctx.fillStyle = colours.of[id]?.fill ?? theme.line;
  ctx.fillRect(x, y, 7, CARD.height);
  ctx.restore();
  const taken = thumbnail(ctx, id, x, y);
  const room = CARD.width - 26 - taken;
  ctx.textBaseline = "alphabetic";
  ctx.fillStyle = tree.chosen[id] ? theme.chosen : theme.ink;
  write(ctx, tree.label(id), x + 16, y + 20, room, 600, 14);
  ctx.fillStyle = theme.soft;
  write(ctx, visible(tree.nodes.labels[tree.nodes.note[id]], ""), x + 16, y + 38, room, 400, 12);
  const ended = drawEnd(ctx, id, x + CARD.width - 10 - taken, y + 55);
  ctx.fillStyle = theme.soft;
  write(ctx, numbers(id, ended || taken), x + 16, y + 55, room - ended, 400, 12);
  drawFold(ctx, id, x, y);
}

/** Mean value, visits and prior of a node; the first two, unnamed, where there is less room. */
function numbers(id, brief = 0) {
  const { value, visits, prior } = tree.nodes;
  const mean = tree.mean[id];
  const words = [];
  if (mean !== null) words.push(brief ? short(mean) : `mean ${short(mean)}`);
  else if (value[id] !== null) words.push(brief ? short(value[id]) : `value ${short(value[id])}`);
  words.push(visits[id] === 1 ? "1 visit" : `${number(visits[id])} visits`);
  if (id && !brief) words.push(`p ${short(prior[id])}`);
  return words.join(" · ");
}

function short(value) {
  return typeof value === "number" ? value.toFixed(2) : String(value);
}

/** Says at the right how the episode ended, if it did; the width it takes. */
function drawEnd(ctx, id, right, y) {
  const [word, colour] = ending(id);
  if (!word) return 0;
  ctx.font = `600 12px ${theme.font}`;
  ctx.textAlign = "right";
  ctx.fillStyle = colour;
  ctx.fillText(word, right, y);
  ctx.textAlign = "left";
  return ctx.measureText(word).width + 8;
}

/** How an episode ended at a node, in a word and its colour. */
function ending(id) {
  const { end, credit } = tree.nodes;
  if (!end[id]) return ["", ""];
  if (credit[id] === 1) return ["✓ correct", theme.good];
  if (credit[id] === 0) return ["✗ wrong", theme.bad];
  if (credit[id] !== null) return [`credit ${number(credit[id], 2)}`, theme.soft];
  return [end[id] === 2 ? "✂ cut off" : "■ end", theme.soft];
}

function frame(ctx, id, x, y, fill) {
  ctx.beginPath();
  ctx.roundRect(x, y, CARD.width, CARD.height, 8);
  ctx.fillStyle = fill;
  ctx.fill();
  const [colour, width] = outline(id);
  if (colour === null) return;
  ctx.strokeStyle = colour;
  ctx.lineWidth = Math.max(width, width / 2 / camera.k);
  ctx.stroke();
}

function outline(id) {
  if (id === selected) return [theme.accent, 3.5];
  if (found.has(id)) return [theme.found, 3];
  if (id === time && time < tree.size - 1) return [theme.ink, 2.5];
  if (tree.chosen[id]) return [theme.chosen, 2];
  return [theme.line, 1.25];
}

/** Draws the node's picture at the right, if it has one; the width it takes. */
function thumbnail(ctx, id, x, y) {
  const picture = tree.nodes.picture[id];
  if (picture === null) return 0;
  if (!thumbnails.has(picture)) {
    const text = tree.texts.peek(picture, redraw);
    if (text === undefined) return 60;
    const grid = gridOf(text);
    thumbnails.set(picture, grid && gridCanvas(grid, 104));
  }
  const image = thumbnails.get(picture);
  if (!image) return 0;
  const scale = 52 / Math.max(image.width, image.height);
  const [w, h] = [image.width * scale, image.height * scale];
  ctx.drawImage(image, x + CARD.width - 18 - w, y + (CARD.height - h) / 2, w, h);
  return w + 12;
}

function drawFold(ctx, id, x, y) {
  const count = tree.children[id].length;
  if (!count) return;
  const folded = !shownChildren(id).length;
  const word = folded ? `+${number(tree.below[id])}` : "−";
  ctx.font = `600 12px ${theme.font}`;
  const wide = Math.max(18, ctx.measureText(word).width + 12);
  ctx.beginPath();
  ctx.roundRect(x + CARD.width - 9, y + CARD.height / 2 - 9, wide, 18, 9);
  ctx.fillStyle = folded ? theme.soft : theme.surface;
  ctx.fill();
  ctx.strokeStyle = theme.soft;
  ctx.lineWidth = 1;
  ctx.stroke();
  ctx.fillStyle = folded ? theme.surface : theme.soft;
  ctx.textAlign = "center";
  ctx.fillText(word, x + CARD.width - 9 + wide / 2, y + CARD.height / 2 + 4.5);
  ctx.textAlign = "left";
}

function drawWord(ctx, id) {
  const x = tree.depth[id] * COLUMN;
  const y = top_[id];
  const colour = colours.of[id];
  frame(ctx, id, x, y, colour?.fill ?? theme.surface);
  ctx.fillStyle = colour?.ink ?? theme.ink;
  ctx.textBaseline = "alphabetic";
  write(ctx, tree.label(id), x + 14, y + 43, CARD.width - 26, 600, 30);
}

function drawDot(ctx, id) {
  const { x, y, width, height } = toScreen(id);
  const [colour, line] = outline(id);
  ctx.fillStyle = colours.of[id]?.fill ?? theme.edge;
  ctx.fillRect(x, y, width, Math.max(height, 1.5));
  if (line < 2) return;
  ctx.strokeStyle = colour;
  ctx.lineWidth = line / 2;
  ctx.strokeRect(x, y, width, Math.max(height, 1.5));
}

/** Writes a text, cut to `room`. */
function write(ctx, text, x, y, room, weight, size) {
  ctx.font = `${weight} ${size}px ${theme.font}`;
  const key = `${weight} ${size} ${Math.round(room)} ${text}`;
  let fits = clipped.get(key);
  if (fits === undefined) {
    if (clipped.size > 50000) clipped.clear();
    fits = cut(ctx, text, room);
    clipped.set(key, fits);
  }
  ctx.fillText(fits, x, y);
}

function cut(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  let low = 0;
  let high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (ctx.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low).trimEnd()}…`;
}

// -- moving about ---------------------------------------------------------------------

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const k = Math.min(Math.max(camera.k * factor, ZOOM.least), ZOOM.most);
  camera.x = x - ((x - camera.x) * widthScale(k)) / widthScale();
  camera.y = y - ((y - camera.y) * k) / camera.k;
  camera.k = k;
  redraw();
}

/** The whole of what is shown, no larger than life. */
function fit() {
  const last = Math.max(...columns.map((column) => top_[column.at(-1)]));
  const wide = (columns.length - 1) * COLUMN + CARD.width;
  const tall = last + CARD.height;
  const { clientWidth, clientHeight } = canvas;
  let k = Math.min((clientHeight - 72) / tall, 1);
  while (k > ZOOM.least && widthScale(k) * wide > clientWidth - 48) k *= 0.98;
  camera.k = Math.max(k, ZOOM.least);
  camera.x = (clientWidth - wide * widthScale()) / 2;
  camera.y = (clientHeight - tall * camera.k) / 2;
  redraw();
}

/** The first look: from the root on, as much as can be read. */
function start() {
  const wide = (columns.length - 1) * COLUMN + CARD.width;
  camera.k = Math.min(Math.max((canvas.clientWidth - 48) / wide, 0.75), 1);
  camera.x = camera.y = 24;
  redraw();
}

let moving = 0;

function centre(id) {
  const at = toScreen(id);
  const goal = {
    x: camera.x + canvas.clientWidth / 2 - at.x - at.width / 2,
    y: camera.y + canvas.clientHeight / 2 - at.y - at.height / 2,
  };
  cancelAnimationFrame(moving);
  const begin = { ...camera };
  const began = performance.now();
  const step = (now) => {
    const share = still.matches ? 1 : Math.min(Math.max(now - began, 0) / 180, 1);
    const eased = 1 - (1 - share) ** 3;
    camera.x = begin.x + (goal.x - begin.x) * eased;
    camera.y = begin.y + (goal.y - begin.y) * eased;
    redraw();
    if (share < 1) moving = requestAnimationFrame(step);
  };
  step(began);
}

/** Moves only as far as it takes to have the node in sight. */
function follow(id) {
  const { x, y, width, height } = toScreen(id);
  const right = x + width <= canvas.clientWidth;
  if (x < 0 || y < 0 || !right || y + height > canvas.clientHeight) centre(id);
}

/** The node under a point, and whether its fold button is meant. */
function hit(x, y) {
  const { k } = camera;
  const down = (y - camera.y) / k;
  const slack = Math.max(0, 6 / k - CARD.height / 2); // small ones are easier to hit
  const depth = Math.floor((x - camera.x) / widthScale() / COLUMN);
  for (const id of inSight(depth, down - CARD.height - slack, down + slack)) {
    if (down < top_[id] - slack || down > top_[id] + CARD.height + slack) continue;
    const beyond = (x - camera.x) / widthScale() - depth * COLUMN - CARD.width;
    const fold = k >= ZOOM.cards && tree.children[id].length > 0 && Math.abs(beyond - 4) < 22;
    if (fold || beyond <= 0) return { id, fold };
  }
  return null;
}

const pointers = new Map();
let travelled = 0;

function pressed(event) {
  cancelAnimationFrame(moving);
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
  travelled = pointers.size > 1 ? Infinity : 0;
}

function moved(event) {
  const last = pointers.get(event.pointerId);
  if (!last) {
    canvas.classList.toggle("over", Boolean(hit(event.offsetX, event.offsetY)));
    return;
  }
  const now = { x: event.offsetX, y: event.offsetY };
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const spread = (at) => Math.hypot(at.x - other.x, at.y - other.y);
    zoom(spread(now) / Math.max(spread(last), 1), (now.x + other.x) / 2, (now.y + other.y) / 2);
  }
  const share = 1 / pointers.size;
  camera.x += (now.x - last.x) * share;
  camera.y += (now.y - last.y) * share;
  travelled += Math.hypot(now.x - last.x, now.y - last.y);
  pointers.set(event.pointerId, now);
  redraw();
}

function released(event) {
  const tap = pointers.delete(event.pointerId) && event.type === "pointerup" && travelled < 6;
  const target = tap && hit(event.offsetX, event.offsetY);
  if (!target) return;
  if (target.fold) toggle(target.id);
  else select(target.id);
}

function wheeled(event) {
  event.preventDefault();
  const lines = event.deltaMode ? 16 : 1;
  if (event.shiftKey) {
    camera.x -= (event.deltaX || event.deltaY) * lines;
    redraw();
  } else {
    zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), event.offsetX, event.offsetY);
  }
}

/** The drawn node of the same depth above or below. */
function neighbour(id, by) {
  const column = columns[tree.depth[id]].filter((each) => each <= time);
  return column[column.indexOf(id) + by];
}

const KEYS = {
  ArrowLeft: () => go(tree.nodes.parent[selected]),
  ArrowRight: () => {
    if (!shownChildren(selected).length) toggle(selected);
    go(shownChildren(selected).find((id) => id <= time));
  },
  ArrowUp: () => go(neighbour(selected, -1)),
  ArrowDown: () => go(neighbour(selected, 1)),
  Enter: () => toggle(selected),
  " ": () => toggle(selected),
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: () => fit(),
  Home: () => go(0, true),
  c: () => go(tree.committed.reduce((a, b) => (tree.depth[b] > tree.depth[a] ? b : a), 0), true),
  "[": () => setTime(time - 1),
  "]": () => setTime(time + 1),
  p: () => play(),
};

function keyed(event) {
  const act = KEYS[event.key] ?? KEYS[event.key.toLowerCase()];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
}

function go(id, always = false) {
  if (id === null || id === undefined) return;
  select(id);
  if (always) centre(id);
  else follow(id);
}

// -- order of expansion ---------------------------------------------------------------

let playing = 0;

function setTime(last) {
  time = Math.min(Math.max(Math.round(last), 0), tree.size - 1);
  $("time").value = time;
  $("clock").textContent = `${number(time + 1)} of ${number(tree.size)}`;
  redraw();
}

function play() {
  if (playing) return pause();
  if (time >= tree.size - 1) setTime(0);
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Pause");
  const rate = Math.max(4, tree.size / PLAY_S); // nodes a second
  let [at, last] = [time, performance.now()];
  const step = (now) => {
    at += (rate * (now - last)) / 1000;
    last = now;
    setTime(Math.floor(at));
    if (time >= tree.size - 1) pause();
    else playing = requestAnimationFrame(step);
  };
  playing = requestAnimationFrame(step);
}

function pause() {
  cancelAnimationFrame(playing);
  playing = 0;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Play the order of expansion");
}

// -- search ---------------------------------------------------------------------------

let searches = 0; // counts up, so that an older one notices that it is out of date
let matches = [];
let match = -1;

async function search() {
  const mine = ++searches;
  const query = $("search").value.trim().toLowerCase();
  matches = [];
  match = -1;
  found = new Set();
  $("found").textContent = "";
  redraw();
  if (!query) return;
  const one = /^#(\d+)$/.exec(query);
  const hits = one ? null : await matchingTexts(query, () => mine === searches);
  if (mine !== searches) return;
  const { action, observation, raw, answer } = tree.nodes;
  for (let id = 0; id < tree.size; id++) {
    const has = one ? id === +one[1] : [action, observation, raw, answer].some((c) => hits.has(c[id]));
    if (has) matches.push(id);
  }
  found = new Set(matches);
  $("found").textContent = matches.length === 1 ? "1 node" : `${number(matches.length)} nodes`;
  redraw();
}

async function matchingTexts(query, wanted) {
  const hits = new Set();
  const { texts, searchable } = tree;
  for (let i = 0; i < searchable && wanted(); i++) {
    (await texts.block(i)).forEach((text, j) => {
      if (text.toLowerCase().includes(query)) hits.add(texts.starts[i] + j);
    });
    if (i % 8 === 7) $("found").textContent = `${Math.round((100 * i) / searchable)} %`;
  }
  return hits;
}

function nextMatch(by) {
  if (!matches.length) return;
  match = (match + by + matches.length) % matches.length;
  reveal(matches[match]);
  go(matches[match], true);
  $("found").textContent = `${number(match + 1)} of ${number(matches.length)}`;
}

// -- one node -------------------------------------------------------------------------

let promptOpen = false;
let looks = 0;

function select(id) {
  selected = id;
  const place = new URLSearchParams(location.hash.slice(1));
  place.set("node", id);
  history.replaceState(null, "", `#${place}`);
  $("said").textContent = `Node ${id}, ${tree.label(id)}, ${numbers(id)}, ${ending(id)[0]}`;
  redraw();
  return show(id);
}

/** Fills the panel. */
async function show(id) {
  const mine = ++looks;
  const { nodes, texts } = tree;
  const names = ["action", "observation", "raw", "answer", "extra", "picture", "version"];
  const read = names.map((name) => (nodes[name][id] === null ? null : texts.get(nodes[name][id])));
  const text = Object.fromEntries(
    (await Promise.all(read)).map((each, i) => [names[i], each]),
  );
  if (mine !== looks) return;
  $("node").replaceChildren(
    heading(id, text),
    tiles(id),
    ...(id ? [] : [make("dl", { class: "facts" }, ...pairs(tree.facts))]),
    ...picture(text.picture),
    section("Observation", body(text.observation)),
    ...(text.answer ? [section("Answer", body(text.answer))] : []),
    ...(text.raw === null ? [] : [section("Reply that led here", body(text.raw))]),
    prompt(id),
    make("dl", { class: "facts" }, ...pairs(details(id, text))),
    ...(text.extra ? [section("Record of the search", body(text.extra))] : []),
  );
  $("panel").scrollTop = 0;
}

function heading(id, text) {
  const path = tree.path(id).map((each) => make(
    "button",
    { class: each === id ? "crumb here" : "crumb", click: () => go(each) },
    tree.label(each),
  ));
  const [end] = ending(id);
  const chips = [
    tree.chosen[id] && id ? make("span", { class: "chip chosen" }, "chosen") : null,
    end ? make("span", { class: `chip ${chipClass(tree.nodes.credit[id])}` }, end) : null,
  ];
  const folds = tree.children[id].length
    ? make("button", { class: "small", click: () => { toggle(id); show(id); } },
      shownChildren(id).length ? "Fold" : `Unfold ${number(tree.below[id])}`)
    : null;
  return make(
    "header",
    {},
    make("p", { class: "line" }, make("span", { class: "number" }, `#${id}`), ...chips.filter(Boolean),
      ...(folds ? [folds] : [])),
    make("h2", {}, id ? visible(text.action) || "(no text)" : "Start"),
    ...(id ? [make("nav", { "aria-label": "Path from the root" }, ...path)] : []),
  );
}

function chipClass(credit) {
  return credit === 1 ? "good" : credit === 0 ? "bad" : "";
}

function tiles(id) {
  const { nodes, mean } = tree;
  const shownTiles = [
    ["mean value", mean[id]],
    ["visits", nodes.visits[id]],
    ["value", nodes.value[id]],
    ["prior", id ? nodes.prior[id] : null],
    ["reward", nodes.reward[id]],
    ["credit", nodes.credit[id]],
  ];
  const swatch = make("i", { class: "swatch" });
  swatch.style.background = colours.of[id]?.fill ?? "transparent";
  return make("div", { class: "tiles" }, ...shownTiles.map(([name, value], i) => make(
    "div",
    {},
    make("b", {}, ...(i ? [] : [swatch]), number(value)),
    make("span", {}, name),
  )));
}

function details(id, text) {
  const { nodes } = tree;
  const cost = Object.entries(nodes.cost[id] ?? {});
  const spent = cost.map(([name, count]) => `${name.replaceAll("_", " ")} ${number(count)}`);
  const rows = [
    ["cost here", spent.join(", ") || "nothing was asked here"],
    ["order", `${number(id + 1)} of ${number(tree.size)}`],
    ["depth", number(tree.depth[id])],
    ["children", `${number(tree.children[id].length)}, ${number(tree.below[id])} nodes below`],
    ["value sum", number(nodes.sum[id])],
    ["terminated", nodes.end[id] === 1 ? "yes" : "no"],
    ["truncated", nodes.end[id] === 2 ? "yes" : "no"],
    ["credit after search", nodes.credit[id] === null ? null : number(nodes.credit[id])],
    ["reward", id && nodes.reward[id] === null ? "hidden from the search" : null],
    ["samples of this action", nodes.count[id]],
    ["samples drawn here", nodes.draws[id]],
    ["log-probability", nodes.logprob[id] === null ? null : number(nodes.logprob[id], 4)],
    ["policy version", text.version],
  ];
  return rows.filter(([, value]) => value !== null && value !== undefined).map(([n, v]) => [n, String(v)]);
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}

function body(text) {
  return text ? make("pre", {}, visible(text)) : make("p", { class: "soft" }, "(empty)");
}

function picture(text) {
  if (text === null) return [];
  const grid = gridOf(text);
  if (!grid) return [section("Picture", body(text))];
  const room = Math.max($("panel").clientWidth - 48, 120);
  const held = grid.held && make("p", { class: "soft" }, `carrying: ${
    grid.held[2] ? nameOf(grid.held[2], grid.held[3]) : "nothing"}`);
  return [section("Picture", gridCanvas(grid, room), ...(held ? [held] : []))];
}

/** What the policy was sent here, written when it is opened. */
function prompt(id) {
  const title = make("summary", {}, "Prompt sent here");
  const box = make("details", { class: "prompt" }, title);
  const fill = async () => {
    promptOpen = box.open;
    if (!box.open || box.childElementCount > 1) return;
    box.append(...(await promptBody(id)));
  };
  box.addEventListener("toggle", fill);
  box.open = promptOpen;
  return box;
}

async function promptBody(id) {
  const soft = (text) => make("p", { class: "soft" }, text);
  if (tree.promptsNote) return [soft(visible(tree.promptsNote))];
  const chat = tree.chat(id);
  if (!chat) return [soft("Nobody is asked where the episode has ended.")];
  const note = tree.nodes.draws[id] ? [] : [soft("Not sent: nothing was asked here. It would be:")];
  const written = await Promise.all(chat.map(async (place) => {
    const [role, text] = tree.messages[place];
    return make("div", { class: `message ${role}` }, make("span", {}, role), body(await tree.texts.get(text)));
  }));
  return [...note, ...written];
}

// -- the pages ------------------------------------------------------------------------

function recolour() {
  colours = colouring(tree, $("colour").value);
  [$("low").textContent, $("high").textContent] = colours.ends;
  const ramp = $("ramp").getContext("2d");
  for (let x = 0; x < 96; x++) {
    ramp.fillStyle = viridis(x / 95).fill;
    ramp.fillRect(x, 0, 1, 8);
  }
  redraw();
}

function retheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "surface", "line", "edge", "accent", "chosen", "good", "bad", "found"]) {
    theme[name] = style.getPropertyValue(`--${name}`).trim();
  }
  theme.font = getComputedStyle(document.body).fontFamily;
  clipped = new Map();
  redraw();
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  root.dataset.theme = dark ? "light" : "dark";
  retheme();
}

function resize() {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth, clientHeight } = $("stage");
  canvas.style.width = `${clientWidth}px`;
  canvas.style.height = `${clientHeight}px`;
  canvas.width = Math.round(clientWidth * ratio);
  canvas.height = Math.round(clientHeight * ratio);
  redraw();
}

async function openTree(place, node) {
  const head = await unpack(`tree-${place}-0`);
  pause();
  tree = new Tree(head, place);
  open = new Uint8Array(tree.size);
  top_ = new Float64Array(tree.size);
  thumbnails = new Map();
  $("search").value = "";
  search();
  $("run").hidden = true;
  $("tree").hidden = false;
  $("task-name").textContent = visible(tree.task, "");
  const verdict = tree.facts.find(([name]) => name === "verdict")?.[1];
  $("verdict").hidden = !verdict;
  $("verdict").textContent = verdict ?? "";
  $("verdict").className = `chip ${verdict === "correct" ? "good" : "bad"}`;
  $("time").max = tree.size - 1;
  $("unfold").value = "most";
  setTime(tree.size - 1);
  recolour();
  unfold("most");
  resize();
  start();
  if (node > 0 && node < tree.size) {
    reveal(node);
    centre(node);
    await select(node);
  } else {
    await select(0);
  }
  document.documentElement.dataset.ready = "tree";
}

const COLUMNS = [["task", "task"], ["verdict", "verdict"], ["answer", "answer"], ["calls", "calls"],
  ["tokens", "tokens"], ["steps", "env steps"], ["nodes", "nodes"], ["stop", "stop"]];

function openRun(index) {
  $("tree").hidden = true;
  $("run").hidden = false;
  tree = null;
  $("run-name").textContent = visible(index.run, "");
  $("run-facts").replaceChildren(...pairs(index.facts));
  $("run-columns").replaceChildren(...COLUMNS.map(([key, name]) => make(
    "th",
    { scope: "col", "aria-sort": "none" },
    make("button", { click: (event) => sortTasks(index, key, event.currentTarget.parentElement) }, name),
  )));
  fillTasks(index.tasks);
  document.documentElement.dataset.ready = "run";
}

function sortTasks(index, key, header) {
  const down = header.getAttribute("aria-sort") === "ascending";
  for (const each of $("run-columns").children) each.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", down ? "descending" : "ascending");
  const compare = (a, b) => (typeof a === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0);
  const sorted = index.tasks.toSorted((a, b) => compare(a[key], b[key]) * (down ? -1 : 1));
  fillTasks(sorted);
}

function fillTasks(tasks) {
  $("run-tasks").replaceChildren(...tasks.map((task) => make("tr", {}, ...COLUMNS.map(([key]) => {
    const words = typeof task[key] === "number" ? number(task[key]) : visible(task[key], "");
    if (key === "task") return make("th", { scope: "row" }, taskLink(task, words));
    if (key === "verdict") {
      const good = task.verdict === "correct" ? "good" : "bad";
      return make("td", {}, make("span", { class: `chip ${good}` }, words));
    }
    return make("td", { class: typeof task[key] === "number" ? "figure" : "words" }, words);
  }))));
}

function taskLink(task, words) {
  if (task.missing) {
    return make("span", { title: visible(task.missing) }, words, make("em", {}, " no tree"));
  }
  const href = task.file ? encodeURI(task.file) : `#${new URLSearchParams({ task: task.task })}`;
  return make("a", { href }, words);
}

function fail(error) {
  $("failure").hidden = false;
  $("failure").textContent = `This page cannot be shown: ${error?.message ?? error}`;
}

// -- beginning ------------------------------------------------------------------------

const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
let index = null;

async function route() {
  const place = new URLSearchParams(location.hash.slice(1));
  const node = Number(place.get("node"));
  if (!index.tasks) return openTree(0, node);
  const task = index.tasks.find((each) => each.task === place.get("task") && "tree" in each);
  if (task) await openTree(task.tree, node);
  else openRun(index);
  $("back").hidden = false;
}

function listen() {
  canvas.addEventListener("pointerdown", pressed);
  canvas.addEventListener("pointermove", moved);
  canvas.addEventListener("pointerup", released);
  canvas.addEventListener("pointercancel", released);
  canvas.addEventListener("wheel", wheeled, { passive: false });
  canvas.addEventListener("keydown", keyed);
  canvas.addEventListener("dblclick", (event) => {
    const target = hit(event.offsetX, event.offsetY);
    if (target && !target.fold) toggle(target.id);
  });
  $("zoom-in").addEventListener("click", () => zoom(1.3));
  $("zoom-out").addEventListener("click", () => zoom(1 / 1.3));
  $("fit").addEventListener("click", () => fit());
  $("play").addEventListener("click", play);
  $("time").addEventListener("input", () => {
    pause();
    setTime(+$("time").value);
  });
  $("unfold").addEventListener("change", () => {
    unfold($("unfold").value);
    if (!isShown(selected)) select(0);
    start();
  });
  $("colour").addEventListener("change", () => {
    recolour();
    show(selected);
  });
  let waiting = 0;
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 200);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") canvas.focus();
  });
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches?.("input, select, textarea");
    if (event.key !== "/" || writing || $("tree").hidden) return;
    event.preventDefault();
    $("search").focus();
  });
  $("sheet").addEventListener("click", () => {
    const wide = $("panel").classList.toggle("open");
    $("sheet").setAttribute("aria-expanded", wide);
  });
  $("panel").addEventListener("transitionend", () => centre(selected));
  for (const button of document.querySelectorAll(".theme")) button.addEventListener("click", switchTheme);
  systemDark.addEventListener("change", retheme);
  window.addEventListener("hashchange", () => route().catch(fail));
  new ResizeObserver(() => tree && resize()).observe($("stage"));
}

window.addEventListener("error", (event) => fail(event.error ?? event.message));
window.addEventListener("unhandledrejection", (event) => fail(event.reason));
if (!("DecompressionStream" in window)) {
  fail("this browser is too old; use Chrome 113, Firefox 115, Safari 16.4 or later.");
} else {
  index = await unpack("index");
  retheme();
  listen();
  await route();
}
