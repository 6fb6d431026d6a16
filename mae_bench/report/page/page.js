"use strict";
// Sorts, filters and opens details of what the page already holds; nothing is fetched or written.
(() => {
const byId = (id) => document.getElementById(id);
const STEP = 60; // lines that the table grows by, so that thousands stay as quick as dozens

// What the reader chose, which the address keeps so that a view can be sent.
const view = { words: "", sort: "", down: false, off: new Set(), open: "" };

const box = byId("board-box"), table = byId("board"), body = table.tBodies[0];
const heads = [...table.tHead.rows[1].cells], groups = [...table.tHead.rows[0].cells];
const lines = [...body.rows];
const rows = lines.filter((line) => line.dataset.words !== undefined);
const ticks = [...document.querySelectorAll("input[data-of]")];
const hiding = new CSSStyleSheet();
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
let matching = lines, limit = STEP, hidingRule = "";

function matches(row) {
  const { kind, arch, stamp, words } = row.dataset;
  if (view.off.has(`kind:${kind}`) || view.off.has(`arch:${arch}`)) return false;
  if (stamp !== undefined && view.off.has(`stamp:${stamp}`)) return false;
  return view.words.toLowerCase().split(/\s+/).every((word) => words.includes(word));
}

// Bands stay above their rows while the order is the table's own, and only if they have any.
function banded(kept) {
  const found = [];
  let band = null;
  for (const line of lines) {
    if (line.dataset.words === undefined) band = line;
    else if (kept.has(line)) {
      if (band) found.push(band);
      band = null;
      found.push(line);
    }
  }
  return found;
}

function sorted(kept) {
  const place = heads.findIndex((head) => head.dataset.id === view.sort);
  const isText = heads[place].dataset.sort === "text";
  const sign = view.down ? -1 : 1;
  const keyed = kept.map((row) => {
    const value = row.cells[place].dataset.v;
    return { row, key: value === undefined ? null : isText ? value : Number(value) };
  });
  const compare = isText ? collator.compare : (one, other) => one - other;
  keyed.sort((one, other) => {
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
    return sign * compare(one.key, other.key);
  });
  return keyed.map(({ row }) => row);
}

function showRows() {
  const kept = rows.filter(matches);
  matching = view.sort ? sorted(kept) : banded(new Set(kept));
  limit = STEP;
  body.replaceChildren(...matching.slice(0, limit));
  for (const head of heads) {
    const order = view.down ? "descending" : "ascending";
    if (head.dataset.id === view.sort) head.setAttribute("aria-sort", order);
    else head.removeAttribute("aria-sort");
  }
  const by = heads.find((head) => head.dataset.id === view.sort);
  const end = view.down ? "highest" : "lowest";
  const order = !by || by.dataset.sort === "text" ? "" : `, ${end} first`;
  const how = by ? `, sorted by ${by.querySelector("span").textContent}${order}` : "";
  byId("count").textContent = `${kept.length} of ${rows.length} rows${how}`;
}

function growRows(until) {
  body.append(...matching.slice(limit, until));
  limit = Math.max(limit, until);
}

// --- columns ----------------------------------------------------------------------------------
function isHidden(head) {
  return view.off.has(`column:${head.dataset.id}`) || view.off.has(`task:${head.dataset.task}`);
}

function showColumns() {
  const hidden = heads.flatMap((head, place) => (isHidden(head) ? [`#board .c${place - 1}`] : []));
  const rule = hidden.length ? `${hidden.join(",")}{display:none}` : "";
  if (rule === hidingRule) return; // replacing it would style the whole page again
  hidingRule = rule;
  hiding.replaceSync(rule);
  for (const group of groups.slice(1)) {
    const inside = heads.filter((head, place) => place && head.dataset.task === group.dataset.task);
    const width = inside.filter((head) => !isHidden(head)).length;
    group.hidden = width === 0;
    group.colSpan = Math.max(1, width);
  }
}

// --- the address ------------------------------------------------------------------------------
function writeAddress() {
  const found = new URLSearchParams();
  if (view.words) found.set("words", view.words);
  if (view.sort) found.set("sort", view.sort);
  if (view.down) found.set("down", "1");
  for (const name of view.off) found.append("off", name);
  if (view.open) found.set("open", view.open);
  const text = found.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function readAddress() {
  const text = location.hash.slice(1);
  if (text && !text.includes("=")) return openTarget(text, false);
  const found = new URLSearchParams(text);
  view.words = found.get("words") ?? "";
  const wanted = found.get("sort");
  view.sort = heads.some((head) => head.dataset.id === wanted) ? wanted : "";
  view.down = found.has("down");
  view.off = new Set(found.getAll("off"));
  byId("words").value = view.words;
  for (const tick of ticks) tick.checked = !view.off.has(`${tick.dataset.of}:${tick.value}`);
  showAll();
  if (found.get("open")) openTarget(found.get("open"), false);
}

function showAll() {
  for (const menu of document.querySelectorAll(".menu")) {
    const own = [...menu.querySelectorAll("input")];
    const on = own.filter((tick) => tick.checked).length;
    menu.querySelector(".some").textContent = on < own.length ? `${on}/${own.length}` : "";
  }
  byId("reset").disabled = !(view.words || view.sort || view.off.size);
  showColumns();
  showRows();
}

function change() {
  showAll();
  writeAddress();
}

// --- details ----------------------------------------------------------------------------------
const dialog = byId("dialog"), panel = byId("panel"), place = document.createComment("details");

function openTarget(name, inView = true) {
  const target = byId(name), section = target && target.closest(".detail");
  if (!section) return false;
  putBack();
  section.replaceWith(place); // where it goes back to
  panel.replaceChildren(section);
  dialog.setAttribute("aria-labelledby", `${section.id}-name`);
  if (!dialog.open) dialog.showModal();
  if (target !== section) {
    target.open = true; // a job
    target.scrollIntoView();
    target.querySelector("summary").focus();
  } else dialog.scrollTop = 0;
  view.open = name;
  if (inView) writeAddress();
  return true;
}

function putBack() {
  if (panel.firstChild) place.replaceWith(panel.firstChild);
}

// --- a hint at what is pointed at or has the keyboard ------------------------------------------
const tip = byId("tip");
let tipped = null;

function showTip(target) {
  hideTip();
  if (!target) return;
  if (target.title) {
    target.dataset.tip = target.title; // the browser's own would come twice
    target.removeAttribute("title");
  }
  tipped = target;
  tip.textContent = target.dataset.tip;
  (dialog.open ? dialog : document.body).append(tip);
  tip.hidden = false;
  target.setAttribute("aria-describedby", "tip");
  placeTip();
}

function placeTip() {
  if (!tipped) return;
  const at = tipped.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const left = Math.min(at.left, document.documentElement.clientWidth - own.width - 8);
  const above = at.bottom + own.height + 10 > innerHeight;
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above ? Math.max(8, at.top - own.height - 4) : at.bottom + 4}px`;
}

function hideTip() {
  if (tipped) tipped.removeAttribute("aria-describedby");
  tipped = null;
  tip.hidden = true;
}

// --- light and dark ---------------------------------------------------------------------------
const THEMES = ["auto", "light", "dark"];

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = `Theme: ${name}`;
}

function keptTheme() {
  try { return localStorage.getItem("mae-bench theme") ?? "auto"; } catch { return "auto"; }
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3];
  setTheme(next);
  try { localStorage.setItem("mae-bench theme", next); } catch { /* then it is for now only */ }
}

// --- what the reader does -----------------------------------------------------------------------
function sortBy(head) {
  const first = head.dataset.sort === "number"; // most first; texts and losses begin at the least
  if (view.sort !== head.dataset.id) Object.assign(view, { sort: head.dataset.id, down: first });
  else if (view.down === first) view.down = !first;
  else Object.assign(view, { sort: "", down: false });
  change();
}

table.tHead.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) sortBy(button.parentElement);
});
byId("words").addEventListener("input", (event) => {
  view.words = event.target.value.trim();
  change();
});
byId("controls").addEventListener("change", (event) => {
  const tick = event.target;
  if (!tick.dataset.of) return;
  view.off[tick.checked ? "delete" : "add"](`${tick.dataset.of}:${tick.value}`);
  change();
});
byId("reset").addEventListener("click", () => {
  Object.assign(view, { words: "", sort: "", down: false, off: new Set() });
  byId("words").value = "";
  for (const tick of ticks) tick.checked = true;
  change();
  byId("words").focus();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && openTarget(link.getAttribute("href").slice(1))) event.preventDefault();
  for (const menu of document.querySelectorAll(".menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  hideTip();
  const menu = document.querySelector(".menu[open]");
  if (!menu || dialog.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
for (const menu of document.querySelectorAll(".menu")) {
  menu.addEventListener("toggle", () => { // within the screen
    const list = menu.lastElementChild;
    list.style.left = "0";
    const over = list.getBoundingClientRect().right + 8 - document.documentElement.clientWidth;
    list.style.left = `${-Math.max(0, over)}px`;
  });
}
for (const kind of ["mouseover", "focusin"]) {
  document.addEventListener(kind, (event) => {
    const target = event.target.closest("[title], [data-tip]");
    if (target !== tipped && !tip.contains(event.target)) showTip(target);
  });
}
document.addEventListener("scroll", placeTip, { capture: true, passive: true });
box.addEventListener("scroll", () => {
  const near = box.scrollTop + 2 * box.clientHeight > box.scrollHeight;
  if (near && limit < matching.length) growRows(limit + STEP);
}, { passive: true });
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  hideTip();
  putBack();
  view.open = "";
  writeAddress();
});
byId("theme").addEventListener("click", nextTheme);
addEventListener("hashchange", readAddress);
addEventListener("beforeprint", () => growRows(matching.length));
document.documentElement.classList.add("js");
document.adoptedStyleSheets = [hiding];
byId("controls").hidden = byId("theme").hidden = false;
setTheme(keptTheme());
showAll();
readAddress();
})();
