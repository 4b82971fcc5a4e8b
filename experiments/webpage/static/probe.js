// The picture that is searched for: its box and its paint, drawn by mouse, finger, pen and keyboard.

const FINE = 256; // rows or columns of the paint at most
const GRIP = 22; // CSS pixels around a corner of the box that take hold of it
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Probe {
  // `changed(what)` is called after every change of box or paint.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.tool = "box";
    this.brush = 9;
    this.paint = document.createElement("canvas");
    this.box = [0, 0, 0, 0];
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, () => this.end());
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  show(file, bitmap) {
    this.file = file;
    this.bitmap = bitmap;
    const most = Math.max(bitmap.width, bitmap.height);
    this.fine = Math.min(1, FINE / most); // paint pixels per picture pixel
    this.paint.width = Math.max(1, Math.round(bitmap.width * this.fine));
    this.paint.height = Math.max(1, Math.round(bitmap.height * this.fine));
    this.painted = false;
    this.cursor = [bitmap.width / 2, bitmap.height / 2];
    this.setBox([0, 0, bitmap.width, bitmap.height]);
  }

  // A box of whole pixels within the picture.
  setBox([left, top, width, height]) {
    const { width: wide, height: high } = this.bitmap;
    const within = (value, low, most) => Math.min(Math.max(Math.round(value) || 0, low), most);
    const x = within(left, 0, wide - 1);
    const y = within(top, 0, high - 1);
    this.box = [x, y, within(width, 1, wide - x), within(height, 1, high - y)];
    this.after("box");
  }

  get whole() {
    return this.box[2] === this.bitmap.width && this.box[3] === this.bitmap.height;
  }

  unpaint() {
    this.ink().clearRect(0, 0, this.paint.width, this.paint.height);
    this.painted = false;
    this.after("paint");
  }

  // What the server takes: the box, and what is painted in it, bit by bit.
  parameters() {
    const found = this.whole ? {} : { box: this.box.join(",") };
    if (this.painted) {
      const [x, y, width, height] = this.box.map((side) => side * this.fine);
      const columns = Math.min(FINE, Math.max(1, Math.round(width)));
      const rows = Math.min(FINE, Math.max(1, Math.round(height)));
      const part = document.createElement("canvas");
      part.width = columns;
      part.height = rows;
      const ink = part.getContext("2d");
      ink.drawImage(this.paint, x, y, Math.max(width, 1), Math.max(height, 1), 0, 0, columns, rows);
      const alpha = ink.getImageData(0, 0, columns, rows).data;
      const bits = new Uint8Array(Math.ceil((rows * columns) / 8));
      for (let i = 0; i < rows * columns; i++) {
        bits[i >> 3] |= (alpha[4 * i + 3] > 127) << (7 - (i & 7));
      }
      const text = btoa(String.fromCharCode(...bits)).replaceAll("+", "-").replaceAll("/", "_");
      found.mask = `${rows},${columns},${text}`;
    }
    return found;
  }

  describe() {
    const [left, top, width, height] = this.box;
    return `Box: left ${left}, top ${top}, ${width} wide, ${height} high.${this.painted ? " Paint is used, too." : ""}`;
  }

  // Pointers

  place(event) {
    const seen = this.canvas.getBoundingClientRect();
    this.scale = this.bitmap.width / seen.width; // picture pixels per CSS pixel
    return [(event.clientX - seen.left) * this.scale, (event.clientY - seen.top) * this.scale];
  }

  begin(event) {
    if (!this.bitmap || event.button > 0) {
      return;
    }
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    if (this.tool !== "box") {
      this.last = at;
      this.stroke(at, at);
      return;
    }
    const [left, top, width, height] = this.box;
    const corners = [[left, top], [left + width, top], [left, top + height], [left + width, top + height]];
    const reach = GRIP * this.scale;
    const corner = corners.findIndex(([x, y]) => Math.abs(x - at[0]) < reach && Math.abs(y - at[1]) < reach);
    if (corner >= 0) {
      this.fixed = corners[3 - corner]; // the corner across
    } else if (!this.whole && at[0] > left && at[0] < left + width && at[1] > top && at[1] < top + height) {
      this.grabbed = [at[0] - left, at[1] - top];
    } else {
      this.fixed = at;
    }
  }

  move(event) {
    if (!this.canvas.hasPointerCapture(event.pointerId)) {
      return;
    }
    const at = this.place(event);
    if (this.tool !== "box") {
      this.stroke(this.last, at);
      this.last = at;
    } else if (this.grabbed) {
      const [, , width, height] = this.box;
      this.moveTo(at[0] - this.grabbed[0], at[1] - this.grabbed[1], width, height);
    } else if (this.fixed) {
      const inside = [Math.min(Math.max(at[0], 0), this.bitmap.width), Math.min(Math.max(at[1], 0), this.bitmap.height)];
      const [x, y] = [0, 1].map((i) => Math.min(inside[i], this.fixed[i]));
      const [width, height] = [0, 1].map((i) => Math.abs(inside[i] - this.fixed[i]));
      if (Math.max(width, height) > 3 * this.scale) {
        this.setBox([x, y, width, height]);
      }
    }
  }

  end() {
    this.fixed = this.grabbed = undefined;
  }

  moveTo(left, top, width, height) {
    const x = Math.min(Math.max(left, 0), this.bitmap.width - width);
    const y = Math.min(Math.max(top, 0), this.bitmap.height - height);
    this.setBox([x, y, width, height]);
  }

  // Keys: arrows move the box or the brush, with Shift they change the size of the box, Space paints.

  key(event) {
    const step = KEYS[event.key];
    if (!this.bitmap || event.ctrlKey || event.altKey || event.metaKey) {
      return;
    }
    if (step) {
      event.preventDefault();
      const far = Math.max(1, Math.round(Math.max(this.bitmap.width, this.bitmap.height) / 50));
      const [dx, dy] = step.map((side) => side * far);
      const [left, top, width, height] = this.box;
      if (this.tool !== "box") {
        const { width: wide, height: high } = this.bitmap;
        this.cursor = [Math.min(Math.max(this.cursor[0] + dx, 0), wide), Math.min(Math.max(this.cursor[1] + dy, 0), high)];
        this.after("cursor");
      } else if (event.shiftKey) {
        this.setBox([left, top, width + dx, height + dy]);
      } else {
        this.moveTo(left + dx, top + dy, width, height);
      }
    } else if ((event.key === " " || event.key === "Enter") && this.tool !== "box") {
      event.preventDefault();
      this.stroke(this.cursor, this.cursor);
    }
  }

  // Paint

  ink() {
    return this.paint.getContext("2d", { willReadFrequently: true });
  }

  get radius() {
    return (Math.max(this.bitmap.width, this.bitmap.height) * this.brush) / 200;
  }

  stroke(from, to) {
    const ink = this.ink();
    ink.globalCompositeOperation = this.tool === "erase" ? "destination-out" : "source-over";
    ink.lineCap = "round";
    ink.lineWidth = Math.max(1, 2 * this.radius * this.fine);
    ink.strokeStyle = "#000";
    ink.beginPath();
    ink.moveTo(from[0] * this.fine, from[1] * this.fine);
    ink.lineTo(to[0] * this.fine + 0.01, to[1] * this.fine);
    ink.stroke();
    this.cursor = to;
    this.painted = this.tool === "paint" || this.left();
    this.after("paint");
  }

  left() {
    const alpha = this.ink().getImageData(0, 0, this.paint.width, this.paint.height).data;
    return alpha.some((value, i) => i % 4 === 3 && value > 127);
  }

  after(what) {
    this.draw();
    this.changed(what);
  }

  draw() {
    if (!this.bitmap) {
      return;
    }
    const { width: wide, height: high } = this.bitmap;
    const room = this.canvas.parentElement.clientWidth;
    const shown = Math.min(room, (Math.max(260, innerHeight * 0.55) * wide) / high);
    const dense = devicePixelRatio || 1;
    this.canvas.style.width = `${shown}px`;
    this.canvas.width = Math.max(1, Math.round(shown * dense));
    this.canvas.height = Math.max(1, Math.round((shown * dense * high) / wide));
    const ink = this.canvas.getContext("2d");
    const factor = this.canvas.width / wide;
    const box = this.box.map((side) => side * factor);
    ink.drawImage(this.bitmap, 0, 0, this.canvas.width, this.canvas.height);
    if (this.painted) {
      this.veil(ink);
    }
    if (!this.whole) {
      ink.fillStyle = "rgb(13 17 22 / 0.62)";
      ink.beginPath();
      ink.rect(0, 0, this.canvas.width, this.canvas.height);
      ink.rect(...box);
      ink.fill("evenodd");
    }
    this.frame(ink, box, dense);
    if (this.tool !== "box" && document.activeElement === this.canvas) {
      for (const [colour, width] of [["#0d1116", 4], ["#ffffff", 2]]) {
        ink.strokeStyle = colour;
        ink.lineWidth = width * dense;
        ink.beginPath();
        ink.arc(this.cursor[0] * factor, this.cursor[1] * factor, this.radius * factor, 0, 2 * Math.PI);
        ink.stroke();
      }
    }
  }

  // Everything that is not painted, dark.
  veil(ink) {
    const veil = document.createElement("canvas");
    veil.width = this.canvas.width;
    veil.height = this.canvas.height;
    const over = veil.getContext("2d");
    over.fillStyle = "rgb(13 17 22 / 0.55)";
    over.fillRect(0, 0, veil.width, veil.height);
    over.globalCompositeOperation = "destination-out";
    over.drawImage(this.paint, 0, 0, veil.width, veil.height);
    ink.drawImage(veil, 0, 0);
  }

  frame(ink, [x, y, width, height], dense) {
    for (const [colour, thick] of [["#0d1116", 4], ["#ffffff", 2]]) {
      ink.strokeStyle = colour;
      ink.lineWidth = thick * dense;
      ink.strokeRect(x, y, width, height);
    }
    if (this.tool === "box") {
      const side = 10 * dense;
      const inside = (place, room) => Math.min(Math.max(place, side / 2), room - side / 2);
      for (const corner of [[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) {
        const [cx, cy] = [inside(corner[0], this.canvas.width), inside(corner[1], this.canvas.height)];
        ink.fillStyle = "#ffffff";
        ink.strokeStyle = "#0d1116";
        ink.lineWidth = dense;
        ink.fillRect(cx - side / 2, cy - side / 2, side, side);
        ink.strokeRect(cx - side / 2, cy - side / 2, side, side);
      }
    }
  }
}
