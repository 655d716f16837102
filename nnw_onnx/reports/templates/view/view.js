// The page of many runs. What is shown follows from the hash of the address alone; what runs say is
// put in as text, never as HTML.
"use strict";
const nnwView = (() => {
  const MOST = { runs: 100, records: 300, technologies: 6, columns: 10 };
  const live = "live" in document.documentElement.dataset;
  const main = document.getElementById("main");
  const told = document.getElementById("told");
  const sheets = new Map(), parts = new Map(), loading = new Map();
  let list = null, filters = "", picked = new Set();
  class Missing extends Error {}

  // Elements
  function put(node, children) {
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined && child !== false) node.append(child);
    }
    return node;
  }
  function el(tag, given = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(given)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    return put(node, children);
  }
  function svg(tag, given, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(given)) node.setAttribute(name, value);
    return put(node, children);
  }
  const glyph = (sign) => sign ? [svg("svg", { class: "g", "aria-hidden": "true" }, svg("use", { href: "#" + sign })), " "] : null;
  const plural = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const day = (seconds) => seconds < 86400 ? "no date" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const shortened = (items, most) => items.length > most ? `${items.slice(0, most).join(", ")} and ${items.length - most} more` : items.join(", ");
  const unique = (items) => [...new Set(items)].sort();
  const link = (values, ...children) => el("a", { href: address(values) }, ...children);
  const address = (values) => "#" + new URLSearchParams(Object.entries(values).filter(([, v]) => v)).toString();
  // A number in a text as it is shown: "−0.12", "1,024", "1.2 × 10⁻⁷", "10⁻⁷"; NaN where there is none.
  function numeric(text) {
    const plain = String(text ?? "").replace(/−/g, "-").replace(/,/g, "")
      .replace(/(?:× )?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)/, (_, power) => "e" + [...power].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(c)).map((i) => i ? i - 1 : "-").join(""));
    return parseFloat(plain.replace(/ e/, "e").replace(/^e/, "1e"));
  }
  function compare(a, b, falling) {
    const [x, y] = [numeric(a), numeric(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    const order = Number.isNaN(x) ? String(a ?? "").localeCompare(String(b ?? "")) : x - y;
    return falling ? -order : order;
  }

  // Data: scripts that hand over what they hold, because a page that is a file may load nothing else.
  function load(path, version) {
    const source = `${path}?${version}`;
    if (!loading.has(source)) {
      loading.set(source, new Promise((done, failed) => {
        const node = el("script", { src: source, onload: () => done(node.remove()), onerror: () => {
          node.remove();
          loading.delete(source);
          failed(new Missing(path));
        } });
        document.head.append(node);
      }));
    }
    return loading.get(source);
  }
  const runOf = (key) => list.find((run) => run.key === key && !run.reason);
  async function sheetOf(key) {
    const run = runOf(key);
    if (!run) throw new Missing(key);
    await load(`data/${key}.js`, run.version);
    return sheets.get(key);
  }
  async function recordsOf(key, technology) {
    await load(`data/${key}/${technology}.js`, runOf(key).version);
    return parts.get(`${key}/${technology}`);
  }

  // Small parts
  function select(name, title, options, chosen, change) {
    const made = options.map(([value, text]) => el("option", { value, selected: value === chosen ? "selected" : null }, text));
    return el("label", {}, title, el("select", { name, onchange: (event) => change(event.target.value) }, made));
  }
  function bar(found) {
    return svg("svg", { class: "bar", "aria-hidden": "true" },
      svg("rect", { class: "all", width: "100%", height: 9 }),
      svg("rect", { class: "good", width: found.good, height: 9 }),
      svg("rect", { class: "bad", x: found.from, width: found.bad, height: 9 }));
  }
  const unseen = (text) => el("span", { class: "unseen" }, text);
  const loss = (found) => el("span", { class: `chip ${found.style}`, title: found.title }, glyph(found.sign), `loss ${found.top}`, unseen(`, ${found.below}`));
  function shown(node, title) {
    document.title = `${title} – watermark evaluations`;
    main.replaceChildren(...[node].flat(Infinity).filter(Boolean));
  }
  const heading = (text, ...rest) => el("h1", { tabindex: -1 }, text, ...rest);
  const back = (...more) => el("nav", { class: "where", "aria-label": "Where" }, el("a", { href: "#" + filters }, "All runs"), more);

  // The list
  const text = (run) => [run.name, run.title, run.task, run.data, run.reason, ...(run.networks ?? []), ...(run.verdicts ?? []), ...(run.technologies ?? []).map((t) => t.name)].join(" ").toLowerCase();
  const methods = (run) => unique((run.technologies ?? []).map((t) => t.method));
  const modifications = (run) => unique((run.settings ?? []).flatMap((s) => s.steps));
  const measures = (run) => (run.qualities ?? []).map((q) => q.measure);
  const quality = (run, measure) => (run.qualities ?? []).find((q) => !measure || q.measure === measure);
  const share = (run) => Math.max(-1, ...(run.technologies ?? []).map((t) => parseFloat(t.survived.good)));
  const SORTS = [
    ["-changed", "Last written first", (a, b) => b.changed - a.changed],
    ["changed", "First written first", (a, b) => a.changed - b.changed],
    ["name", "Name", (a, b) => a.name.localeCompare(b.name)],
    ["-quality", "Best quality first", (a, b, m) => compare(quality(a, m)?.value, quality(b, m)?.value, true)],
    ["-survived", "Most survived first", (a, b) => share(b) - share(a)],
    ["-networks", "Most networks first", (a, b) => (b.networks ?? []).length - (a.networks ?? []).length],
  ];
  function chosen(asked) {
    const words = (asked.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const [method, modification, measure] = ["method", "modification", "measure"].map((name) => asked.get(name));
    const [, , order] = SORTS.find(([value]) => value === asked.get("sort")) ?? SORTS[0];
    return list.filter((run) => words.every((word) => text(run).includes(word))
      && (!method || methods(run).includes(method))
      && (!modification || modifications(run).includes(modification))
      && (!measure || measures(run).includes(measure)))
      .sort((a, b) => order(a, b, measure) || a.name.localeCompare(b.name));
  }
  function listed(asked) {
    const body = el("tbody"), more = el("p"), count = el("p", { class: "note", role: "status" });
    const go = el("a", { class: "go" }), head = el("th", { scope: "col" });
    let most = MOST.runs;
    function change(name, value) {
      if (value) asked.set(name, value); else asked.delete(name);
      filters = asked.toString();
      history.replaceState(null, "", "#" + filters);
      draw();
    }
    function pick() {
      const keys = [...picked].filter(runOf);
      go.textContent = keys.length ? `Compare ${plural(keys.length, "run")}` : "Compare: tick runs";
      if (keys.length) go.setAttribute("href", address({ compare: keys.join(",") }));
      else go.removeAttribute("href");
      go.toggleAttribute("aria-disabled", !keys.length);
    }
    function draw() {
      const found = chosen(asked), modification = asked.get("modification");
      head.textContent = modification ? `Under ${modification}` : "What survives, and loss through the watermark";
      body.replaceChildren(...found.slice(0, most).map((run) => row(run, asked, pick)));
      const sick = list.filter((run) => run.reason).length;
      count.textContent = `${found.length === list.length ? "" : `${found.length.toLocaleString("en")} of `}${plural(list.length, "run")}${sick ? `; ${sick} cannot be shown` : ""}`;
      more.replaceChildren(...found.length > most ? [el("button", { type: "button", onclick: () => { most += MOST.runs; draw(); } }, `Show more of ${plural(found.length, "run")}`)] : []);
      pick();
    }
    const options = (of, all) => [["", all], ...unique(list.flatMap(of)).map((value) => [value, value])];
    const choice = (name, title, of, all) => select(name, title, options(of, all), asked.get(name) ?? "", (value) => change(name, value));
    filters = asked.toString();
    const form = el("form", { class: "ask", role: "search", onsubmit: (event) => event.preventDefault() },
      el("label", { class: "all" }, "Search", el("input", { type: "search", name: "q", value: asked.get("q"), placeholder: "name, network, verdict, …", oninput: (event) => change("q", event.target.value) })),
      choice("method", "Method", methods, "all methods"),
      choice("modification", "Modification", modifications, "all Modifications"),
      choice("measure", "Measure of quality", measures, "each run's first"),
      select("sort", "Order", SORTS, asked.get("sort") ?? "-changed", (value) => change("sort", value)),
      go);
    const heads = ["Run", "Networks", "Quality", "Modifications"].map((name) => el("th", { scope: "col" }, name));
    draw();
    shown([heading("Watermark evaluations"), form, count,
      el("table", { class: "runs", role: "table", "aria-label": "Runs" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, el("th", { scope: "col", class: "pick" }, unseen("Choose")), heads, head)), body), more], "Runs");
  }
  function row(run, asked, pick) {
    const name = el("th", { scope: "row", role: "rowheader" },
      run.reason ? el("b", {}, run.name) : link({ run: run.key }, run.name),
      run.title && el("small", {}, run.title), el("small", {}, day(run.changed)));
    if (run.reason) {
      return el("tr", { role: "row" }, el("td", { class: "pick", role: "cell" }), name, el("td", { colspan: 4, class: "sick", role: "cell" }, el("b", {}, "! cannot be shown: "), run.reason));
    }
    const box = el("input", { type: "checkbox", "aria-label": `Compare ${run.name}`, onchange: () => { picked[box.checked ? "add" : "delete"](run.key); pick(); } });
    box.checked = picked.has(run.key);
    const good = quality(run, asked.get("measure"));
    const cell = (name, ...children) => el("td", { "data-name": name, role: "cell" }, children);
    return el("tr", { role: "row" }, el("td", { class: "pick", role: "cell" }, box), name,
      cell("Networks", `${run.networks.length} × ${plural(run.payloads, "Payload")}`, el("small", { title: run.networks.join(", ") }, ` ${shortened(run.networks, 2)}; ${run.data}`)),
      cell("Quality", good && [el("span", { class: "num" }, good.value), el("small", {}, ` ${good.measure}`)]),
      cell("Modifications", `${run.settings.length} `, el("small", { title: run.settings.map((s) => s.label).join("\n") }, shortened(modifications(run), 4))),
      el("td", { class: "found", role: "cell" }, findings(run, asked)));
  }
  function findings(run, asked) {
    const [method, modification] = [asked.get("method"), asked.get("modification")];
    const own = run.order.map((index) => [run.technologies[index], index]).filter(([t]) => !method || t.method === method);
    const lines = own.slice(0, MOST.technologies).map(([t, index]) => el("div", { class: "one" },
      el("span", {}, t.name),
      modification ? el("span", { class: "chips" }, under(run, t, index, modification)) : [bar(t.survived), el("span", { title: t.survived.title }, t.survived.text), loss(t.loss)]));
    const rest = own.length - lines.length;
    return [lines, rest > 0 && el("small", {}, link({ run: run.key }, `and ${rest} more`)),
      run.unfinished && el("small", { class: "sick" }, `unfinished: ${run.unfinished}`),
      run.warnings.length > 0 && el("small", { title: run.warnings.join("\n") }, plural(run.warnings.length, "warning"))];
  }
  function under(run, technology, index, modification) {
    return run.settings.map((setting, i) => {
      if (!setting.steps.includes(modification)) return null;
      const [style, sign, said] = technology.cells[i];
      return el("a", { class: `chip ${style}`, href: address({ cell: `${run.key}.${index}.${i}` }), title: setting.label }, glyph(sign), said);
    });
  }

  // Technologies beside one another: those of a run, or those that are compared
  async function columnsOf(wanted) {
    const made = [];
    for (const one of wanted) {
      const [key, index] = one.split(".");
      const sheet = await sheetOf(key);
      for (const technology of index === undefined ? sheet.order : [Number(index)]) {
        if (sheet.technologies[technology]) made.push({ key, sheet, index: technology, run: runOf(key), is: sheet.technologies[technology] });
      }
    }
    return made;
  }
  function rowsOf(columns) {
    const found = new Map();
    for (const { sheet } of columns) {
      for (const setting of sheet.settings) if (!found.has(setting.label)) found.set(setting.label, setting);
    }
    const families = columns[0]?.sheet.families ?? [];
    return families.map(([key, title]) => [title, [...found.values()].filter((s) => s.family === key)]).filter(([, rows]) => rows.length);
  }
  const settingOf = (column, label) => column.sheet.settings.find((setting) => setting.label === label);
  function matrix(columns, asked) {
    const groups = rowsOf(columns), quantity = asked.get("show"), several = new Set(columns.map((c) => c.key)).size > 1;
    const turned = columns.length > MOST.columns, few = columns.length <= 3;
    const headOf = (column) => el("th", { scope: turned ? "row" : "col", class: turned ? "r" : null, title: column.is.full }, turned ? column.is.full : column.is.name, several && el("small", {}, link({ run: column.key }, column.run.name)));
    const sums = [
      { label: "Robustness", tested: "settings survived of those that leave networks usable", cell: (c) => el("td", { title: c.is.survived.title }, el("span", {}, el("b", {}, c.is.survived.text), bar(c.is.survived), el("i", {}, c.is.survived.least && `least found ${c.is.survived.least}`))) },
      { label: "Imperceptibility", tested: "loss through the watermark itself", cell: (c) => plain(c.is.loss) },
      { label: "False alarms", tested: "networks without it, in any setting", cell: (c) => plain(c.is.alarms) },
      { label: "Right after the injection", tested: quantity ? "" : "found of tested", cell: (c) => levelCell(c, "", c.is.unmodified, quantity) },
    ];
    const labelOf = (setting) => [setting.code && el("code", {}, setting.code), setting.code && " ", setting.label, setting.tested && el("small", {}, setting.tested)];
    const cellOf = (setting) => (column) => {
      const own = settingOf(column, setting.label);
      if (!own) return el("td", { class: "no" }, el("span", {}, "not tried"));
      const cell = column.is.cells[own.index];
      return quantity ? levelCell(column, own.index, cell.levels, quantity) : verdictCell(column, own, cell, few);
    };
    const region = (table) => el("div", { class: "box", tabindex: 0, role: "region", "aria-label": "What survives" }, table);
    if (turned) {
      const across = [...sums.map((s) => ({ ...s, make: s.cell })), ...groups.flatMap(([, rows]) => rows.map((s) => ({ ...s, make: cellOf(s) })))];
      return region(el("table", { class: "m wide" },
        el("thead", {}, el("tr", {}, el("th", { class: "r", scope: "col" }, "Technology"), across.map((s) => el("th", { scope: "col" }, labelOf(s))))),
        el("tbody", {}, columns.map((c) => el("tr", {}, headOf(c), across.map((s) => s.make(c)))))));
    }
    const line = (s, make) => el("tr", {}, el("th", { class: "r", scope: "row", title: (s.steps ?? []).join("; ") }, labelOf(s)), columns.map(make));
    return region(el("table", { class: few ? "m few" : "m" },
      el("thead", {}, el("tr", {}, el("th", { class: "r", scope: "col" }, "Modification", el("small", {}, "Intensities, weak to strong")), columns.map(headOf))),
      el("tbody", {}, sums.map((s) => line(s, s.cell))),
      groups.map(([title, rows]) => el("tbody", {}, el("tr", {}, el("th", { class: "group", scope: "rowgroup", colspan: columns.length + 1 }, el("span", {}, title))), rows.map((s) => line(s, cellOf(s)))))));
  }
  const plain = (cell) => el("td", { class: cell.style, title: cell.title }, el("span", {}, el("b", {}, glyph(cell.sign), cell.top), cell.below && el("i", {}, cell.below)));
  const cellLink = (column, setting) => address({ cell: `${column.key}.${column.index}${setting === "" ? "" : "." + setting}` });
  function verdictCell(column, setting, cell, few) {
    const words = few
      ? el("div", { class: "both" }, el("div", {}, el("b", {}, glyph(cell.sign), cell.said), el("i", {}, cell.under)),
        cell.chips.length > 0 && el("div", { class: "strip" }, cell.chips.map(([sign, text, below, dead, title]) => el("span", { class: dead ? "dead" : sign === "lo" || sign === "nn" ? sign : null, title }, glyph(sign), text, el("i", {}, below)))))
      : [el("b", {}, glyph(cell.sign), cell.top), cell.below && el("i", {}, cell.below)];
    return el("td", { class: cell.style, title: `${cell.title}${cell.reason ? ` (${cell.reason})` : ""}` }, el("a", { href: cellLink(column, setting.index), "aria-label": few ? null : `${cell.said}: ${cell.title}` }, words));
  }
  function levelCell(column, setting, levels, quantity) {
    const place = column.sheet.levels.findIndex(([key]) => key === quantity);
    if (setting === "" && !quantity) {
      const [found, tested] = ["found", "tested"].map((name) => column.sheet.levels.findIndex(([key]) => key === name));
      return el("td", {}, el("a", { href: cellLink(column, "") }, levels.map((level) => `${first(level.items[found])} of ${first(level.items[tested])}`)));
    }
    const values = levels.map((level) => el("span", { class: level.usability === "unusable" || level.usability === "undecided" ? "dead" : null, title: limits(level.items[place]) }, level.at && levels.length > 1 && el("small", {}, level.at, ": "), first(level.items[place]) ?? "–"));
    return el("td", {}, el("a", { href: cellLink(column, setting) }, el("div", { class: "values" }, values)));
  }
  const first = (item) => Array.isArray(item) ? item[0] : item;
  const limits = (item) => Array.isArray(item) ? item[1] : "";
  function show(columns, asked, ...more) {
    const known = new Map(columns.flatMap((c) => c.sheet.quantities));
    const chosenKey = known.has(asked.get("show")) ? asked.get("show") : "";
    if (!chosenKey) asked.delete("show");
    return el("form", { class: "ask", onsubmit: (event) => event.preventDefault() },
      select("show", "Show in the matrix", [["", "Verdicts"], ...known], chosenKey, (value) => {
        if (value) asked.set("show", value); else asked.delete("show");
        location.hash = asked.toString();
      }), more);
  }
  function facts(columns) {
    const titles = [...new Set(columns.flatMap((c) => c.is.facts.map(([title]) => title)))];
    return titles.map((title) => {
      const own = columns.map((c) => new Map(c.is.facts.find(([name]) => name === title)?.[1] ?? []));
      const names = [...new Set(own.flatMap((values) => [...values.keys()]))];
      const value = (item) => item === undefined ? "–" : Array.isArray(item) ? [item[0] ?? "–", " ", el("small", {}, item[1])] : item;
      const table = columns.length > MOST.columns
        ? el("table", { class: "d" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Technology"), names.map((n) => el("th", { scope: "col" }, n)))),
          el("tbody", {}, columns.map((c, i) => el("tr", {}, el("th", { scope: "row" }, c.is.full), names.map((n) => el("td", {}, value(own[i].get(n))))))))
        : el("table", { class: "d" }, el("thead", {}, el("tr", {}, el("th", {}), columns.map((c) => el("th", { scope: "col" }, c.is.name)))),
          el("tbody", {}, names.map((n) => el("tr", {}, el("th", { scope: "row" }, n), own.map((values) => el("td", { class: "tx" }, value(values.get(n))))))));
      return el("details", {}, el("summary", {}, title), el("div", { class: "scroll" }, table));
    });
  }
  const key = (sheet) => sheet.key.length > 0 && el("ul", { class: "key" }, sheet.key.map(([style, sign, sample, meaning]) => el("li", {}, el("span", { class: style }, glyph(sign), sample), meaning)), el("li", {}, "Open a cell for its numbers and records."));

  async function runView(asked) {
    const run = asked.get("run"), sheet = await sheetOf(run), columns = await columnsOf([run]), entry = runOf(run);
    const base = sheet.base.map(([name, value, meaning], i) => [i > 0 && ", ", `${name} `, el("b", {}, value), meaning && ` (${meaning})`]);
    shown([back(), heading(sheet.title), el("p", { class: "note" }, `${entry.name}, last written: ${day(entry.changed)}`), el("p", { class: "lead" }, sheet.lead),
      el("p", { class: "lead" }, "Unwatermarked networks: ", base, ". ", sheet.usable),
      el("ul", { class: "said" }, sheet.verdicts.map(([subject, rest]) => el("li", {}, el("b", {}, subject), rest))),
      show(columns, asked, link({ compare: run }, "Side by side with others")), matrix(columns, asked), key(sheet),
      el("h2", {}, "The technologies"), facts(columns),
      sheet.warnings.length > 0 && [el("h2", {}, plural(sheet.warnings.length, "warning")), el("ul", { class: "warnings" }, sheet.warnings.map(([name, text]) => el("li", {}, el("b", {}, name), ": ", text)))],
      el("h2", {}, "What was evaluated"), el("dl", {}, sheet.about.map(([term, meaning]) => [el("dt", {}, term), el("dd", {}, meaning)]))], sheet.title);
  }

  // Comparison
  async function compareView(asked) {
    const wanted = asked.get("compare").split(",").filter((one) => runOf(one.split(".")[0]));
    const columns = await columnsOf(wanted);
    const ids = columns.map((c) => `${c.key}.${c.index}`);
    const to = (values) => { asked.set("compare", values.join(",")); location.hash = asked.toString(); };
    const others = list.filter((run) => !run.reason).flatMap((run) => [[run.key, `${run.name}: all`], ...run.technologies.map((t, i) => [`${run.key}.${i}`, `${run.name}: ${t.name}`])]).filter(([value]) => !ids.includes(value));
    const same = (of) => new Set(columns.map((c) => JSON.stringify(of(c.run)))).size < 2;
    const differ = [[same((r) => r.networks), "networks"], [same((r) => r.data), "data sets"], [same((r) => r.qualities[0]?.measure), "measures"]].filter(([alike]) => !alike).map(([, name]) => name);
    shown([back(), heading("Side by side"),
      differ.length > 0 && el("p", { class: "warned" }, el("b", {}, "! "), `These runs have different ${differ.join(" and ")}: their figures are not comparable.`),
      el("p", { class: "note" }, "Side by side is no test of a difference: 'nnw compare' tests claims on runs of the same networks."),
      el("ul", { class: "chosen", "aria-label": "Compared technologies" }, columns.map((c, i) => el("li", {}, `${c.run.name}: ${c.is.name}`, el("button", { type: "button", "aria-label": `Leave out ${c.run.name}: ${c.is.name}`, onclick: () => to(ids.filter((_, j) => j !== i)) }, "✕")))),
      show(columns, asked, select("add", "Add a technology", [["", "choose …"], ...others], "", (value) => value && to([...ids, value]))),
      columns.length > 0 && [matrix(columns, asked), key(columns[0].sheet), el("h2", {}, "The technologies"), facts(columns)]], "Side by side");
  }

  // A cell, down to its records
  async function cellView(asked) {
    const [run, index, setting] = asked.get("cell").split(".");
    const sheet = await sheetOf(run), technology = sheet.technologies[index];
    const own = sheet.settings.find((s) => String(s.index) === setting);
    const cell = own && technology.cells[setting], levels = cell ? cell.levels : technology.unmodified;
    const name = own ? own.label : "Right after the injection";
    const beside = sheet.order.filter((i) => String(i) !== index).map((i) => [" ", link({ cell: [run, i, setting].filter((x) => x !== undefined).join(".") }, sheet.technologies[i].name)]);
    const kept = sheet.levels.map((head, i) => [head, i]).filter(([, i]) => levels.some((level) => level.items[i] !== null && !(Array.isArray(level.items[i]) && level.items[i][0] === null)));
    const number = (item) => item === null ? "–" : Array.isArray(item) ? [item[0] ?? "–", " ", el("small", {}, item[1])] : item;
    const table = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers" }, el("table", { class: "d" },
      el("thead", {}, el("tr", {}, el("th", {}), levels.map((level) => el("th", { scope: "col" }, level.at || "once", level.usability && el("small", {}, ` ${level.usability}`))))),
      el("tbody", {}, kept.map(([[, head], i]) => el("tr", {}, el("th", { scope: "row" }, head), levels.map((level) => el("td", {}, number(level.items[i]))))))));
    const records = el("div", {}, el("p", { class: "note" }, "Reading the records …"));
    shown([back(" › ", link({ run }, runOf(run).name)), heading(own ? [el("code", {}, own.code), " "] : "", name), el("p", { class: "lead" }, el("b", {}, technology.full), cell && [": ", cell.said, cell.under && `; ${cell.under}`]),
      cell && cell.reason && el("p", { class: "note" }, cell.reason), own && own.steps.length > 0 && el("p", { class: "note" }, own.steps.join("; ")),
      beside.length > 0 && el("p", { class: "note" }, "The same of:", beside),
      el("p", { class: "note before" }, "Means over networks, with their limits where they hold, by Intensity."), table, el("h2", {}, "Records"), records], `${technology.name}, ${name}`);
    recordTable(records, await recordsOf(run, index), setting ?? "", asked);
  }
  function recordTable(node, found, setting, asked) {
    const rows = found.rows[setting] ?? [];
    const kept = found.heads.map((head, i) => [head, i]).filter(([[name], i]) => name === "number" || rows.some((row) => row[i] !== null));
    const carries = found.heads.findIndex(([name]) => name === "carries");
    const KINDS = [["", "All"], ["with", "Watermarked"], ["without", "Without the watermark"]];
    let most = MOST.records;
    function draw() {
      const kind = asked.get("of") ?? "", sort = asked.get("by") ?? "", falling = sort.startsWith("-");
      const place = found.heads.findIndex(([name]) => name === sort.replace(/^-/, ""));
      const own = rows.filter((row) => !kind || row[carries].startsWith("nothing") === (kind === "without"));
      if (place >= 0) own.sort((a, b) => compare(a[place], b[place], falling));
      const change = (name, value) => { asked.set(name, value); if (!value) asked.delete(name); history.replaceState(null, "", "#" + asked); draw(); };
      const head = ([name, text, isNumber], i) => el("th", { scope: "col", class: isNumber ? null : "tx", "aria-sort": place === i ? falling ? "descending" : "ascending" : null },
        el("button", { type: "button", id: `by-${name}`, onclick: () => { change("by", place === i && !falling ? `-${name}` : name); document.getElementById(`by-${name}`).focus(); } }, text, place === i ? falling ? " ↓" : " ↑" : ""));
      // A No is right where nothing is carried; only what is wrong is dark.
      const item = (name, row, i, isNumber) => {
        const carried = /^(Payload|a watermark)/.test(row[carries]), yes = row[i] === "yes";
        if ((name !== "answer" && name !== "again") || (!yes && row[i] !== "no")) return el("td", { class: isNumber ? null : "tx" }, row[i] ?? "–");
        const wrong = yes !== carried;
        return el("td", { class: wrong ? "tx not" : yes ? "tx yes" : "tx" }, glyph(wrong ? "lo" : yes ? "sv" : ""), row[i], wrong && unseen(", wrongly"));
      };
      put(node, [node.replaceChildren(),
        el("form", { class: "ask", onsubmit: (event) => event.preventDefault() }, select("of", "Networks", KINDS, kind, (value) => change("of", value))),
        el("p", { class: "note", role: "status" }, `${plural(own.length, "record")}${found.whole ? "" : "; this technology has more than are shown: the rest are in records.jsonl"}. Record: line of records.jsonl.`),
        el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Records" }, el("table", { class: "d records" },
          el("thead", {}, el("tr", {}, kept.map(([h, i]) => head(h, i)))),
          el("tbody", {}, own.slice(0, most).map((row) => el("tr", {}, kept.map(([[name, , isNumber], i]) => item(name, row, i, isNumber))))))),
        own.length > most && el("button", { type: "button", onclick: () => { most += MOST.records; draw(); } }, "Show more")]);
    }
    draw();
  }

  // Where the address leads
  async function draw(moved) {
    const asker = main.contains(document.activeElement) ? document.activeElement.name : "";
    const asked = new URLSearchParams(location.hash.slice(1));
    told.textContent = "";
    try {
      if (asked.has("run")) await runView(asked);
      else if (asked.has("compare")) await compareView(asked);
      else if (asked.has("cell")) await cellView(asked);
      else listed(asked);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      shown([back(), heading("Not there")], "Not there");
      told.textContent = `Expected a run of this folder, got none at ${error.message}; it may be gone: go back to all runs.`;
    }
    // Who has just chosen something goes on there; who has followed a link begins at the top.
    const same = asker && document.getElementsByName(asker)[0];
    if (same || moved) (same || main.querySelector("h1")).focus();
  }
  async function start() {
    try {
      await load("data/runs.js", live ? Date.now() : "");
      await draw(false);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      told.textContent = "Expected the list of runs, got none: is 'nnw view' still running, and are there runs? Then load this page again.";
    }
  }
  // A run that is new since then: the list is asked for again when somebody comes back to it.
  async function again() {
    if (!live || !list || /(^#|&)(run|compare|cell)=/.test(location.hash)) return;
    const before = JSON.stringify(list);
    await load("data/runs.js", Date.now()).catch(() => { told.textContent = "No answer: 'nnw view' was ended, or there are no runs any more."; });
    if (JSON.stringify(list) !== before) await draw(false);
  }
  addEventListener("focus", again);
  addEventListener("hashchange", () => location.hash === "#main" ? main.querySelector("h1").focus() : draw(true).then(again));
  addEventListener("DOMContentLoaded", start);
  return {
    runs(found) { list = found; },
    run(key, sheet) { sheets.set(key, sheet); },
    records(key, technology, found) { parts.set(`${key}/${technology}`, found); },
  };
})();
