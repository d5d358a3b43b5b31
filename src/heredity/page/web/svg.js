// The few canvas operations that drawing uses, as SVG elements: the picture on the screen becomes a file for a paper.

class SvgContext {
  constructor(width, height) {
    this.root = s("svg", {
      xmlns: SVG,
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      "font-family": "system-ui, sans-serif",
    });
    this.fillStyle = this.strokeStyle = "#000";
    this.lineWidth = 1;
    this.globalAlpha = 1;
    this.font = "12px sans-serif";
    this.textAlign = "left";
    this.textBaseline = "alphabetic";
    this.dash = [];
    this.path = [];
  }
  beginPath() {
    this.path = [];
  }
  moveTo(x, y) {
    this.path.push(`M${round(x)} ${round(y)}`);
  }
  lineTo(x, y) {
    this.path.push(`L${round(x)} ${round(y)}`);
  }
  quadraticCurveTo(a, b, x, y) {
    this.path.push(`Q${round(a)} ${round(b)} ${round(x)} ${round(y)}`);
  }
  bezierCurveTo(a, b, c, d, x, y) {
    this.path.push(`C${[a, b, c, d, x, y].map(round).join(" ")}`);
  }
  closePath() {
    this.path.push("Z");
  }
  arc(x, y, r) {
    this.path.push(
      `M${round(x - r)} ${round(y)}a${round(r)} ${round(r)} 0 1 0 ${round(2 * r)} 0a${round(r)} ${round(r)} 0 1 0 ${round(-2 * r)} 0`,
    );
  }
  rect(x, y, w, h) {
    this.path.push(`M${round(x)} ${round(y)}h${round(w)}v${round(h)}h${round(-w)}Z`);
  }
  setLineDash(dash) {
    this.dash = dash;
  }
  fill() {
    this.add("path", { d: this.path.join(""), fill: this.fillStyle });
  }
  stroke() {
    this.add("path", {
      d: this.path.join(""),
      fill: "none",
      stroke: this.strokeStyle,
      "stroke-width": this.lineWidth,
      "stroke-dasharray": this.dash.join(" ") || null,
    });
  }
  fillRect(x, y, width, height) {
    this.add("rect", { x: round(x), y: round(y), width: round(width), height: round(height), fill: this.fillStyle });
  }
  fillText(text, x, y) {
    this.write(text, x, y, { fill: this.fillStyle });
  }
  strokeText(text, x, y) {
    this.write(text, x, y, {
      fill: "none",
      stroke: this.strokeStyle,
      "stroke-width": this.lineWidth,
      "stroke-linejoin": "round",
    });
  }
  write(text, x, y, paint) {
    const [, weight, size] = /^(bold )?([\d.]+)px/.exec(this.font);
    const down = this.textBaseline === "middle" ? 0.35 : this.textBaseline === "top" ? 0.8 : 0;
    const anchor = { center: "middle", right: "end" }[this.textAlign] ?? "start";
    this.root.append(
      s(
        "text",
        {
          ...paint,
          x: round(x),
          y: round(y + down * size),
          "font-size": size,
          "font-weight": weight ? "bold" : null,
          "text-anchor": anchor,
          opacity: this.globalAlpha < 1 ? this.globalAlpha : null,
        },
        text,
      ),
    );
  }
  measureText(text) {
    return { width: text.length * Number(/([\d.]+)px/.exec(this.font)[1]) * 0.56 };
  }
  add(tag, attributes) {
    this.root.append(s(tag, { ...attributes, opacity: this.globalAlpha < 1 ? this.globalAlpha : null }));
  }
}

const round = value => Math.round(value * 100) / 100;

function saveSvg(root, name) {
  const text = '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(root);
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
