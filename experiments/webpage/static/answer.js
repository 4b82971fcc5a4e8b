// The answer: the nearest entries, what is said of them, marks of right and wrong, and reconstruction maps.

import { ask } from "./server.js";

const PROVEN = { gallery: "against the whole gallery", stage: "against a stage", nothing: "no" };
const find = (id) => document.getElementById(id);

let shown = null; // the name of the answer on the page

// Takes the answer from the page, and its map.
export function empty() {
  shown = null;
  find("nothing-yet").hidden = false;
  find("legend").hidden = true;
  for (const id of ["sentences", "hits", "explanation"]) {
    find(id).replaceChildren();
  }
  find("explanation").hidden = true;
}

// Shows an answer; `report` gets marks after each mark, `fail` an error.
export function show(answer, report, fail) {
  shown = answer.answer;
  find("nothing-yet").hidden = true;
  find("legend").hidden = false;
  find("sentences").replaceChildren(...[...answer.sentences, ...answer.remarks.filter((text) => !answer.sentences.includes(text))].map((text) => filled("li", text)));
  find("sentences").classList.toggle("nobody", answer.nobody === true);
  find("hits").replaceChildren(...answer.hits.map((hit) => card(answer.answer, hit, report, fail)));
  find("explanation").hidden = true;
  find("explanation").replaceChildren();
}

function card(answer, hit, report, fail) {
  const one = find("hit").content.cloneNode(true).firstElementChild;
  const place = `/answers/${encodeURIComponent(answer)}/${hit.rank}`;
  const picture = one.querySelector("img");
  picture.alt = `Picture of ${hit.name}`;
  picture.addEventListener("error", () => picture.replaceWith(filled("span", "no picture here")));
  picture.src = `${place}/picture`;
  one.querySelector("h3").textContent = `${hit.rank}. ${hit.identity ?? hit.name}`;
  one.querySelector("dl").append(...facts(hit).flatMap(([name, text]) => [filled("dt", name), filled("dd", text)]));
  const why = one.querySelector(".why");
  why.setAttribute("aria-label", `Why ${hit.name}? Show the reconstruction map`);
  why.addEventListener("click", () => explain(answer, place, why).catch((error) => shown === answer && fail(error)));
  const verdict = one.querySelector(".verdict");
  verdict.setAttribute("aria-label", `Is ${hit.name} the right person?`);
  for (const button of verdict.children) {
    button.addEventListener("click", () => mark(place, verdict, button, report).catch(fail));
  }
  return one;
}

function facts(hit) {
  const { cells } = hit;
  const found = [["Distance", `${cells.distance} (${cells.interval})`], ["Proven place", PROVEN[hit.proven]]];
  if (hit.probability !== null) {
    found.push(["Probability", cells.probability]);
  }
  if (hit.identity !== null) {
    found.push(["Name", hit.name]);
  }
  for (const [name, key] of [["Camera", "camera"], ["Time", "time"]]) {
    if (cells[key] !== "-") {
      found.push([name, cells[key]]);
    }
  }
  return found;
}

async function mark(place, verdict, button, report) {
  const wanted = button.getAttribute("aria-pressed") === "true" ? "none" : button.dataset.verdict;
  const marks = await (await ask("POST", `${place}/mark`, { query: { verdict: wanted } })).json();
  for (const one of verdict.children) {
    one.setAttribute("aria-pressed", String(one.dataset.verdict === wanted));
  }
  report(marks);
}

async function explain(answer, place, why) {
  why.setAttribute("aria-busy", "true");
  why.disabled = true;
  try {
    const text = await (await ask("GET", `${place}/map`)).text();
    if (shown !== answer) {
      return;
    }
    const panel = find("explanation");
    const piece = document.createElement("template");
    piece.innerHTML = text;
    // The page's policy allows no styles in HTML; a script may set them.
    for (const element of piece.content.querySelectorAll("[data-style]")) {
      element.style.cssText = element.dataset.style;
      delete element.dataset.style;
    }
    panel.replaceChildren(piece.content, closing(panel, why));
    panel.hidden = false;
    panel.querySelectorAll(".map").forEach((map) => window.follow(map));
    panel.scrollIntoView({ block: "start" });
    panel.focus({ preventScroll: true });
  } finally {
    why.removeAttribute("aria-busy");
    why.disabled = false;
  }
}

function closing(panel, why) {
  const button = filled("button", "Close the map");
  button.type = "button";
  button.addEventListener("click", () => {
    panel.hidden = true;
    panel.replaceChildren();
    why.focus();
  });
  return button;
}

function filled(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}
