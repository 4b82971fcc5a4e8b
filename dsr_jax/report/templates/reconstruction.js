// What reacts in the reconstruction maps. A position of either picture is chosen by click, tap or keyboard, and looked
// at while a mouse points at it; the positions of the other picture that share a code with it are then marked.
"use strict";

for (const map of document.querySelectorAll(".map")) {
  follow(map);
}

function follow(map) {
  const { codes, start } = JSON.parse(map.querySelector("script").textContent);
  const largest = codes.reduce((most, code) => Math.max(most, Math.abs(code[2])), 0);
  const grids = [...map.querySelectorAll(".grid")];
  const cells = grids.map((grid) => [...grid.querySelectorAll(".cell")]);
  const said = map.querySelector(".said");
  let chosen = [0, start];

  // Side 0 is the probe, side 1 the gallery image; a code is [probe position, gallery position, number].
  function show([side, place]) {
    const other = 1 - side;
    const found = codes.filter((code) => code[side] === place);
    cells.flat().forEach(clear);
    grids[side].classList.remove("veiled");
    grids[other].classList.add("veiled");
    cells[side][place].classList.add("chosen");
    for (const code of found) {
      mark(cells[other][code[other]], code[2], Math.abs(code[2]) / largest);
    }
    const strongest = found.reduce((best, code) => (!best || Math.abs(code[2]) > Math.abs(best[2]) ? code : best), null);
    const partner = strongest && cells[other][strongest[other]];
    const text = sentence(side, cells[side][place], partner, strongest && strongest[2], found.length - 1);
    if (said.textContent !== text) {
      said.textContent = text;
    }
  }

  function choose(side, place) {
    cells[chosen[0]][chosen[1]].setAttribute("aria-selected", "false");
    cells[side].forEach((cell, i) => cell.setAttribute("tabindex", i === place ? "0" : "-1"));
    cells[side][place].setAttribute("aria-selected", "true");
    chosen = [side, place];
    show(chosen);
  }

  grids.forEach((grid, side) => {
    const columns = grid.firstElementChild.childElementCount;
    const place = (event) => cells[side].indexOf(event.target.closest(".cell"));
    grid.setAttribute("role", "grid");
    cells[side].forEach((cell, i) => {
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("tabindex", i === 0 ? "0" : "-1");
      cell.setAttribute("aria-selected", "false");
    });
    grid.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch" && place(event) >= 0) {
        show([side, place(event)]);
      }
    });
    grid.addEventListener("pointerleave", () => show(chosen));
    grid.addEventListener("focusin", (event) => choose(side, place(event)));
    grid.addEventListener("click", (event) => place(event) >= 0 && choose(side, place(event)));
    grid.addEventListener("keydown", (event) => {
      const next = moved(event, place(event), columns, cells[side].length);
      if (next !== null) {
        event.preventDefault();
        cells[side][next].focus();
      }
    });
  });
  choose(...chosen);
  said.setAttribute("role", "status"); // only now, so that the first sentence of every map is not read out
}

// The position that a key leads to, null for keys that lead nowhere.
function moved(event, place, columns, count) {
  const column = place % columns;
  switch (event.key) {
    case "ArrowLeft": return column > 0 ? place - 1 : place;
    case "ArrowRight": return column < columns - 1 ? place + 1 : place;
    case "ArrowUp": return place >= columns ? place - columns : place;
    case "ArrowDown": return place + columns < count ? place + columns : place;
    case "Home": return event.ctrlKey ? 0 : place - column;
    case "End": return event.ctrlKey ? count - 1 : place - column + columns - 1;
    default: return null;
  }
}

function clear(cell) {
  cell.classList.remove("chosen", "part", "negative");
  cell.style.removeProperty("--strength");
  delete cell.dataset.code;
}

function mark(cell, code, strength) {
  cell.classList.add("part");
  cell.classList.toggle("negative", code < 0);
  cell.style.setProperty("--strength", strength.toFixed(3));
  cell.dataset.code = number(code);
}

// Two decimals, or the first digit of what they would not show.
function number(code) {
  const size = Math.abs(code);
  return (code < 0 ? "\u2212" : "") + (size >= 0.0095 ? size.toFixed(2) : size.toPrecision(1));
}

function sentence(side, cell, partner, code, others) {
  const name = cell.getAttribute("aria-label");
  const also = others === 1 ? " and 1 other" : others > 1 ? ` and ${others} others` : "";
  if (cell.classList.contains("nothing")) {
    return `Probe ${name}.`;
  }
  if (side === 0) {
    const from = partner ? `from gallery ${partner.getAttribute("aria-label")} (${number(code)})${also}` : "from nothing";
    return `Probe ${name}, ${from}.`;
  }
  const helped = partner && partner.getAttribute("aria-label").split(":")[0];
  return `Gallery ${name}: ${helped ? `helped to rebuild probe ${helped} (${number(code)})${also}` : "rebuilt nothing"}.`;
}
