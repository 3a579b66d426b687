"use strict";

// The page is complete without this script. What it adds: search, sorting, fewer rows at first, values under the pointer.

const ROWS_AT_A_GLANCE = 12;
const ROWS_AT_FIRST = 40;
// A browser lays out so many rows at once without a pause; ten thousand take it seconds.
const ROWS_MORE = 1000;
const BY_NAME = new Intl.Collator("en", { numeric: true });

function sortKey(row, column) {
  const cell = row.cells[column];
  return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
}

function compare(left, right) {
  if (typeof left === "number" && typeof right === "number") return left < right ? -1 : left > right ? 1 : 0;
  return BY_NAME.compare(String(left), String(right));
}

function enliven(data) {
  const table = data.querySelector("table");
  const body = table.tBodies[0];
  const search = data.querySelector("input[type=search]");
  const only = data.querySelector("input[type=checkbox]");
  const count = data.querySelector("output");
  const more = data.querySelector(".more");
  const original = Array.from(body.rows);
  const texts = new Map(original.map((row) => [row, row.textContent.toLowerCase()]));
  let rows = original;
  let limit = ROWS_AT_FIRST;

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(
      (row) => (!only.checked || "notable" in row.dataset) && words.every((word) => texts.get(row).includes(word))
    );
    const shown = found.slice(0, limit);
    body.replaceChildren(...shown);
    const all = original.length.toLocaleString("en");
    const kept = found.length === original.length ? all : `${found.length.toLocaleString("en")} of ${all}`;
    const cut = shown.length < found.length ? `, ${shown.length.toLocaleString("en")} shown` : "";
    count.textContent = `${kept} rows${cut}`;
    more.hidden = shown.length === found.length;
    const hidden = found.length - shown.length;
    more.textContent = hidden > ROWS_MORE ? `Show ${ROWS_MORE.toLocaleString("en")} more rows` : "Show all rows";
  }

  function sort(heading, column) {
    const state = heading.getAttribute("aria-sort");
    const next = state === null ? "ascending" : state === "ascending" ? "descending" : null;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    if (next === null) {
      rows = original;
    } else {
      heading.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const keys = new Map(original.map((row) => [row, sortKey(row, column)]));
      rows = original.slice().sort((left, right) => sign * compare(keys.get(left), keys.get(right)));
    }
    show();
  }

  for (const [column, heading] of Array.from(table.tHead.rows[0].cells).entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(heading, column));
    heading.append(button);
  }
  search.addEventListener("input", show);
  only.addEventListener("change", show);
  more.addEventListener("click", () => {
    limit += ROWS_MORE;
    show();
  });
  const isMixed = original.some((row) => "notable" in row.dataset);
  only.parentElement.hidden = !isMixed;
  data.querySelector(".tools").hidden = original.length < ROWS_AT_A_GLANCE && !isMixed;
  show();
}

function tellValues(figure) {
  const readout = figure.querySelector(".readout");
  figure.addEventListener("pointerover", (event) => {
    const column = event.target.closest(".column");
    if (column === null) return;
    readout.textContent = column.textContent.split("\n").join(" · ");
    readout.hidden = false;
  });
}

function saveReport() {
  const link = document.createElement("a");
  const content = document.getElementById("report").textContent;
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = "verification.json";
  link.click();
  URL.revokeObjectURL(link.href);
}

document.querySelectorAll(".data").forEach(enliven);
document.querySelectorAll("figure").forEach(tellValues);
const save = document.getElementById("save");
save.hidden = false;
save.addEventListener("click", saveReport);
