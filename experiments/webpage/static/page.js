// What happens on the page: a picture comes, a part of it is marked, it is searched, added, and marks are used.

import { empty, show } from "./answer.js";
import { Probe } from "./probe.js";
import { ask } from "./server.js";

const find = (id) => document.getElementById(id);
const HELP = {
  box: "Draw a box around the visible part. Keys: arrows move it, with Shift they change its size.",
  paint: "Paint over what is visible of the person. Keys: arrows move the brush, Space paints.",
  erase: "Wipe paint away. Keys: arrows move the brush, Space wipes.",
};
const probe = new Probe(find("canvas"), changed);
let state = null;
let given = 0; // pictures that came
let searching = null; // what gives up the search under way
let speaking = 0;

function say(text) {
  find("status").textContent = text;
}

function fail(error) {
  say("");
  find("error").textContent = error.message;
  find("error").hidden = false;
}

function clear() {
  find("error").hidden = true;
  find("error").textContent = "";
}

// The gallery

async function look() {
  state = await (await ask("GET", "/state")).json();
  const { pictures, calibration } = state;
  const judged = calibration ? `probabilities were fitted on ${calibration.pairs[0]} right and ${calibration.pairs[1]} wrong pairs` : "no probabilities are known yet";
  find("gallery").textContent = `The gallery has ${pictures.toLocaleString("en")} ${pictures === 1 ? "picture" : "pictures"}; ${judged}.`;
  find("k").value ||= state.k;
  find("k").max = state.most;
  find("add-identity-field").hidden = !state.identities;
  find("add-identity").required = state.identities;
  cameras();
  find("times").hidden = state.times === null;
  if (state.times) {
    const [first, last] = state.times.map((time) => new Date(1000 * time).toLocaleString());
    find("times-help").textContent = `Known times are from ${first} to ${last}.`;
  }
  find("scale").hidden = state.scales.length < 2;
  marks(state.marks);
}

function cameras() {
  const before = chosen();
  find("cameras").hidden = state.cameras.length < 2;
  find("cameras").querySelector("div").replaceChildren(
    ...state.cameras.map((camera) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", value: camera, checked: before.includes(String(camera)) });
      label.className = "choice";
      label.append(box, ` ${camera}`);
      return label;
    }),
  );
}

const chosen = () => [...find("cameras").querySelectorAll(":checked")].map((box) => box.value);

function marks({ right, wrong, needed }) {
  const enough = Math.min(right, wrong) >= needed;
  find("marks-said").textContent =
    `${right} ${right === 1 ? "answer is" : "answers are"} marked right and ${wrong} wrong. ` +
    (enough
      ? "That is enough to fit probabilities; they take the place of those that the gallery has."
      : `With ${needed} of each, probabilities can be fitted on them.`);
  find("calibrate").disabled = !enough;
}

// The picture

async function take(file, number) {
  clear();
  const { bytes, pixels, types } = state.limits;
  if (!types.includes(file.type)) {
    throw new Error(`${file.name || "This"} is no JPEG, PNG, WebP or BMP picture: take another file.`);
  }
  if (file.size > bytes) {
    throw new Error(`The file has ${(file.size / 1e6).toFixed(1)} MB, more than ${bytes / 1e6} MB: make the picture smaller.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error("This picture cannot be read: save it again as JPEG or PNG.");
  }
  if (number !== given) {
    return; // another one came meanwhile
  }
  if (bitmap.width * bitmap.height > pixels) {
    throw new Error(`The picture has more than ${pixels / 1e6} million pixels: make it smaller.`);
  }
  searching?.abort();
  empty();
  for (const id of ["part", "go", "add"]) {
    find(id).hidden = false;
  }
  [bitmap.width, bitmap.height].forEach((side, i) => {
    find(`box-${i}`).max = side - 1;
    find(`box-${i + 2}`).max = side;
  });
  probe.show(file, bitmap);
  say(`Your picture has ${bitmap.width} x ${bitmap.height} pixels.`);
}

function taken(files) {
  const file = [...(files || [])][0];
  if (file) {
    const number = ++given;
    looked.then(() => take(file, number)).catch((error) => number === given && fail(error));
  }
}

function changed(what) {
  probe.box.forEach((side, i) => (find(`box-${i}`).value = side));
  clearTimeout(speaking);
  const text = what === "cursor" ? `Brush at ${probe.cursor.map(Math.round).join(", ")}.` : probe.describe();
  speaking = setTimeout(() => (find("canvas-status").textContent = text), 400);
}

function tool(name) {
  probe.tool = name;
  find("canvas-help").textContent = HELP[name];
  find("brush").hidden = name === "box";
  probe.draw();
}

// The search

const seconds = (id) => (find(id).value ? new Date(find(id).value).getTime() / 1000 : "");

async function search() {
  searching?.abort();
  const mine = (searching = new AbortController());
  const { signal } = mine;
  const scale = document.querySelector("[name=scale]:checked").value;
  const query = { ...probe.parameters(), cameras: chosen().join(","), after: seconds("after"), before: seconds("before"), k: find("k").value, scale };
  clear();
  say("Searching …");
  find("search").setAttribute("aria-busy", "true");
  try {
    const waiting = (time) => say(`Many are searching: another try in ${time} seconds.`);
    const answer = await (await ask("POST", "/search", { query, body: probe.file, signal, waiting })).json();
    if (!signal.aborted) {
      show(answer, (counts) => (marks(counts), say("The mark is kept.")), fail);
      say(`Found ${answer.hits.length} of ${answer.searched}. ${answer.nobody ? "Nobody in this gallery is near enough." : ""}`);
      find("answer").focus({ preventScroll: innerWidth > 900 });
    }
  } catch (error) {
    if (!signal.aborted) {
      throw error;
    }
  } finally {
    if (mine === searching) {
      find("search").removeAttribute("aria-busy");
    }
  }
}

async function add() {
  clear();
  const labels = Object.fromEntries(["name", "identity", "camera"].map((key) => [key, find(`add-${key}`).value.trim()]));
  const query = { ...probe.parameters(), ...labels, time: seconds("add-time") };
  const entry = await (await ask("POST", "/entries", { query, body: probe.file })).json();
  await look();
  say(`${entry.name} is in the gallery, which has ${entry.pictures} pictures now.`);
}

async function calibrate() {
  clear();
  const { pairs } = await (await ask("POST", "/calibration")).json();
  await look();
  say(`Probabilities are fitted on ${pairs[0]} right and ${pairs[1]} wrong answers: search again to see them.`);
}

function filters() {
  const count = [chosen().length, find("after").value, find("before").value].filter(Boolean).length;
  find("filters-said").textContent = count ? `(${count} in use)` : "";
}

find("file").addEventListener("change", (event) => taken(event.target.files));
document.addEventListener("paste", (event) => event.clipboardData.files.length && taken(event.clipboardData.files));
for (const name of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // a picture that is dropped beside must not be opened in the place of the page
    find("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") {
      taken(event.dataTransfer.files);
    }
  });
}
for (const radio of document.querySelectorAll("[name=tool]")) {
  radio.addEventListener("change", () => tool(radio.value));
}
for (const i of [0, 1, 2, 3]) {
  find(`box-${i}`).addEventListener("change", () => probe.setBox([0, 1, 2, 3].map((j) => Number(find(`box-${j}`).value))));
}
find("whole").addEventListener("click", () => probe.setBox([0, 0, probe.bitmap.width, probe.bitmap.height]));
find("unpaint").addEventListener("click", () => probe.unpaint());
find("brush-size").addEventListener("input", (event) => ((probe.brush = Number(event.target.value)), probe.draw()));
find("go").addEventListener("change", filters);
find("add-form").addEventListener("submit", (event) => {
  event.preventDefault();
  add().catch(fail);
});
find("search").addEventListener("click", () => search().catch(fail));
find("calibrate").addEventListener("click", () => calibrate().catch(fail));
tool("box");
const looked = look(); // a picture that comes earlier waits for it
looked.catch(fail);
