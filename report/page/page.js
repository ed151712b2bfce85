// The page's script. Texts of guests reach the document as text nodes only;
// nothing here makes markup out of a string, and nothing is fetched.
"use strict";
(() => {
  const SIGNS = {pass: "✓", expected: "≈", fail: "✗", stale: "≠", skip: "○", crash: "!", timeout: "◔", "no-boot": "⊘", infra: "?", missing: "–", represented: "□"};
  const ORDER = ["crash", "fail", "stale", "timeout", "no-boot", "infra", "missing", "expected", "pass", "represented"];
  const PAST = ["unknown", "pass", "fail", "crash", "timeout", "no-boot", "infra", "missing"]; // as in package report
  const PAGE = 100; // rows at a time
  // Members of a kernel's record that have a place; all others are shown by their names.
  const PLACED = ["release", "digest", "notes", "excerpt", "reproduce", "tests", "console", "past", "kernel", "programs", "costs"];
  const LISTS = {modules_failed: "Modules that could not be loaded", mounts_failed: "Mounts that failed", files: "Files that the payload left", file_problems: "Notes"};
  const $ = (id) => document.getElementById(id);

  // el makes an element: its attributes, then its children, texts or elements.
  function el(name, attrs, ...children) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attrs || {})) {
      if (v === undefined || v === false) continue;
      if (k === "on") e.addEventListener("click", v);
      else e.setAttribute(k, v === true ? "" : v);
    }
    e.append(...children.filter((c) => c !== undefined && c !== null));
    return e;
  }
  function svg(name, attrs, ...children) {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [k, v] of Object.entries(attrs || {})) e.setAttribute(k, v);
    e.append(...children);
    return e;
  }
  const sign = (v) => el("span", {class: "sign s-" + v, "aria-hidden": "true"}, SIGNS[v] || "?");
  const count = (n, what) => n.toLocaleString("en") + " " + what + (n === 1 ? "" : "s");
  const seconds = (ms) => (ms < 0 ? "–" : (ms / 1000).toFixed(1) + " s");

  // Controls and what changes the direction of text are shown as such.
  // eslint-disable-next-line no-control-regex
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
  const clean = (s) => s.replace(HIDDEN, "\u00b7");

  // unpack reads one of the page's data elements: deflated, in base64.
  const unpacked = new Map();
  function unpack(id) {
    if (!unpacked.has(id)) {
      unpacked.set(id, (async () => {
        const e = $(id);
        if (!e) throw new Error("the page is cut short: it has no " + id);
        const bytes = Uint8Array.from(atob(e.textContent), (c) => c.charCodeAt(0));
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
        return JSON.parse(await new Response(stream).text());
      })());
      if (unpacked.size > 64) unpacked.delete(unpacked.keys().next().value);
    }
    return unpacked.get(id);
  }

  let data;
  let shown = []; // places of the kernels that the filter lets pass
  let drawn = 0; // of these, how many are in the list
  const byID = new Map();

  // ---- the list of kernels

  const total = (k) => (k.p || []).reduce((sum, ms) => sum + Math.max(0, ms), 0);

  function phaseBar(k, longest) {
    const bar = el("span", {class: "phases", role: "img", "aria-label": phaseWords(k)});
    for (const [i, ms] of (k.p || []).entries()) {
      if (ms <= 0) continue;
      const part = el("span", {class: "ph-" + data.phases[i]});
      part.style.width = (100 * ms / longest).toFixed(2) + "%";
      bar.append(part);
    }
    return bar;
  }
  const phaseWords = (k) => k.p ? "time: " + data.phases.map((n, i) => n + " " + seconds(k.p[i])).join(", ") : "no times";

  // A failure's reason says more than its test's name, with which a cause begins.
  const reason = (k) => k.g && data.reasons[k.g[0] - 1] || k.t;
  // A kernel that was not booted says which one stands for it, and what became of
  // that one.
  const became = (k) => k.v === "pass" ? "" : " (" + k.v + ")";
  const byWords = (k) => k.v === "represented" ? "represented by " + (k.b === undefined ? "a kernel that this page has no room for" : data.kernels[k.b].id + became(data.kernels[k.b])) : "";
  const marks = (k) => (k.g || []).slice(0, 4).map((n) => el("span", {class: "gno h" + (n - 1) % 6, title: data.reasons[n - 1]}, String(n)));

  function row(place, position) {
    const k = data.kernels[place];
    const tests = k.c[0] + k.c[1] + k.c[2];
    const says = byWords(k) || reason(k) || (tests ? count(k.c[0], "test") + " passed" + (k.c[2] ? ", " + k.c[2] + " skipped" : "") : "");
    const open = el("a", {class: "row", href: "#k=" + encodeURIComponent(k.id), "data-place": place},
      sign(k.v),
      el("span", {class: "kname"}, el("span", {class: "kdistro"}, data.distros[k.d] + "/"), k.n,
        k.new ? el("span", {class: "tag"}, "new") : null, k.r ? el("span", {class: "tag"}, k.r + " attempts") : null),
      el("span", {class: "kverdict"}, k.v === "represented" ? "not booted" : k.v),
      el("span", {class: "kcause"}, ...marks(k), says),
      phaseBar(k, data.longest),
      el("span", {class: "ktime num"}, k.p ? seconds(total(k)) : ""));
    return el("li", {"aria-setsize": shown.length, "aria-posinset": position + 1}, open);
  }

  function drawMore() {
    const list = $("list");
    const part = document.createDocumentFragment();
    const to = Math.min(shown.length, drawn + PAGE);
    for (; drawn < to; drawn++) part.append(row(shown[drawn], drawn));
    list.append(part);
    const rest = shown.length - drawn;
    $("more").hidden = rest === 0;
    $("more").textContent = "Show " + Math.min(PAGE, rest).toLocaleString("en") + " more of " + rest.toLocaleString("en");
  }

  function applyFilter() {
    const words = $("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    const distro = $("f-distro").value, series = $("f-series").value;
    const verdicts = new Set([...document.querySelectorAll("[name=verdict]:checked")].map((c) => c.value));
    shown = [];
    data.kernels.forEach((k, i) => {
      if (distro !== "" && k.d !== +distro || series !== "" && k.s !== +series || verdicts.size && !verdicts.has(k.v)) return;
      if (words.length && !words.every((w) => k.search.includes(w))) return;
      shown.push(i);
    });
    const order = $("f-order").value, at = (i) => data.kernels[i];
    if (order === "verdict") shown.sort((a, b) => ORDER.indexOf(at(a).v) - ORDER.indexOf(at(b).v) || a - b);
    if (order === "time") shown.sort((a, b) => total(at(b)) - total(at(a)) || a - b);
    const idle = shown.filter((i) => at(i).v === "represented").length;
    $("shown").textContent = (shown.length === data.kernels.length ? count(shown.length, "kernel")
      : shown.length.toLocaleString("en") + " of " + count(data.kernels.length, "kernel")) + (idle ? ", " + idle.toLocaleString("en") + " of them represented, not booted" : "");
    $("list").replaceChildren();
    drawn = 0;
    drawMore();
  }

  // select sets the filter to a cell of the grid.
  function select(distro, series) {
    $("filter").reset();
    $("f-distro").value = distro;
    $("f-series").value = series;
    applyFilter();
    $("kernels").scrollIntoView();
    const first = $("list").querySelector("a");
    if (first) first.focus({preventScroll: true});
  }

  function setUpList() {
    data.longest = 1;
    for (const [i, k] of data.kernels.entries()) {
      byID.set(k.id, i);
      data.longest = Math.max(data.longest, total(k));
      k.search = [k.id, byWords(k), k.t || "", reason(k) || "", k.v, ...(k.f || []).map((t) => data.tests[t].n)].join("\n").toLowerCase();
    }
    data.distros.forEach((d, i) => $("f-distro").append(el("option", {value: i}, d)));
    data.series.forEach((s, i) => $("f-series").append(el("option", {value: i}, s)));
    for (const p of data.phases) $("phases").append(el("span", {}, el("i", {class: "ph-" + p}), p));
    let timer;
    $("f-text").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(applyFilter, 80); });
    $("filter").addEventListener("change", applyFilter);
    $("filter").addEventListener("submit", (e) => { e.preventDefault(); applyFilter(); });
    $("f-reset").addEventListener("click", () => { $("filter").reset(); applyFilter(); });
    $("more").addEventListener("click", () => {
      const next = drawn;
      drawMore();
      $("list").children[next]?.firstChild.focus();
    });
    $("list").addEventListener("keydown", (e) => {
      const to = {ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling"}[e.key];
      const li = e.target.closest("li");
      if (to && li && li[to]) { e.preventDefault(); li[to].firstChild.focus(); }
    });
    $("kernels").hidden = data.kernels.length === 0;
    applyFilter();
  }

  // ---- the grid: one stop for the Tab key, arrows move inside

  function setUpGrid() {
    const table = document.querySelector("table.grid");
    const rows = [...table.tBodies[0].rows].map((r) => [...r.cells].slice(1).map((c) => c.querySelector("button")));
    const all = rows.flat().filter(Boolean);
    all.forEach((b, i) => { b.tabIndex = i ? -1 : 0; });
    const move = (b) => { all.forEach((o) => { o.tabIndex = -1; }); b.tabIndex = 0; b.focus(); };
    table.addEventListener("keydown", (e) => {
      const b = e.target.closest("button");
      const step = {ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0]}[e.key];
      if (!b || !step) return;
      e.preventDefault();
      let y = rows.findIndex((r) => r.includes(b)), x = rows[y].indexOf(b);
      do { y += step[0]; x += step[1]; } while (rows[y] && x >= 0 && x < rows[y].length && !rows[y][x]);
      if (rows[y] && rows[y][x]) move(rows[y][x]);
    });
    table.addEventListener("click", (e) => {
      const tile = e.target.closest("[data-k]"), b = e.target.closest("button");
      if (tile) openKernel(data.kernels[+tile.dataset.k].id);
      else if (b) select(b.dataset.d, b.dataset.s);
    });
    table.addEventListener("mouseover", (e) => {
      const tile = e.target.closest("[data-k]");
      if (tile && !tile.title) { const k = data.kernels[+tile.dataset.k]; tile.title = k.id + ": " + (byWords(k) || k.v); }
    });
  }

  // ---- the list of tests

  let tests = [], testsDrawn = 0;

  function testRow(place) {
    const t = data.tests[place];
    const cells = [el("th", {scope: "row"},
      t.c[1] ? el("button", {type: "button", class: "link", on: () => { $("filter").reset(); $("f-text").value = t.n; applyFilter(); $("kernels").scrollIntoView(); $("f-text").focus({preventScroll: true}); }}, t.n) : t.n)];
    t.c.forEach((n, i) => cells.push(el("td", {class: "num" + (i === 1 && n ? " bad" : "")}, n ? n.toLocaleString("en") : "–")));
    return el("tr", {}, ...cells);
  }

  function drawTests() {
    const to = Math.min(tests.length, testsDrawn + 100);
    for (; testsDrawn < to; testsDrawn++) $("t-list").append(testRow(tests[testsDrawn]));
    const rest = tests.length - testsDrawn;
    $("t-more").hidden = rest === 0;
    $("t-more").textContent = "Show " + Math.min(100, rest) + " more of " + rest.toLocaleString("en");
  }

  function filterTests() {
    const words = $("t-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    tests = [...data.tests.keys()].filter((i) => words.every((w) => data.tests[i].n.toLowerCase().includes(w)));
    $("t-shown").textContent = tests.length === data.tests.length ? count(tests.length, "test")
      : tests.length.toLocaleString("en") + " of " + count(data.tests.length, "test");
    $("t-list").replaceChildren();
    testsDrawn = 0;
    drawTests();
  }

  function setUpTests() {
    if (!$("tests")) return;
    $("t-text").addEventListener("input", filterTests);
    $("t-more").addEventListener("click", drawTests);
    $("tests").hidden = false;
    drawWhenNear($("tests"), filterTests, () => testsDrawn);
  }

  // drawWhenNear draws what takes a moment when the reader comes to it.
  function drawWhenNear(section, draw, drawn) {
    const seen = new IntersectionObserver((all) => {
      if (all.some((e) => e.isIntersecting)) { seen.disconnect(); draw(); }
    }, {rootMargin: "600px"});
    seen.observe(section);
    addEventListener("beforeprint", () => { if (!drawn()) draw(); });
  }

  // ---- what BPF programs cost

  let costs = [], costsDrawn = 0;
  const number = (n) => n.toLocaleString("en");

  // plot shows a program's instructions over the kernels, in their order; a line is
  // what a kernel had in the base. The limit is there when a program comes near it.
  function plot(c, width, height) {
    const all = c.i.map((n, i) => [i, n]).filter(([, n]) => n > 0), base = c.b || [], failed = new Set(c.f);
    const most = all.concat(base).reduce((m, [, n]) => Math.max(m, n), 1);
    const least = all.reduce((m, [, n]) => Math.min(m, n), most);
    const now = all.reduce((m, [, n]) => Math.max(m, n), 0);
    const top = most > c.m / 4 ? Math.max(most, c.m) : most;
    let label = count(all.length, "kernel") + ", " + number(least) + " to " + number(now) + " instructions";
    if (base.length) label += "; moved on " + number(base.length) + " against the base, most from " + number(base[0][1]) + " to " + number(c.i[base[0][0]]);
    if (failed.size) label += "; did not load on " + number(failed.size);
    const x = (i) => 3 + (width - 6) * i / Math.max(1, data.kernels.length - 1);
    const y = (n) => height - 3 - (height - 6) * n / top;
    const s = svg("svg", {class: "plot", viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": label});
    let last = -1;
    for (const k of data.kernels.keys()) {
      if (last >= 0 && data.kernels[k].d !== last) s.append(svg("line", {class: "between", x1: x(k - 0.5), x2: x(k - 0.5), y1: 0, y2: height}));
      last = data.kernels[k].d;
    }
    if (top > most || most >= c.m) s.append(svg("path", {class: "limit", d: "M0 " + y(c.m).toFixed(1) + "H" + width}));
    const half = Math.max(1.5, Math.min(8, (width - 6) / Math.max(1, data.kernels.length - 1) / 2));
    const mark = (points, at) => points.map(([i, n]) => "M" + x(i).toFixed(1) + " " + y(n).toFixed(1) + at).join("");
    for (const [name, d] of [
      ["was", mark(base, "m-" + half + " 0h" + 2 * half)],
      ["dots", mark(all.filter(([i]) => !failed.has(i)), "h0")],
      ["crosses", mark(all.filter(([i]) => failed.has(i)), "m-2.5-2.5l5 5m0-5l-5 5")],
    ]) if (d) s.append(svg("path", {class: name, d}));
    return [s, least, now];
  }

  function costRow(c) {
    const [s, least, most] = plot(c, 240, 36);
    const name = el("th", {scope: "row"}, el("span", {class: "tname"}, clean(c.n)));
    if (c.t) name.append(el("span", {class: "tsays"}, c.t));
    const share = 100 * most / c.m;
    let moved = "–";
    if (c.b) {
      const [i, was] = c.b[0];
      const by = 100 * (c.i[i] / was - 1), words = by >= 900 ? "× " + number(Math.floor(c.i[i] / was)) : (by > 0 ? "+" : "") + Math.trunc(by) + " %";
      moved = number(was) + " → " + number(c.i[i]) + " (" + words + ")" + (c.x ? ", too much" : "");
    }
    return el("tr", {}, name, el("td", {class: "plotcell"}, s), el("td", {class: "num"}, number(least)), el("td", {class: "num"}, number(most)),
      el("td", {class: "num" + (share >= 90 ? " bad" : "")}, share < 1 ? "< 1 %" : Math.floor(share) + " %"), el("td", {class: "num" + (c.x ? " bad" : "")}, moved));
  }

  function drawCosts() {
    const to = Math.min(costs.length, costsDrawn + 100);
    for (; costsDrawn < to; costsDrawn++) $("c-list").append(costRow(costs[costsDrawn]));
    const rest = costs.length - costsDrawn;
    $("c-more").hidden = rest === 0;
    $("c-more").textContent = "Show " + Math.min(100, rest) + " more of " + number(rest);
  }

  function filterCosts() {
    const words = $("c-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    costs = data.costs.filter((c) => words.every((w) => (c.n + " " + (c.t || "")).toLowerCase().includes(w)));
    $("c-shown").textContent = costs.length === data.costs.length ? count(costs.length, "BPF program") : number(costs.length) + " of " + count(data.costs.length, "BPF program");
    $("c-list").replaceChildren();
    costsDrawn = 0;
    drawCosts();
  }

  function setUpCosts() {
    if (!$("costs")) return;
    $("c-text").addEventListener("input", filterCosts);
    $("c-more").addEventListener("click", drawCosts);
    $("c-all").hidden = false;
    drawWhenNear($("costs"), filterCosts, () => costsDrawn);
  }

  // ---- one kernel

  const COLORS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

  // ansi makes spans of a terminal's colours. Other sequences are left out.
  // eslint-disable-next-line no-control-regex
  const SEQUENCE = /\u001b\[([0-9;:]*)m|\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)?|\u001b[PX^_][^\u001b\n]*(?:\u001b\\)?|\u001b[ -/]*[0-~]/g;
  function ansi(text, state, out) {
    const put = (s) => {
      if (!s) return;
      const classes = [...state].join(" ");
      out.append(classes ? el("span", {class: classes}, clean(s)) : clean(s));
    };
    let from = 0;
    for (const m of text.matchAll(SEQUENCE)) {
      put(text.slice(from, m.index));
      from = m.index + m[0].length;
      if (m[1] === undefined) continue;
      const codes = m[1].split(/[;:]/).map(Number);
      for (let i = 0; i < codes.length; i++) {
        const c = codes[i], colour = c % 10;
        const drop = (prefix) => { for (const s of state) if (s.startsWith(prefix)) state.delete(s); };
        if (c === 0) state.clear();
        else if (c === 1) state.add("a-bold");
        else if (c === 2) state.add("a-dim");
        else if (c === 4) state.add("a-under");
        else if (c === 7) state.add("a-inverse");
        else if (c === 22) { state.delete("a-bold"); state.delete("a-dim"); }
        else if (c === 24) state.delete("a-under");
        else if (c === 27) state.delete("a-inverse");
        else if (c >= 30 && c <= 37 || c >= 90 && c <= 97) { drop("a-fg"); state.add("a-fg-" + COLORS[colour]); }
        else if (c >= 40 && c <= 47 || c >= 100 && c <= 107) { drop("a-bg"); state.add("a-bg-" + COLORS[colour]); }
        else if (c === 39) drop("a-fg");
        else if (c === 49) drop("a-bg");
        else if (c === 38 || c === 48) i += codes[i + 1] === 5 ? 2 : codes[i + 1] === 2 ? 4 : 0;
      }
    }
    put(text.slice(from));
  }

  function block(text, label) {
    return el("pre", {tabindex: "0", role: "region", "aria-label": label}, clean(text));
  }

  function consoleView(c) {
    const lines = c.text.split("\n");
    const state = new Set();
    const pre = el("pre", {class: "console", tabindex: "0", role: "region", "aria-label": "Console"});
    const part = (from, to, into) => ansi(lines.slice(from, to).join("\n") + (to < lines.length ? "\n" : ""), state, into);
    let mark;
    if (c.crash) {
      part(0, c.crash[0], pre);
      mark = el("mark", {id: "crash", tabindex: "-1"});
      mark.append(el("span", {class: "crashhead"}, "crash:"), " ");
      part(c.crash[0], c.crash[1] + 1, mark);
      pre.append(mark);
      part(c.crash[1] + 1, lines.length, pre);
    } else part(0, lines.length, pre);
    const box = el("div", {});
    if (mark) box.append(el("p", {}, el("button", {type: "button", on: () => { mark.scrollIntoView({block: "center"}); mark.focus(); }}, "Go to the crash")));
    box.append(pre);
    return [box, mark];
  }

  function pairs(title, list, open) {
    if (!list || !list.length) return null;
    const dl = el("dl", {class: "pairs"});
    for (const [name, value] of list) dl.append(el("div", {}, el("dt", {}, clean(name)), el("dd", {}, clean(value))));
    return el("details", {class: "plain", open}, el("summary", {}, title + " (" + list.length + ")"), dl);
  }

  // anything shows a member of the record that this page has no place for.
  function anything(value) {
    if (value === null || typeof value !== "object") return clean(String(value));
    if (Array.isArray(value) && value.every((v) => v === null || typeof v !== "object")) return el("ul", {class: "names"}, ...value.map((v) => el("li", {}, clean(String(v)))));
    return el("pre", {}, clean(JSON.stringify(value, null, 2)));
  }
  function moreView(members) {
    const dl = el("dl", {class: "pairs"});
    for (const [name, value] of members) dl.append(el("div", {}, el("dt", {}, clean(name.replaceAll("_", " "))), el("dd", {}, anything(value))));
    return dl;
  }

  const duration = (ms) => (ms < 1000 ? ms.toFixed(ms < 10 ? 1 : 0) + " ms" : (ms / 1000).toFixed(1) + " s");
  function testsView(d) {
    const body = el("tbody", {});
    const order = {fail: 0, skip: 1, pass: 2};
    const sorted = d.tests.slice().sort((a, b) => order[a.verdict] - order[b.verdict]);
    let drawnTests = 0;
    const draw = () => {
      const to = Math.min(sorted.length, drawnTests + PAGE);
      for (; drawnTests < to; drawnTests++) {
        const t = sorted[drawnTests];
        const name = el("th", {scope: "row"});
        let below;
        const says = t.output || "";
        const long = says.length > 160 || says.trim().includes("\n");
        name.append(el("span", {class: "tname"}, t.name));
        if (says && !long) name.append(el("span", {class: "tsays"}, clean(says)));
        if (long) {
          const details = el("details", {class: "plain", open: t.verdict === "fail" && sorted.length < 40}, el("summary", {}, clean(says.trim().split("\n")[0].slice(0, 160))));
          const fill = () => { if (details.children.length === 1) details.append(block(says, "Output of " + t.name)); };
          if (details.open) fill();
          details.addEventListener("toggle", fill);
          below = el("tr", {class: "below"}, el("td", {colspan: 3}, details));
        }
        body.append(el("tr", {}, name, el("td", {class: "tverdict"}, sign(t.verdict), " " + t.verdict),
          el("td", {class: "num"}, t.duration_ns ? duration(t.duration_ns / 1e6) : "–")));
        if (below) body.append(below);
      }
      more.hidden = drawnTests === sorted.length;
      more.textContent = "Show more of " + (sorted.length - drawnTests).toLocaleString("en");
    };
    const more = el("button", {type: "button", on: draw});
    draw();
    return el("section", {}, el("h3", {}, "Tests"), el("div", {class: "wide"}, el("table", {class: "one"},
      el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "Test"), el("th", {scope: "col"}, "Verdict"), el("th", {scope: "col", class: "num"}, "Time"))), body)), more);
  }

  // costsView shows the BPF programs that the kernel held, the largest first.
  function costsView(d) {
    const body = el("tbody", {});
    const has = (name) => d.costs.some((c) => c[name]);
    const columns = [["insns", "Instructions"], ["states", "States"], ["peak_states", "at once"], ["stack", "Stack, bytes"], ["jited", "Native code, bytes"], ["map_memory", "Maps, bytes"]].filter(([name]) => has(name));
    let drawn = 0;
    const draw = () => {
      for (const to = Math.min(d.costs.length, drawn + PAGE); drawn < to; drawn++) {
        const c = d.costs[drawn];
        const name = el("th", {scope: "row"}, el("span", {class: "tname"}, clean(c.name)));
        if (c.type || c.tag) name.append(el("span", {class: "tsays"}, [c.type, c.tag].filter(Boolean).join(" ")));
        body.append(el("tr", {}, name, ...columns.map(([n]) => el("td", {class: "num"}, c[n] ? number(c[n]) : "–"))));
      }
      more.hidden = drawn === d.costs.length;
      more.textContent = "Show more of " + number(d.costs.length - drawn);
    };
    const more = el("button", {type: "button", on: draw});
    draw();
    return el("section", {}, el("h3", {}, "BPF programs"), el("div", {class: "wide"}, el("table", {class: "one"},
      el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "BPF program"), ...columns.map(([, title]) => el("th", {scope: "col", class: "num"}, title)))), body)), more);
  }

  // programsView shows those that did not pass first.
  function programsView(d) {
    const body = el("tbody", {});
    const order = (p) => ORDER.indexOf(p.v);
    for (const p of d.programs.slice().sort((a, b) => order(a) - order(b))) {
      const name = el("th", {scope: "row"}, el("span", {class: "tname"}, clean(p.n)));
      if (p.t) name.append(el("span", {class: "tsays"}, clean(p.t)));
      for (const left of p.l || []) name.append(el("span", {class: "tsays"}, "left behind: " + clean(left)));
      if (p.x) name.append(el("span", {class: "tsays"}, el("a", {href: p.x}, "console")));
      body.append(el("tr", {}, name, el("td", {class: "tverdict"}, sign(p.v), " " + p.v),
        el("td", {class: "num"}, p.c.toLocaleString("en")), el("td", {class: "num"}, p.ms ? duration(p.ms) : "–")));
    }
    return el("section", {}, el("h3", {}, "Programs"), el("div", {class: "wide"}, el("table", {class: "one"},
      el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "Program"), el("th", {scope: "col"}, "Verdict"), el("th", {scope: "col", class: "num"}, "Tests"), el("th", {scope: "col", class: "num"}, "Time"))), body)));
  }

  function historyView(d) {
    if (!d.past) return null;
    const list = el("ol", {class: "past"});
    for (const [r, v, ms] of d.past) {
      const verdict = PAST[v] || "unknown";
      const words = data.runs[r] + ": " + verdict + (ms ? ", " + seconds(ms) : "");
      list.append(el("li", {title: words}, sign(verdict), el("span", {class: "unseen"}, words)));
    }
    const times = d.past.filter(([, , ms]) => ms > 0).map(([, , ms]) => ms);
    return el("section", {}, el("h3", {}, "Last " + count(d.past.length, "run")), list,
      times.length > 1 ? el("p", {class: "small"}, "Oldest first. Its VM took " + seconds(Math.min(...times)) + " to " + seconds(Math.max(...times)) + ".") : null);
  }

  function phaseTable(k) {
    if (!k.p) return null;
    const dl = el("dl", {class: "pairs"});
    data.phases.forEach((n, i) => { if (k.p[i] >= 0) dl.append(el("div", {}, el("dt", {}, el("i", {class: "ph ph-" + n}), n), el("dd", {class: "num"}, seconds(k.p[i])))); });
    return el("section", {}, el("h3", {}, "Time"), phaseBar(k, total(k) || 1), dl);
  }

  async function fillKernel(k, body) {
    const facts = [["Verdict", el("span", {}, sign(k.v), " " + k.v)]];
    if (k.r) facts.push(["Attempts", String(k.r)]);
    if (k.a) facts.push(["Accelerator", k.a.toUpperCase()]);
    const head = el("dl", {class: "pairs"});
    const fact = (n, v) => head.append(el("div", {}, el("dt", {}, n), el("dd", {}, v)));
    if (k.g) facts.push(["Failures", el("span", {}, ...marks(k))]);
    facts.forEach(([n, v]) => fact(n, v));
    body.append(head);
    if (k.t) body.append(el("p", {class: "cause"}, k.t));
    const kernelLink = (i) => el("a", {href: "#k=" + encodeURIComponent(data.kernels[i].id)}, data.kernels[i].id);
    if (k.v === "represented") {
      body.append(el("p", {}, "It was not booted. It is represented by ", k.b === undefined ? "a kernel that this page has no room for" : el("span", {}, kernelLink(k.b), became(data.kernels[k.b])), "."));
      return;
    }
    const place = byID.get(k.id), idle = [...data.kernels.keys()].filter((i) => data.kernels[i].b === place);
    if (idle.length) body.append(el("details", {class: "plain"}, el("summary", {}, "Stands for " + count(idle.length, "more kernel") + " of its kind, not booted"),
      el("ul", {class: "names"}, ...idle.slice(0, 500).map((i) => el("li", {}, kernelLink(i))))));
    const d = k.k < 0 ? null : (await unpack("d" + k.k))[k.o];
    if (!d) {
      body.append(el("p", {class: "notice"}, "This kernel's details are not in this page, which would be too large; report.json has them."), phaseTable(k) || "");
      return;
    }
    if (d.release) fact("Release", d.release);
    if (d.digest) fact("Digest", d.digest.slice(0, 19));
    for (const n of d.notes || []) body.append(el("p", {class: "notice quiet"}, n));
    if (d.excerpt && !(d.tests || []).some((t) => t.output && t.verdict === "fail" && d.excerpt.includes(t.output.trim().slice(0, 200)))) body.append(el("section", {}, el("h3", {}, "Excerpt"), block(d.excerpt, "Excerpt")));
    if (d.reproduce) body.append(el("section", {}, el("h3", {}, "To reproduce"), block(d.reproduce, "Command that reproduces it")));
    if (d.programs) body.append(programsView(d));
    if (d.tests) body.append(testsView(d));
    if (d.costs) body.append(costsView(d));
    if (d.console) {
      const box = el("section", {}, el("h3", {}, "Console"));
      if (k.x) {
        const show = el("button", {type: "button", id: "k-console", on: async () => {
          const c = await unpack(k.x);
          const [view, mark] = consoleView(c);
          show.replaceWith(view);
          (mark || view.querySelector("pre")).scrollIntoView({block: "center"});
          view.querySelector("pre").focus({preventScroll: true});
        }}, "Show the console");
        box.append(show, el("p", {class: "small"}, d.console));
      } else box.append(el("p", {class: "small"}, "It stands beside this page: " + d.console));
      body.append(box);
    }
    const further = Object.entries(d).filter(([name]) => !PLACED.includes(name) && !(name in LISTS));
    const more = further.length ? moreView(further) : null;
    if (more) body.append(el("section", {}, el("h3", {}, "Further"), more));
    const time = phaseTable(k), past = historyView(d);
    if (time) body.append(time);
    if (past) body.append(past);
    const f = d.kernel || {};
    const kernel = [
      pairs("Facts", Object.entries(f).filter(([name]) => name !== "config" && name !== "targets").map(([name, v]) => [name, v === true ? "yes" : v === false ? "no" : [v].flat().join(", ")]), true),
      pairs("What programs attach to", Object.entries(f.targets || {}).map(([name, has]) => [name, has ? "present" : "missing"])),
      pairs("Configuration", Object.entries(f.config || {}).map(([name, v]) => ["CONFIG_" + name, v]))].filter(Boolean);
    for (const [name, title] of Object.entries(LISTS)) {
      if (d[name]) kernel.push(el("details", {class: "plain"}, el("summary", {}, title + " (" + d[name].length + ")"),
        name === "files" ? el("ul", {}, ...d.files.map((f) => el("li", {}, el("a", {href: f}, f)))) : anything(d[name])));
    }
    if (kernel.length) body.append(el("section", {}, el("h3", {}, "Kernel"), ...kernel));
  }

  let current = -1, before;
  async function showKernel(place) {
    current = place;
    const k = data.kernels[place];
    const body = $("k-body");
    body.replaceChildren(el("h2", {id: "k-title"}, el("span", {class: "kdistro"}, data.distros[k.d] + "/"), k.id.slice(data.distros[k.d].length + 1)));
    const at = shown.indexOf(place);
    $("k-where").textContent = at < 0 ? "" : (at + 1).toLocaleString("en") + " of " + shown.length.toLocaleString("en");
    $("k-prev").disabled = at <= 0;
    $("k-next").disabled = at < 0 || at === shown.length - 1;
    if (!$("kernel").open) { before = document.activeElement; $("kernel").showModal(); }
    const content = document.createDocumentFragment();
    const busy = el("p", {class: "small"}, "Reading…");
    body.append(busy);
    try {
      await fillKernel(k, content);
    } catch (e) {
      content.append(el("p", {class: "notice"}, "This kernel's details cannot be read: " + e.message));
    }
    if (current !== place) return;
    busy.remove();
    body.append(content);
    body.scrollTop = 0;
    body.focus();
  }
  const openKernel = (id) => { location.hash = "k=" + encodeURIComponent(id); };
  function step(by) {
    const to = shown[shown.indexOf(current) + by];
    if (current >= 0 && shown.includes(current) && to !== undefined) history.replaceState(null, "", "#k=" + encodeURIComponent(data.kernels[to].id)), showKernel(to);
  }
  function leaveKernel() {
    const place = current;
    if ($("kernel").open) $("kernel").close();
    if (place < 0) return;
    current = -1;
    if (location.hash.startsWith("#k=")) history.replaceState(null, "", location.pathname + location.search);
    const row = $("list").querySelector('[data-place="' + place + '"]');
    if (before && before.isConnected && before !== document.body) before.focus();
    else if (row) row.focus();
  }
  function followHash() {
    let id = "";
    try { id = decodeURIComponent(location.hash); } catch { /* it is nobody's id */ }
    const place = id.startsWith("#k=") ? byID.get(id.slice(3)) : undefined;
    if (place !== undefined) showKernel(place);
    else leaveKernel();
  }

  function setUpKernel() {
    const dialog = $("kernel");
    $("k-close").addEventListener("click", leaveKernel);
    $("k-prev").addEventListener("click", () => step(-1));
    $("k-next").addEventListener("click", () => step(1));
    dialog.addEventListener("click", (e) => { if (e.target === dialog) leaveKernel(); });
    dialog.addEventListener("keydown", (e) => {
      if (e.altKey || e.ctrlKey || e.metaKey) return;
      if (e.key === "j" || e.key === "ArrowRight" && !e.target.closest("pre, .wide")) step(1);
      if (e.key === "k" || e.key === "ArrowLeft" && !e.target.closest("pre, .wide")) step(-1);
    });
    // By the Escape key. The event comes late: the next kernel may be open.
    dialog.addEventListener("close", () => { if (!dialog.open) leaveKernel(); });
    addEventListener("hashchange", followHash);
    addEventListener("keydown", (e) => {
      if (e.key === "/" && !dialog.open && !e.target.closest("input, select, textarea")) { e.preventDefault(); $("f-text").focus(); }
    });
    followHash();
  }

  unpack("index").then((index) => {
    data = index;
    setUpList();
    setUpGrid();
    setUpTests();
    setUpCosts();
    setUpKernel();
    requestAnimationFrame(() => setTimeout(() => {
      const ms = Math.round(performance.now());
      document.documentElement.dataset.ready = ms;
      $("opened").textContent = "Opened in " + ms + " ms.";
    }));
  }).catch((e) => {
    document.querySelector("main").prepend(el("p", {class: "notice"}, "The list of kernels cannot be read: " + e.message + ". What stands below is complete; use a current browser for the rest."));
    document.documentElement.dataset.ready = "-1";
  });
})();
