"use strict";

// Tables: a button in the head sorts, rows without a figure stay last.
function cellAt(row, column) {
  let place = 0;
  for (const cell of row.cells) {
    if (place === column) return cell.colSpan > 1 ? null : cell;
    place += cell.colSpan;
    if (place > column) return null;
  }
  return null;
}

function valueOf(row, column, kind) {
  const cell = cellAt(row, column);
  if (!cell) return null;
  const text = (cell.dataset.value ?? cell.textContent).trim();
  if (text === "" || text === "–") return null;
  if (kind === "text") return text;
  const number = Number(text.replace(/,/g, "").replace("−", "-"));
  return Number.isNaN(number) ? null : number;
}

function sort(button) {
  const head = button.closest("th");
  const table = head.closest("table");
  const column = [...head.parentElement.cells].indexOf(head);
  const { kind, first } = button.dataset;
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  for (const each of head.parentElement.cells) if (each.hasAttribute("aria-sort")) each.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [valueOf(row, column, kind), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (kind === "text" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  });
  body.append(...keyed.map(([, row]) => row));
}

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => sort(button));
}

// Filters: a field of text and, in the index, choices by column.
function filter(field) {
  const tools = field.closest(".tools");
  const text = tools.querySelector("input[type=search]");
  const choices = [...tools.querySelectorAll("select")].filter((each) => each.value !== "");
  const table = document.getElementById(text.dataset.table);
  const items = [...(table ? table.tBodies[0].rows : document.getElementById(text.dataset.list).children)];
  const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    const content = (table ? item.textContent : item.textContent + item.querySelector(".file").title).toLowerCase();
    item.hidden = !words.every((word) => content.includes(word)) ||
      !choices.every((each) => item.dataset[each.dataset.column] === each.value);
    shown += !item.hidden;
  }
  tools.querySelector("output").textContent = `${shown} of ${items.length}`;
}

for (const field of document.querySelectorAll(".tools input, .tools select")) {
  for (const event of ["input", "change"]) field.addEventListener(event, () => filter(field));
  field.form?.addEventListener("submit", (event) => event.preventDefault());
  if (field.value) filter(field); // a browser keeps what was typed before a reload
}

// The confusion matrix: drawn in the page's colours, explored by pointer, finger or arrow keys.
function matrix(canvas, told, data) {
  const size = data.classes.length;
  const counts = new Map();
  for (let i = 0; i < data.cells.length; i += 3) counts.set(data.cells[i] * size + data.cells[i + 1], data.cells[i + 2]);
  const share = (row, column) => (counts.get(row * size + column) ?? 0) / (data.images[row] || 1);
  let at = null; // [row, column]
  const plain = document.createElement("canvas"); // the matrix without its cross
  let margin = 0;
  let cell = 1;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function clipped(context, text, room) {
    if (context.measureText(text).width <= room) return text;
    let end = text.length;
    while (end > 1 && context.measureText(text.slice(0, end) + "…").width > room) end -= 1;
    return text.slice(0, end) + "…";
  }

  function draw() {
    const width = canvas.clientWidth;
    if (!width) return; // not laid out yet; resizing comes here again
    const ratio = window.devicePixelRatio || 1;
    const font = (pixels) => `${pixels}px ${getComputedStyle(document.body).fontFamily}`;
    const room = Math.min(128, width * 0.16);
    const named = (width - room) / size >= 7.5;
    const letters = Math.min(12, Math.max(7.5, (width - room) / size - 0.5));
    const measure = canvas.getContext("2d");
    measure.font = font(letters);
    const longest = Math.max(...data.classes.map((name) => measure.measureText(name).width));
    margin = named ? Math.min(room, longest + 8) : 0;
    const side = Math.min(width - margin, Math.max(340, size * 44));
    cell = side / size;
    canvas.style.height = `${margin + side}px`;
    for (const each of [canvas, plain]) {
      each.width = Math.round(width * ratio);
      each.height = Math.round((margin + side) * ratio);
    }
    const context = plain.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = colour("--raised");
    context.fillRect(margin, margin, side, side);
    const right = colour("--right");
    const wrong = colour("--wrong");
    const gap = cell > 5 ? 0.5 : 0;
    const drawn = cell < 2 ? 1.6 : cell - gap;
    const faintest = cell < 3 ? 0.5 : 0.12; // a lone dot must show
    for (const [place] of counts) {
      const row = Math.floor(place / size);
      const column = place % size;
      context.globalAlpha = faintest + (1 - faintest) * Math.sqrt(share(row, column));
      context.fillStyle = row === column ? right : wrong;
      context.fillRect(margin + column * cell, margin + row * cell, drawn, drawn);
    }
    context.globalAlpha = 1;
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.strokeRect(margin + 0.5, margin + 0.5, side - 1, side - 1);
    if (cell >= 26) numbers(context, font(Math.min(13, cell * 0.3)));
    if (named) names(context, font(letters));
    cross();
  }

  function numbers(context, font) {
    context.font = font;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [place, count] of counts) {
      const row = Math.floor(place / size);
      const column = place % size;
      context.fillStyle = colour(share(row, column) > 0.3 ? "--ground" : "--ink");
      context.fillText(count, margin + (column + 0.5) * cell, margin + (row + 0.5) * cell);
    }
  }

  function names(context, font) {
    context.font = font;
    context.fillStyle = colour("--quiet");
    context.textBaseline = "middle";
    data.classes.forEach((name, i) => {
      const text = clipped(context, name, margin - 5);
      context.textAlign = "right";
      context.fillText(text, margin - 5, margin + (i + 0.5) * cell);
      context.save();
      context.translate(margin + (i + 0.5) * cell, margin - 5);
      context.rotate(-Math.PI / 2);
      context.textAlign = "left";
      context.fillText(text, 0, 0);
      context.restore();
    });
  }

  function cross() {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(plain, 0, 0);
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!at) return;
    const [row, column] = at;
    const x = margin + column * cell;
    const y = margin + row * cell;
    const side = size * cell;
    context.fillStyle = colour("--ink");
    context.globalAlpha = 0.1;
    context.fillRect(margin, y, side, cell);
    context.fillRect(x, margin, cell, side);
    context.globalAlpha = 1;
    context.strokeStyle = colour("--ink");
    context.lineWidth = 1.5;
    const box = Math.max(cell, 5);
    context.strokeRect(x + (cell - box) / 2, y + (cell - box) / 2, box, box);
  }

  function tell() {
    const [row, column] = at;
    const count = counts.get(row * size + column) ?? 0;
    const percent = (100 * share(row, column)).toFixed(1);
    const of = `${count.toLocaleString("en")} of ${data.images[row].toLocaleString("en")} images, ${percent} %`;
    told.replaceChildren();
    const label = document.createElement("b");
    label.textContent = data.classes[row];
    told.append(label);
    if (row === column) {
      told.append(` was right: ${of}`);
    } else {
      const taken = document.createElement("b");
      taken.textContent = data.classes[column];
      told.append(" taken for ", taken, `: ${of}`);
    }
  }

  function move(row, column) {
    const last = size - 1;
    at = [Math.min(last, Math.max(0, row)), Math.min(last, Math.max(0, column))];
    cross();
    tell();
  }

  function pointed(event) {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - margin) / cell);
    const column = Math.floor((event.clientX - box.left - margin) / cell);
    if (row < 0 || column < 0 || row >= size || column >= size) return;
    const reach = Math.floor(3 / cell); // where cells are tiny, the nearest that holds something
    for (let away = 0; away <= reach; away += 1) {
      for (let down = -away; down <= away; down += 1) {
        for (let across = -away; across <= away; across += 1) {
          const near = [row + down, column + across];
          const inside = near.every((place) => place >= 0 && place < size);
          if (inside && Math.max(Math.abs(down), Math.abs(across)) === away && counts.has(near[0] * size + near[1])) {
            move(...near);
            return;
          }
        }
      }
    }
    move(row, column);
  }

  function nextMistake([row, column]) {
    const places = [...counts.keys()].filter((place) => Math.floor(place / size) !== place % size); // in reading order
    const next = places.find((place) => place > row * size + column) ?? places[0] ?? row * size + column;
    return [Math.floor(next / size), next % size];
  }

  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const from = at ?? [0, 0];
    if (steps[event.key]) move(from[0] + (at ? steps[event.key][0] : 0), from[1] + (at ? steps[event.key][1] : 0));
    else if (event.key === "Home") move(from[0], from[0]);
    else if (event.key.toLowerCase() === "n") move(...nextMistake(from));
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", pointed);
  canvas.addEventListener("pointerdown", pointed);
  let width = canvas.clientWidth;
  window.addEventListener("resize", () => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    draw();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}

const data = document.getElementById("matrix-data");
if (data) matrix(document.getElementById("cells"), document.getElementById("cell"), JSON.parse(data.textContent));
