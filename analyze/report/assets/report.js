"use strict";

// The page's data is text from a log: it enters the document as text nodes
// only, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const byId = (id) => document.getElementById(id);

  // ---- texts

  const group = new Intl.NumberFormat("en-US");
  const number = (n) => (n === null || n === undefined ? "" : group.format(n));

  const time = (iso) => (iso ? iso.replace("T", " ").replace("Z", "") : "");

  function bytes(n) {
    if (n === null || n === undefined) return "";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
    return (i === 0 ? group.format(n) : n.toFixed(n < 10 ? 2 : 1)) + " " + units[i];
  }

  function duration(seconds) {
    if (seconds === null) return "";
    if (seconds < 60) return seconds + " s";
    if (seconds < 3600) return Math.floor(seconds / 60) + " min " + (seconds % 60) + " s";
    return Math.floor(seconds / 3600) + " h " + Math.floor((seconds % 3600) / 60) + " min";
  }

  const percent = (p) => (p === null || p === undefined ? "" : Math.round(p * 100) + " %");

  // counted gives "3 (2-4)": the likeliest number, and the range that holds
  // the right one, unless that is one number.
  const counted = (n, low, high) => (low === high ? number(n) : number(n) + " (" + number(low) + "-" + number(high) + ")");

  const probability = (p) => (p === null || p === undefined ? "" : p.toLocaleString("en-US", { maximumSignificantDigits: 2 }));

  function endpoint(addr, port) {
    if (!addr) return "";
    return addr.includes(":") ? "[" + addr + "]:" + port : addr + ":" + port;
  }

  const protocols = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };

  function rejectedBy(row) {
    const rule = row.rule_default ? "*" : row.rule_number;
    return [row.cause_id, rule ? "rule " + rule : ""].filter(Boolean).join(" ");
  }

  function element(name, className, text) {
    const e = document.createElement(name);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  }

  // ---- rows

  // rowsOf turns the lists of a table into objects, and adds what several
  // columns are made of.
  function rowsOf(name) {
    const { columns, rows } = data.tables[name];
    return rows.map((cells, id) => {
      const row = { id };
      columns.forEach((column, i) => { row[column] = cells[i]; });
      return withDerived(row);
    });
  }

  function withDerived(row) {
    row.client = endpoint(row.client_addr, row.client_port);
    row.server = endpoint(row.server_addr, row.server_port);
    row.nat = endpoint(row.nat_addr, row.nat_port);
    row.source = endpoint(row.srcaddr, row.srcport);
    row.destination = endpoint(row.dstaddr, row.dstport);
    row.packet = row.pkt_srcaddr ? row.pkt_srcaddr + " → " + row.pkt_dstaddr : "";
    row.rejected_by = rejectedBy(row);
    row.length = row.start && row.end ? (Date.parse(row.end) - Date.parse(row.start)) / 1000 : null;
    row.backtest = row.backtest_total ? number(row.backtest_lost) + " of " + number(row.backtest_total) : "";
    row.data = counted(row.data_connections, row.data_connections_low, row.data_connections_high);
    if (row.candidate_probabilities) row.fits = row.candidate_probabilities.map((p, i) => row.candidates[i] + " " + percent(p)).join(", ");
    row.text = Object.values(row).flat().filter((v) => v !== null && v !== "").join(" ").toLowerCase();
    return row;
  }

  // ---- columns

  // A column shows its value as text; the whole of it is also the cell's
  // title, for texts that are cut.
  const show = (format, className) => (cell) => {
    const text = format(cell.getValue());
    cell.getElement().title = text;
    return element("span", className, text);
  };

  const plain = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));

  const badge = (cell) => element("span", "badge " + plain(cell.getValue()).replace(/[^a-z-]/g, ""), plain(cell.getValue()));

  // sessionButton narrows the page to a session. Without one, a data
  // connection is ambiguous, and its title says which sessions fit; a rejected
  // flow belongs to none.
  function sessionButton(cell) {
    const id = cell.getValue();
    if (!id) {
      const { fits } = cell.getData();
      if (fits) cell.getElement().title = "Given to no session, since none is probable enough: " + fits;
      return element("span", "soft", fits ? "ambiguous" : "");
    }
    const button = element("button", "link", id);
    button.type = "button";
    button.addEventListener("click", (event) => { event.stopPropagation(); focusOn(id); });
    return button;
  }

  const column = (field, title, headerTooltip, width, more) => ({ field, title, headerTooltip, width, formatter: show(plain), ...more });
  const count = (field, title, tip, width) => column(field, title, tip, width, { hozAlign: "right", headerHozAlign: "right", formatter: show(number), sorter: "number" });
  const size = (field, title, tip) => column(field, title, tip, 105, { hozAlign: "right", headerHozAlign: "right", formatter: show(bytes), sorter: "number" });
  const moment = (field, title, tip) => column(field, title, tip, 182, { formatter: show(time) });
  const address = (field, title, tip) => column(field, title, tip, 178, { formatter: show(plain, "mono") });
  const code = (field, title, tip, width) => column(field, title, tip, width, { formatter: show(plain, "mono") });
  const words = (field, title, tip, width) => column(field, title, tip, width ?? 300);
  const outcome = () => column("outcome", "Outcome", "How it ended: ok, blocked by a rule of the VPC, refused by the server, no-answer from outside, no-data, idle-timeout at the NAT gateway, or incomplete at the log's edge.", 142, { formatter: badge });
  const diedAt = () => column("died_at", "Died at", "The last point that it reached, P1 to P6, or the server.", 108);
  const confidence = (tip) => column("confidence", "Confidence", tip ?? "How far the log decides: 100 % when no other reading comes near.", 132, { hozAlign: "right", headerHozAlign: "right", formatter: show(percent), sorter: "number" });
  const length = () => column("length", "Length", "From the first packet to the last.", 110, { hozAlign: "right", headerHozAlign: "right", formatter: show(duration), sorter: "number" });
  const session = (title, frozen) => column("session_id", title, "Choose a session to see only what belongs to it.", 160, { formatter: sessionButton, frozen });

  const tables = {
    sessions: [
      session("Session", true), outcome(), diedAt(),
      words("cause", "Cause", "Why it ended like this."),
      moment("start", "Start", "The first packet of the control connection, UTC."), length(),
      address("client", "Client", "The client's address and port."),
      address("server", "Server", "The server's address and control port."),
      address("nat", "NAT", "The address and port that the NAT gateway gave the control connection."),
      column("mode", "Mode", "passive: the client opens data connections; active: the server does.", 95),
      column("tls", "TLS", "implicit on port 990; otherwise a flow log cannot tell.", 95),
      column("data", "Data", "Data connections that belong to it: the likeliest number, and the range that holds the right one with 95 %, where the log does not decide it.", 105, { hozAlign: "right", headerHozAlign: "right", sorter: (a, b, x, y) => x.getData().data_connections - y.getData().data_connections }),
      size("bytes_to_server", "To server", "Bytes of the control connection."),
      size("bytes_to_client", "To client", "Bytes of the control connection."),
      confidence(),
      code("client_interface", "Client interface", "The network interface of the client.", 200),
      code("nat_interface", "NAT interface", "The network interface of the NAT gateway.", 200),
    ],
    data_connections: [
      code("data_id", "Data", "The name of the data connection in this report.", 145),
      session("Session"),
      words("fits", "Candidates", "The fewest sessions that hold the right one with 95 %, each with the probability that it is the right one.", 190),
      outcome(), diedAt(),
      words("cause", "Cause", "Why it ended like this."),
      moment("start", "Start", "The first packet, UTC."), length(),
      address("client", "Client", "The client's address and port."),
      address("server", "Server", "The server's address and data port."),
      address("nat", "NAT", "The address and port that the NAT gateway gave it."),
      column("mode", "Mode", "passive: opened by the client; active: opened by the server.", 95),
      size("bytes_to_server", "To server", "Bytes from the client to the server: uploads."),
      size("bytes_to_client", "To client", "Bytes from the server to the client: downloads and listings."),
      count("packets_to_server", "Packets out", "Packets to the server.", 125),
      count("packets_to_client", "Packets in", "Packets to the client.", 120),
      confidence("How probable it is that the first candidate is the right one."),
      column("ftp_probability", "FTP", "How probable it is that this is an FTP data connection at all, of whichever session.", 85, { hozAlign: "right", headerHozAlign: "right", formatter: show(percent), sorter: "number" }),
    ],
    nat_mappings: [
      address("client", "Client", "The client's address and port."),
      address("nat", "NAT", "The NAT gateway's address and the port it picked."),
      address("server", "Server", "The server's address and port."),
      column("protocol", "Protocol", "The protocol's name or number.", 105, { formatter: show((p) => protocols[p] ?? plain(p)) }),
      moment("start", "Start", "The first packet, UTC."), length(), confidence(),
      words("candidates", "Candidates", "Other NAT ports that explain the records as well.", 220),
      code("client_interface", "Client interface", "The network interface of the client.", 200),
      code("nat_interface", "NAT interface", "The network interface of the NAT gateway.", 200),
    ],
    rejects: [
      column("cause", "Cause", "nacl, sg, bpa (block public access), encryption, late (after the connection was over: no rule), or undetermined.", 130),
      code("rejected_by", "Rejected by", "The entry or the groups that rejected it. Rule * is the default at the end of a network ACL.", 265),
      column("point", "Point", "Where on the way, P1 to P6.", 80),
      column("direction", "Direction", "As seen from the interface.", 120),
      address("source", "Source", "Source address and port in the record."),
      address("destination", "Destination", "Destination address and port in the record."),
      words("also_denied_by", "Also denied by", "Denials waiting behind: lifting the first alone does not help.", 210),
      session("Session"),
      moment("start", "Start", "The first packet, UTC."), length(),
      count("packets", "Packets", "Rejected packets.", 95),
      size("bytes", "Bytes", "Rejected bytes."),
      count("records", "Records", "Flow log records.", 95),
      confidence(),
      words("evidence", "Evidence", "What the conclusion stands on.", 380),
      address("packet", "In the packet", "The addresses in the packet's header (pkt-srcaddr, pkt-dstaddr)."),
      column("protocol", "Protocol", "The protocol's name or number.", 105, { formatter: show((p) => protocols[p] ?? plain(p)) }),
      code("interface_id", "Interface", "The network interface that logged it.", 200),
      code("subnet_id", "Subnet", "The interface's subnet.", 200),
    ],
    port_ranges: [
      code("filter_id", "Filter", "The network ACL or the security group.", 195),
      column("direction", "Direction", "As seen from the filter's subnet or interface.", 120),
      column("peer", "Peer", "The other side, as a prefix.", 150),
      column("purpose", "Purpose", "control, data, reply, or other: traffic that is not FTP.", 118),
      column("port_chosen_by", "Picked by", "Who picks the port: fixed, the server, the client's OS, or the NAT gateway, whose ports cannot be narrowed.", 125),
      count("connections", "Connections", "Connections that needed a port here.", 135),
      count("distinct_ports", "Ports", "Different ports among them.", 85),
      words("allowed_now", "Allowed now", "Ports that the rules allow; empty when they are not known.", 165),
      words("ranges", "Used", "The smallest ranges that cover the used ports within the entry budget.", 200),
      words("attempted_ranges", "Attempted", "Ports that connections would have needed here, stopped ones included.", 200),
      count("unused_now", "Unused", "Ports that are allowed and were not used.", 100),
      words("observed", "Observed", "Proposal: only what was seen.", 190),
      words("safe", "Safe", "Proposal: snapped to a known range that fits.", 150),
      words("fits", "Fits", "Ranges from which the ports may have been picked, with their probabilities.", 230),
      words("curve", "Entries=ports", "What covering the used ports costs: with so many entries, so many ports are exposed.", 200),
      column("outside_probability", "P(outside)", "Bound on the probability that the next connection needs a port outside the safe ranges.", 120, { hozAlign: "right", headerHozAlign: "right", formatter: show(probability), sorter: "number" }),
      column("observed_outside_probability", "P(not seen)", "Bound on the probability that the next connection needs a port outside the observed ranges.", 125, { hozAlign: "right", headerHozAlign: "right", formatter: show(probability), sorter: "number" }),
      column("backtest", "Back-test lost", "Connections of the later part of the log that ranges from the first part would have lost.", 140),
      words("keep_reason", "Why keep", "Why it cannot be narrowed.", 320),
    ],
  };

  // ---- tables and their filters

  const grids = {};
  const searches = {};
  let focus = null; // the session that the page is narrowed to

  function drawTable(name) {
    grids[name] = new Tabulator(byId(name + "-grid"), {
      data: rowsOf(name),
      columns: tables[name],
      columnDefaults: { headerSortTristate: true, resizable: "header", minWidth: 60 },
      maxHeight: 440,
      placeholder: "No rows",
      rowFormatter: name === "sessions" ? markRow : null,
    });
    grids[name].on("dataFiltered", (filters, rows) => showCount(name, rows.length));
    grids[name].on("rowClick", (event, row) => { if (getSelection().isCollapsed) focusOn(row.getData().session_id); });
    grids[name].on("tableBuilt", () => finishTable(byId(name + "-grid")));
  }

  // finishTable lets the keyboard sort: headers take the focus, and Enter and
  // Space do what a click does.
  function finishTable(grid) {
    grid.querySelectorAll(".tabulator-col.tabulator-sortable").forEach((header) => {
      header.tabIndex = 0;
      header.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        header.click();
      });
    });
    grid.classList.add("ready");
  }

  function showCount(name, shown) {
    const total = data.tables[name].total;
    byId(name + "-count").textContent = shown === total ? number(total) : number(shown) + " of " + number(total);
  }

  // markRow shows which session the page is narrowed to.
  function markRow(row) {
    const chosen = focus !== null && row.getData().session_id === focus.id;
    row.getElement().classList.toggle("focused", chosen);
  }

  function refilter(name) {
    const words = (searches[name] ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const belongs = focus && name !== "sessions" ? focus.belongs[name] : null;
    if (words.length === 0 && !belongs) {
      grids[name].clearFilter();
      return;
    }
    grids[name].setFilter((row) => words.every((w) => row.text.includes(w)) && (!belongs || belongs(row)));
  }

  // connectionKey names a client's connection as NAT mappings have it.
  const connectionKey = (row) => row.client + " " + row.server;

  // belongsTo tells for each table which rows belong to the session. Port
  // ranges belong to all of them.
  function belongsTo(id) {
    const data = grids.data_connections.getData().filter((d) => d.session_id === id || d.candidates.includes(id));
    const own = grids.sessions.getData().filter((s) => s.session_id === id);
    const keys = new Set([...own, ...data].map(connectionKey));
    const ids = new Set(data.map((d) => d.id));
    return {
      data_connections: (row) => ids.has(row.id),
      nat_mappings: (row) => keys.has(connectionKey(row)),
      rejects: (row) => row.session_id === id,
    };
  }

  function focusOn(id) {
    if (!id) return;
    focus = { id, belongs: belongsTo(id) };
    refresh();
    byId("focus-name").textContent = id;
    byId("focus-counts").replaceChildren(...["data_connections", "rejects", "nat_mappings"].map(countLink));
    byId("focus-bar").hidden = false;
  }

  function clearFocus() {
    focus = null;
    byId("focus-bar").hidden = true;
    refresh();
  }

  function refresh() {
    Object.keys(focusable).forEach(refilter);
    grids.sessions.getRows("visible").forEach((row) => row.reformat());
  }

  const focusable = { data_connections: "data connections", rejects: "rejects", nat_mappings: "NAT mappings" };

  function countLink(name) {
    const link = element("a", "", number(grids[name].getDataCount("active")) + " " + focusable[name]);
    link.href = "#" + name;
    return link;
  }

  function startTables() {
    Object.keys(tables).forEach(drawTable);
    document.querySelectorAll("input[data-table]").forEach((input) => {
      input.addEventListener("input", () => {
        searches[input.dataset.table] = input.value;
        refilter(input.dataset.table);
      });
    });
    byId("focus-clear").addEventListener("click", clearFocus);
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && focus) clearFocus(); });
  }

  // ---- details of a rule in the diagram

  const allowedText = (rule, unknown) => rule.allowed.join(", ") || (rule.rules_known ? "none" : unknown);

  function ruleDetails(rule) {
    const list = element("dl");
    const line = (name, text) => { if (text) list.append(element("dt", "", name), element("dd", "", text)); };
    line("Filter", [rule.filter_id, rule.name].filter(Boolean).join(" "));
    line("Allowed", allowedText(rule, ""));
    line("Used", rule.used.join(", "));
    line("Entries", rule.entries.join("; "));
    line("Passed", number(rule.passed));
    line("Stopped", rule.stopped ? number(rule.stopped) + (rule.stopped_by.length ? " by " + rule.stopped_by.join(", ") : "") : "");
    line("Proposed", rule.proposed.join("; "));
    line("Verdict", [rule.verdict, rule.proposal.join(", ")].filter(Boolean).join(" "));
    return [element("b", "", rule.number + "  " + rule.title), list, element("p", "", rule.why)];
  }

  function showTip(anchor) {
    const rule = data.rules.find((r) => String(r.number) === anchor.dataset.rule);
    const tip = byId("tip");
    tip.replaceChildren(...ruleDetails(rule));
    tip.hidden = false;
    const at = anchor.getBoundingClientRect();
    const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 12);
    const below = at.bottom + tip.offsetHeight + 12 < window.innerHeight;
    tip.style.left = Math.max(12, left) + window.scrollX + "px";
    tip.style.top = (below ? at.bottom + 8 : at.top - tip.offsetHeight - 8) + window.scrollY + "px";
  }

  function startTips() {
    const hide = () => { byId("tip").hidden = true; };
    document.querySelectorAll("a[data-rule]").forEach((anchor) => {
      anchor.addEventListener("mouseenter", () => showTip(anchor));
      anchor.addEventListener("focus", () => showTip(anchor));
      anchor.addEventListener("mouseleave", hide);
      anchor.addEventListener("blur", hide);
      anchor.addEventListener("click", hide);
    });
  }

  // ---- charts

  // color resolves a custom property to what a canvas understands.
  function color(name) {
    const probe = element("i");
    probe.style.color = "var(--" + name + ")";
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  // hatched is a fill that can be told from others without its colour.
  function hatched(stroke, ground, lean) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const pen = tile.getContext("2d");
    pen.fillStyle = ground;
    pen.fillRect(0, 0, 8, 8);
    pen.strokeStyle = stroke;
    pen.lineWidth = 2.2;
    pen.beginPath();
    for (const shift of [-8, 0, 8]) {
      pen.moveTo(shift - 1, lean > 0 ? 9 : -1);
      pen.lineTo(shift + 9, lean > 0 ? -1 : 9);
    }
    pen.stroke();
    return pen.createPattern(tile, "repeat");
  }

  function palette() {
    const c = (name) => color(name);
    return { ink: c("ink"), soft: c("soft"), line: c("line"), panel: c("panel"), sunk: c("sunk"), strong: c("strong-line"), ok: c("ok"), bad: c("bad-fill"), badTint: c("bad-tint"), warn: c("warn"), warnTint: c("warn-tint"), link: c("link"), infoTint: c("info-tint") };
  }

  const outcomeFills = (c) => ({
    "ok": c.ok,
    "blocked": c.bad,
    "refused": hatched(c.bad, c.badTint, 1),
    "no-answer": hatched(c.bad, c.panel, -1),
    "no-data": hatched(c.warn, c.warnTint, 1),
    "idle-timeout": c.warn,
    "incomplete": hatched(c.strong, c.panel, 1),
  });

  let charts = [];

  function drawCharts() {
    charts.forEach((chart) => chart.destroy());
    const c = palette();
    Chart.defaults.color = c.soft;
    Chart.defaults.borderColor = c.line;
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 13;
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    const drawn = [portsChart(c), timelineChart(c), rejectsChart(c)].filter(Boolean);
    byId("charts").hidden = drawn.length === 0;
    charts = drawn.concat(data.charts.curves.map((curve) => curveChart(c, curve)));
  }

  // place returns the canvas, described for those who do not see it, or
  // hides the figure when there is nothing to draw.
  function place(name, description, height) {
    const figure = byId(name + "-figure");
    figure.hidden = description === "";
    if (figure.hidden) return null;
    const canvas = byId(name + "-chart");
    canvas.setAttribute("aria-label", description);
    if (height) canvas.parentElement.style.height = height + "px";
    return canvas;
  }

  function timelineChart(c) {
    const { step, labels, series } = data.charts.timeline;
    const sums = series.map((s) => number(s.counts.reduce((a, b) => a + b, 0)) + " " + s.outcome);
    const canvas = place("timeline", sums.length ? "Sessions over time: " + sums.join(", ") : "");
    if (!canvas) return null;
    byId("timeline-note").textContent = "By their start and outcome, a bar for " + step + ", UTC.";
    const fills = outcomeFills(c);
    return new Chart(canvas, {
      type: "bar",
      data: {
        labels,
        datasets: series.map((s) => ({ label: s.outcome, data: s.counts, backgroundColor: fills[s.outcome], borderColor: c.panel, borderWidth: 0.5, maxBarThickness: 46, categoryPercentage: 0.9, barPercentage: 0.95 })),
      },
      options: {
        interaction: { mode: "index", intersect: false },
        scales: {
          x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 16 } },
          y: { stacked: true, beginAtZero: true, ticks: { precision: 0 }, border: { display: false } },
        },
        plugins: { legend: legend(), tooltip: { filter: (item) => item.raw > 0 } },
      },
    });
  }

  const legend = () => ({ position: "bottom", align: "start", labels: { boxWidth: 14, boxHeight: 14, padding: 14 } });

  function rejectsChart(c) {
    const most = data.charts.rejects.slice(0, 10);
    const name = (r) => (r.rule ? r.rule : r.cause === "late" ? "late packet, no rule" : r.cause);
    const canvas = place("rejects", most.length ? "Rejected flows: " + most.map((r) => number(r.flows) + " by " + name(r)).join(", ") : "", Math.max(290, 70 + 38 * most.length));
    if (!canvas) return null;
    const fills = { nacl: c.bad, sg: hatched(c.bad, c.badTint, 1), bpa: hatched(c.warn, c.warnTint, 1), encryption: hatched(c.warn, c.panel, -1), late: c.strong, undetermined: hatched(c.strong, c.panel, 1) };
    return new Chart(canvas, {
      type: "bar",
      data: {
        labels: most.map((r) => shortened(name(r), 40)),
        datasets: [{ data: most.map((r) => r.flows), backgroundColor: most.map((r) => fills[r.cause]), borderColor: c.strong, borderWidth: 0.5, maxBarThickness: 26 }],
      },
      options: {
        indexAxis: "y",
        scales: {
          x: { beginAtZero: true, ticks: { precision: 0 }, border: { display: false } },
          y: { grid: { display: false }, ticks: { color: c.ink, autoSkip: false } },
        },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: {
            title: (items) => name(most[items[0].dataIndex]),
            label: (item) => number(item.raw) + " flows, " + number(most[item.dataIndex].packets) + " packets (" + most[item.dataIndex].cause + ")",
          } },
        },
      },
    });
  }

  // ---- the charts of entries against ports

  const logTicks = [1, 10, 100, 1000, 10000, 65536];

  function curveChart(c, { name, rules, points, steps, now, proposal }) {
    const canvas = place(name, rules + ": the ports seen take " + steps + "; today " + pointWords(now) + ", proposed " + pointWords(proposal));
    canvas.parentElement.hidden = false;
    const at = (list) => list.map(({ entries, ports }) => ({ x: entries, y: ports }));
    const marks = (label, list, pointStyle, fill, rotation) => ({ label, data: at(list), showLine: false, pointStyle, pointRadius: 7, pointHoverRadius: 9, backgroundColor: fill, borderColor: c.panel, borderWidth: 1.5, rotation, order: 1, clip: false });
    const most = Math.max(3, ...[points, now, proposal].flat().map((p) => p.entries));
    return new Chart(canvas, {
      type: "line",
      data: { datasets: [
        marks("today", now, "rect", c.link),
        marks("proposed", proposal, "rectRot", c.ok),
        { label: "covers what was seen", data: at(points), borderColor: c.strong, backgroundColor: c.strong, borderWidth: 2, pointRadius: points.length > 40 ? 0 : 2.5, order: 2 },
      ] },
      options: {
        layout: { padding: { top: 10, right: 6 } },
        interaction: { mode: "nearest", intersect: false },
        scales: {
          x: { type: "linear", min: 0.5, max: most + 0.5, grid: { display: false }, afterBuildTicks: (axis) => { axis.ticks = [{ value: 1 }, ...axis.ticks.filter((t) => Number.isInteger(t.value) && t.value > 1)]; }, ticks: { precision: 0, maxRotation: 0 }, title: { display: true, text: "entries" } },
          y: { type: "logarithmic", min: 1, max: 65536, border: { display: false }, afterBuildTicks: (axis) => { axis.ticks = logTicks.map((value) => ({ value })); }, ticks: { callback: (n) => number(n) }, title: { display: true, text: "ports let through" } },
        },
        plugins: {
          legend: { ...legend(), labels: { ...legend().labels, boxWidth: 9, boxHeight: 9, usePointStyle: true, generateLabels: curveLabels } },
          tooltip: { callbacks: { title: () => "", label: (item) => item.dataset.label + ": " + pointWords([{ entries: item.parsed.x, ports: item.parsed.y }]) } },
        },
      },
    });
  }

  // curveLabels are the legend of a curve, which is a line there.
  const curveLabels = (chart) => Chart.defaults.plugins.legend.labels.generateLabels(chart).map((label) => (label.datasetIndex === 2 ? { ...label, pointStyle: "line" } : label)).sort((a, b) => a.datasetIndex - b.datasetIndex);

  const plural = (n, one, many) => number(n) + " " + (n === 1 ? one : many);

  const pointWords = (points) => points.map((p) => plural(p.ports, "port", "ports") + " in " + plural(p.entries, "entry", "entries")).join(" or ") || "nothing";

  const shortened = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);

  // ---- the chart of ports

  // knownRanges are the ranges that pickers of ports are known to use.
  const knownRanges = [
    { label: "NAT gateway 1024–65535", from: 1024, to: 65535 },
    { label: "Linux 32768–60999", from: 32768, to: 60999 },
    { label: "Windows, macOS 49152–65535", from: 49152, to: 65535 },
  ];

  const portAxis = 65535;

  function parseRange(text) {
    const [from, to] = text.split("-").map(Number);
    return [from, to ?? from];
  }

  // visible widens a range that would be thinner than a line.
  function visible([from, to]) {
    const least = portAxis / 350;
    const middle = (from + to) / 2;
    return to - from >= least ? [from, to] : [Math.max(0, middle - least / 2), Math.max(0, middle - least / 2) + least];
  }

  const ruleLabel = (rule) => rule.number + "  " + shortened(rule.title, 54);

  const rangeText = ([from, to]) => (from === to ? String(from) : from + "-" + to);

  // without returns what is left of ranges when others are taken away.
  function without(ranges, others) {
    return others.reduce((left, [from, to]) => left.flatMap(([a, b]) => {
      if (to < a || from > b) return [[a, b]];
      return [[a, from - 1], [to + 1, b]].filter(([x, y]) => x <= y);
    }), ranges);
  }

  // lacking are the ports that connections needed and that are not allowed;
  // none when it is not known what is allowed.
  function lacking(rule) {
    return rule.rules_known ? without(rule.attempted.map(parseRange), rule.allowed.map(parseRange)) : [];
  }

  function rangeBars(label, ranges, thickness, order, fill, border) {
    const bars = data.rules.flatMap((rule) => ranges(rule).map((range) => ({ x: visible(range), y: ruleLabel(rule), text: rangeText(range) })));
    return { label, data: bars, order, grouped: false, barThickness: thickness, backgroundColor: fill, borderColor: border, borderWidth: 1, borderSkipped: false };
  }

  function portsChart(c) {
    const describe = (rule) => "rule " + rule.number + " allows " + allowedText(rule, "unknown ports") + ", used " + (rule.used.join(", ") || "none");
    const canvas = place("ports", data.rules?.length ? "Ports: " + data.rules.map(describe).join("; ") : "", 130 + 38 * (data.rules?.length ?? 0));
    if (!canvas) return null;
    return new Chart(canvas, {
      type: "bar",
      data: {
        labels: data.rules.map(ruleLabel),
        datasets: [
          rangeBars("allowed now", (rule) => rule.allowed.map(parseRange), 24, 3, c.infoTint, c.link),
          rangeBars("used", (rule) => rule.used.map(parseRange), 14, 2, c.ok, c.ok),
          rangeBars("needed, not allowed", lacking, 14, 1, hatched(c.bad, c.badTint, 1), c.bad),
        ],
      },
      options: {
        indexAxis: "y",
        layout: { padding: { top: 64, right: 8 } },
        interaction: { mode: "nearest", intersect: true },
        scales: {
          x: { min: 0, max: portAxis, grid: { display: false }, afterBuildTicks: (axis) => { axis.ticks = [1024, 16384, 32768, 49152, portAxis].map((value) => ({ value })); }, ticks: { callback: String, maxRotation: 0, autoSkip: false }, title: { display: true, text: "destination port" } },
          y: { grid: { display: false }, ticks: { color: c.ink, autoSkip: false } },
        },
        plugins: { legend: legend(), tooltip: { callbacks: { label: (item) => item.dataset.label + " " + item.raw.text } } },
      },
      plugins: [{ id: "knownRanges", beforeDatasetsDraw: (chart) => drawKnownRanges(chart, c) }],
    });
  }

  // drawKnownRanges draws a bracket above the bars for each known range, and
  // faint lines down from its ends.
  function drawKnownRanges(chart, c) {
    const { ctx: pen, chartArea: area, scales: { x } } = chart;
    pen.save();
    pen.font = "12px " + Chart.defaults.font.family;
    pen.textBaseline = "middle";
    pen.textAlign = "center";
    knownRanges.forEach(({ label, from, to }, i) => {
      const [left, right, y] = [x.getPixelForValue(from), x.getPixelForValue(to), area.top - 56 + 19 * i];
      pen.strokeStyle = c.strong;
      pen.setLineDash([]);
      pen.beginPath();
      pen.moveTo(left, y - 5); pen.lineTo(left, y + 5);
      pen.moveTo(left, y); pen.lineTo(right, y);
      pen.moveTo(right, y - 5); pen.lineTo(right, y + 5);
      pen.stroke();
      pen.strokeStyle = c.line;
      pen.setLineDash([2, 3]);
      pen.beginPath();
      pen.moveTo(left, y + 5); pen.lineTo(left, area.bottom);
      pen.moveTo(right, y + 5); pen.lineTo(right, area.bottom);
      pen.stroke();
      const width = pen.measureText(label).width + 10;
      const middle = Math.min((left + right) / 2, area.right - width / 2);
      pen.fillStyle = c.panel;
      pen.fillRect(middle - width / 2, y - 7, width, 14);
      pen.fillStyle = c.soft;
      pen.fillText(label, middle, y);
    });
    pen.restore();
  }

  // ---- copying

  // copy puts a button's text into the clipboard. Where the browser does not
  // let it, the text is offered in a field, selected.
  async function copy(button) {
    const field = button.nextElementSibling;
    if (field?.matches(".to-copy")) field.remove();
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      say(button);
    } catch {
      offer(button);
    }
  }

  function say(button) {
    button.dataset.name ??= button.textContent;
    button.textContent = "Copied";
    byId("said").textContent = "Copied";
    clearTimeout(button.timer);
    button.timer = setTimeout(() => {
      button.textContent = button.dataset.name;
      byId("said").textContent = "";
    }, 2500);
  }

  function offer(button) {
    const field = element("label", "to-copy", "Press Ctrl+C, or ⌘C, to copy");
    const text = element("textarea");
    text.readOnly = true;
    text.rows = Math.min(10, button.dataset.copy.split("\n").length + 1);
    text.value = button.dataset.copy;
    const close = () => { field.remove(); button.focus(); };
    text.addEventListener("copy", () => setTimeout(() => { close(); say(button); }));
    text.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    field.append(text);
    button.after(field);
    text.focus();
    text.select();
    byId("said").textContent = "The text is selected: press Ctrl+C to copy";
  }

  function startCopying() {
    document.querySelectorAll("button.copy").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", () => copy(button));
    });
  }

  // ---- theme

  const root = document.documentElement;
  const darkSystem = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (darkSystem.matches ? "dark" : "light")) === "dark";

  function themeChanged() {
    byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
    drawCharts();
  }

  function startTheme() {
    byId("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      themeChanged();
    });
    darkSystem.addEventListener("change", themeChanged);
    window.matchMedia("print").addEventListener("change", drawCharts);
    themeChanged();
  }

  startTheme();
  startCopying();
  startTips();
  startTables();
})();
