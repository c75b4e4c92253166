"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);

  // -- choices: an element with data-view="name=value" is there while the select of that name has that value

  function choose(select) {
    for (const element of all(`[data-view^="${select.dataset.choose}="]`)) {
      element.hidden = element.dataset.view !== `${select.dataset.choose}=${select.value}`;
    }
  }
  for (const select of all("select[data-choose]")) {
    select.addEventListener("change", () => choose(select));
    choose(select);
  }

  // -- a stop of the tab key for what scrolls, and for nothing else

  const scrolling = new ResizeObserver((seen) => {
    for (const { target } of seen) target.tabIndex = target.scrollWidth > target.clientWidth ? 0 : -1;
  });
  for (const region of all(".scroll")) scrolling.observe(region);

  // -- sorting

  function valueOf(cell) {
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    const text = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim();
    if (!cell.classList.contains("n")) return text === "–" ? null : text;
    const number = parseFloat(text.replaceAll(",", "").replace("−", "-"));
    return Number.isNaN(number) ? null : number;
  }

  function sortBy(table, head) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [valueOf(row.cells[head.cellIndex]), row]);
    const numeric = rows.some(([value]) => typeof value === "number");
    const before = head.getAttribute("aria-sort");
    const ascending = before === null ? !numeric || head.firstChild.textContent === "#" : before === "descending";
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what does not exist stays at the end
      return ascending ? order(a, b) : order(b, a);
    });
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...rows.map(([, row]) => row));
  }

  for (const table of all("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...[...head.childNodes].filter((node) => node.nodeName !== "SMALL"));
      const printed = document.createElement("span"); // a button is not painted where paper repeats the headings
      printed.className = "printed";
      printed.textContent = button.textContent;
      head.prepend(button, printed);
      button.addEventListener("click", () => sortBy(table, head));
    }
  }

  // -- filter: one for the whole page

  const off = new Set();
  const rows = all("#leaderboard tbody tr").filter((row) => row.closest("figure").dataset.view === all("#leaderboard figure")[0].dataset.view);
  const marked = all("[data-d]");

  function filter() {
    const name = byId("filter-name").value.trim().toLowerCase();
    const provenance = byId("filter-provenance").value;
    const complete = byId("filter-complete").checked;
    off.clear();
    for (const row of rows) {
      const kept =
        data.detectors[row.dataset.d].toLowerCase().includes(name) &&
        (provenance === "" || row.dataset.provenance === provenance) &&
        (!complete || row.dataset.complete === "1");
      if (!kept) off.add(row.dataset.d);
    }
    for (const element of marked) element.classList.toggle("off", off.has(element.dataset.d));
    byId("filter-count").textContent = `${rows.length - off.size} of ${rows.length} detectors`;
    drawCurves();
  }

  // -- alerts a day

  const alertRows = all("#alerts tbody tr");

  function share(value) {
    const percent = 100 * value * (1 + 1e-12);
    if (percent > 0 && percent < 1e-4) return "< 0.0001 %";
    const digits = percent >= 10 ? 0 : percent >= 1 || percent === 0 ? 1 : 1 - Math.floor(Math.log10(percent));
    return `${percent.toFixed(digits)} %`;
  }
  const whole = (value) => Math.floor(value + 0.5).toLocaleString("en-US");

  function write(cell, text, value, range) {
    cell.firstChild.data = text;
    if (value === null) delete cell.dataset.v;
    else cell.dataset.v = value;
    if (range !== undefined && cell.lastElementChild) cell.lastElementChild.textContent = range;
  }

  function alertsADay() {
    const flows = Number(byId("flows").value);
    const usable = Number.isFinite(flows) && flows > 0;
    byId("flows").setAttribute("aria-invalid", String(!usable));
    if (!usable) return;
    const base = Math.pow(10, Number(byId("base-rate").value));
    const said = `1 attack in ${whole(1 / base)} flows (${share(base)})`;
    byId("base-rate-text").textContent = said;
    byId("base-rate").setAttribute("aria-valuetext", said);
    for (const row of alertRows) {
      const known = row.dataset.known === "1";
      const [fpr, low, high] = ["fpr", "low", "high"].map((name) => flows * (1 - base) * Number(row.dataset[name]));
      write(row.querySelector(".fa"), known ? whole(fpr) : "–", known ? fpr : null, `${whole(low)} to ${whole(high)}`);
      if (row.dataset.tpr === undefined) continue;
      const found = flows * base * Number(row.dataset.tpr);
      const ppv = (wrong) => (found + wrong > 0 ? found / (found + wrong) : null);
      const shown = (value) => (value === null ? "–" : share(value));
      const ratio = known ? ppv(fpr) : null;
      write(row.querySelector(".ta"), whole(found), found);
      write(row.querySelector(".ppv"), shown(ratio), ratio, found > 0 ? `${shown(ppv(high))} to ${shown(ppv(low))}` : "");
    }
  }

  function chooseAlerts() {
    const [target, source] = [byId("alert-target").value, byId("alert-source").value];
    for (const row of alertRows) {
      row.hidden = (target !== "" && row.dataset.target !== target) || (source !== "" && row.dataset.source !== source);
    }
  }
  for (const id of ["flows", "base-rate"]) byId(id).addEventListener("input", alertsADay);
  for (const id of ["alert-target", "alert-source"]) byId(id).addEventListener("change", chooseAlerts);
  const targets = byId("alert-target");
  if (targets.options.length > 1) targets.selectedIndex = 1;

  // -- curves

  const [HEIGHT, LEFT, BOTTOM, TOP, RIGHT] = [420, 52, 46, 10, 18];
  const SHOWN = 8;
  const RATES = [0.001, 0.01, 0.05];
  const picked = new Map(); // detector → whether the reader switched it on or off

  function svg(name, attributes, parent, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  const style = (detector) => `curve k${detector % 8} s${Math.floor(detector / 8) % 4}`;

  function tprAt(curve, rate) {
    const [grid, points, benign] = curve;
    if (benign * rate < 1) return null; // so few flows cannot tell that rate from 0
    return points[data.grids[grid].findLastIndex((fpr) => fpr <= rate * (1 + 1e-9))] / 1e5;
  }

  const decimals = (value) => value.toFixed(3).replace(/^0/, "");

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name, name)));
    if (names.includes(before)) select.value = before;
  }

  function drawCurves() {
    const target = byId("curve-target").value;
    const curves = (data.curves[target] || {})[byId("curve-source").value] || {};
    const there = Object.keys(curves).map(Number).filter((detector) => !off.has(String(detector))).sort((a, b) => a - b);
    const shown = there.filter((detector, place) => (picked.has(detector) ? picked.get(detector) : place < SHOWN));
    plot(curves, shown);
    legend(curves, there, shown);
  }

  function plot(curves, shown) {
    const width = Math.min(700, Math.max(320, byId("plot").clientWidth)); // text keeps its size on a narrow screen
    const logarithmic = byId("curve-axis").value === "log";
    const smallest = Math.min(0.1, ...shown.map((detector) => 1 / curves[detector][2]));
    const decades = -Math.floor(Math.log10(smallest));
    const x = (rate) => {
      const place = logarithmic ? 1 + Math.max(Math.log10(Math.max(rate, 1e-12)), -decades) / decades : rate;
      return LEFT + place * (width - LEFT - RIGHT);
    };
    const y = (rate) => TOP + (1 - rate) * (HEIGHT - TOP - BOTTOM);
    const names = `${byId("curve-source").value} → ${byId("curve-target").value}`;
    const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `ROC curves, ${names}; the table gives the same in numbers` });
    const ticks = logarithmic ? Array.from({ length: decades + 1 }, (_, place) => 10 ** (place - decades)) : [0, 0.2, 0.4, 0.6, 0.8, 1];
    for (const tick of ticks) {
      svg("line", { class: "tick", x1: x(tick), x2: x(tick), y1: y(0), y2: y(1) }, root);
      svg("text", { x: x(tick), y: y(0) + 16, "text-anchor": "middle" }, root, `${parseFloat((100 * tick).toPrecision(3))} %`);
    }
    for (const tick of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      svg("line", { class: "tick", x1: x(0), x2: x(1), y1: y(tick), y2: y(tick) }, root);
      svg("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, root, `${100 * tick} %`);
    }
    svg("line", { class: "axis", x1: x(0), x2: x(1), y1: y(0), y2: y(0) }, root);
    svg("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, root, "false-positive rate");
    const across = { x: 0, y: 0, "text-anchor": "middle", transform: `translate(12 ${y(0.5)}) rotate(-90)` };
    svg("text", across, root, "true-positive rate");
    const chance = Array.from({ length: 61 }, (_, place) => (logarithmic ? 10 ** ((place / 60 - 1) * decades) : place / 60));
    svg("path", { class: "chance", d: `M${chance.map((rate) => `${x(rate).toFixed(1)} ${y(rate).toFixed(1)}`).join("L")}` }, root);
    for (const detector of shown) {
      const [grid, points] = curves[detector];
      let path = "";
      data.grids[grid].forEach((rate, place) => {
        const [across, up] = [x(rate).toFixed(1), y(points[place] / 1e5).toFixed(1)];
        path += place === 0 ? `M${across} ${up}` : `H${across}V${up}`;
      });
      const line = svg("path", { class: style(detector), d: path }, root);
      svg("title", {}, line, data.detectors[detector]);
    }
    byId("plot").replaceChildren(root);
  }

  function legend(curves, there, shown) {
    const table = document.createElement("table");
    table.createCaption().textContent = `TPR at a false-positive rate of at most …, ${byId("curve-source").value} → ${byId("curve-target").value}${byId("h-curves").textContent.replace("ROC curves", "")}`;
    const head = table.createTHead().insertRow();
    for (const name of ["Detector", "0.1\u00a0%", "1\u00a0%", "5\u00a0%"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      if (name === "Detector") cell.className = "l";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const detector of there) {
      const row = body.insertRow();
      const name = document.createElement("th");
      name.scope = "row";
      name.className = "d";
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.id = `curve-${detector}`;
      box.checked = shown.includes(detector);
      box.addEventListener("change", () => {
        picked.set(detector, box.checked);
        drawCurves();
        byId(`curve-${detector}`).focus(); // the table was made anew
      });
      const sample = svg("svg", { viewBox: "0 0 36 10", "aria-hidden": "true" });
      svg("line", { class: style(detector), x1: 0, x2: 36, y1: 5, y2: 5 }, sample);
      label.append(box, sample, data.detectors[detector]);
      name.append(label);
      row.append(name);
      for (const rate of RATES) {
        const value = tprAt(curves[detector], rate);
        row.insertCell().textContent = value === null ? "–" : decimals(value);
      }
    }
    byId("legend").replaceChildren(table);
  }

  function chooseTarget() {
    const there = data.curves[byId("curve-target").value] || {};
    const names = data.sources.filter((name) => name in there);
    const target = byId("curve-target").value;
    fill(byId("curve-source"), names);
    if (byId("curve-source").value === target && names.length > 1) byId("curve-source").value = names.find((name) => name !== target);
    drawCurves();
  }
  fill(byId("curve-target"), Object.keys(data.curves));
  byId("curve-target").addEventListener("change", chooseTarget);
  byId("curve-source").addEventListener("change", drawCurves);
  byId("curve-axis").addEventListener("change", drawCurves);
  window.addEventListener("resize", drawCurves);
  // what is folded on a screen is printed, but for the list of every run
  window.addEventListener("beforeprint", () => all("details:not(.long)").forEach((one) => (one.open = true)));

  for (const event of ["input", "change"]) byId("filter").addEventListener(event, filter);
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  chooseTarget();
  filter();
  chooseAlerts();
  alertsADay();
})();
