"use strict";
(() => {
  const root = document.documentElement;

  // Light and dark: what the system asks for, until the reader chooses.
  const button = document.getElementById("theme");
  const asked = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : asked.matches);
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Show on light ground" : "Show on dark ground");
  };
  const changed = () => { label(); draw(); };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; changed(); });
  asked.addEventListener("change", changed);
  label();

  // Tables: a click on a heading sorts by it, another one turns the order round.
  const collator = new Intl.Collator("en", { numeric: true });
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending"
        || (head.getAttribute("aria-sort") === null && head.classList.contains("number"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
      // What is not known stands last, whatever the order.
      rows.sort(([a], [b]) => (a === "") - (b === "") || (falling ? compare(b, a) : compare(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    }));
  }

  // Figures: the library is unpacked once, and they are drawn again where ground or width change.
  const charts = [...document.querySelectorAll("[data-figure]")];
  let figures = null;
  let printing = false;
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const painted = (value) => {
    if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(painted);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, painted(inner)]));
  };
  const narrow = 560;
  // A label in lines of some 15 letters, broken where it may be.
  const broken = (text) => text.replace(/(.{9,}?[ ,:@])(?=.{6})/g, "$1<br>");
  // On a narrow screen: room for a legend of many lines, scales above their maps, labels broken.
  const fitted = ({ data, layout }) => {
    layout.margin = { ...layout.margin, l: 44, r: 8 };
    layout.font.size = 11;
    const named = data.filter((trace) => trace.name && trace.showlegend !== false).length;
    if (named > 1) layout.height += 17 * named;
    if (layout.yaxis.ticktext) layout.yaxis.ticktext = layout.yaxis.ticktext.map(broken);
    layout.xaxis.title.standoff = 14;
    if ((layout.annotations || []).length) layout.height *= 1.5;
    for (const note of layout.annotations || []) Object.assign(note, { textangle: -60, font: { ...note.font, size: 9 } });
    for (const trace of data) {
      if (trace.colorbar) {
        layout.height += 70;
        layout.legend.y = 1 + 62 / (layout.height - 180);
        Object.assign(trace.colorbar, { orientation: "h", y: 1.01, yanchor: "bottom", thickness: 10 });
        trace.colorbar.title.side = "top";
      }
      if (trace.type === "bar" && trace.text.length > 8) trace.textposition = "none";
    }
  };
  const drawOne = (chart) => {
    const figure = painted(figures[chart.dataset.figure]);
    const width = printing ? 680 : chart.clientWidth;
    figure.layout.width = width;
    if (width < narrow) fitted(figure);
    chart.style.minHeight = "0";
    chart.dataset.width = String(width);
    return window.Plotly.react(chart, figure.data, figure.layout, { displayModeBar: false, scrollZoom: false });
  };
  function draw() {
    if (figures === null) return Promise.resolve();
    return Promise.all(charts.map(drawOne)).then(() => { root.dataset.drawn = String(charts.length); });
  }
  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const start = async () => {
    const script = document.createElement("script");
    script.textContent = await unpacked(document.getElementById("library").textContent);
    document.head.append(script);
    figures = JSON.parse(document.getElementById("figures").textContent);
    await draw();
    new ResizeObserver(() => {
      for (const chart of charts) {
        if (!printing && chart.clientWidth > 0 && String(chart.clientWidth) !== chart.dataset.width) drawOne(chart);
      }
    }).observe(document.getElementById("content"));
  };
  if (charts.length) {
    start().catch((error) => {
      const note = document.getElementById("undrawn");
      note.textContent = `The figures could not be drawn here (${error}); every number of theirs stands in the tables.`;
      note.hidden = false;
    });
  }

  // On paper everything is light, as wide as a sheet, and nothing is folded away.
  const folds = [...document.querySelectorAll("details")];
  window.addEventListener("beforeprint", () => {
    printing = true;
    root.dataset.chosen = root.dataset.theme || "";
    root.dataset.theme = "light";
    folds.forEach((fold) => { fold.dataset.was = String(fold.open); fold.open = true; });
    draw();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    root.dataset.theme = root.dataset.chosen;
    folds.forEach((fold) => { fold.open = fold.dataset.was === "true"; });
    draw();
  });
})();
