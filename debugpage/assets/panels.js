// The parts of the page that are about the node itself: figures, events, streams,
// hooks, relays, libraries, and the plots.

import { $, make, table, text } from "./dom.js";
import { bytes, detailsOf, ms, pathText, rate, short, span, sum } from "./model.js";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export function drawNode(model) {
	const name = model.node.metadata?.name || short(model.node.identity);
	text($("name"), name);
	text($("who"), `${model.node.app} · ${model.node.identity}`);
	if (document.title !== name) document.title = name;
}

export function drawFigures(model) {
	let connected = 0;
	for (const p of model.peers.values()) if (p.state.connections?.length) connected++;
	const total = sum(model.counters.bytes);
	const figures = {
		"runs for": span(model.time - Date.parse(model.node.started)),
		peers: model.peers.size,
		connected,
		streams: model.streams.reduce((n, s) => n + s.number, 0),
		sent: bytes(total.sent),
		received: bytes(total.received),
	};
	const list = $("figures");
	Object.entries(figures).forEach(([name, value], i) => {
		let item = list.children[i];
		if (!item) {
			item = make("div");
			item.append(make("dt"), make("dd"));
			list.append(item);
		}
		text(item.children[0], name);
		text(item.children[1], value);
	});
}

export function drawStreams(model) {
	const open = Object.create(null); // a route may be called __proto__
	for (const s of model.streams) {
		open[s.route] ??= { in: 0, out: 0 };
		open[s.route][s.inbound ? "in" : "out"] += s.number;
	}
	const counted = model.counters.streams ?? {};
	const routes = [...new Set([...Object.keys(counted), ...Object.keys(open)])].sort();
	const rows = routes.map((route) => {
		const c = Object.hasOwn(counted, route) ? counted[route] : {};
		return [route || "(none)", open[route]?.out ?? 0, open[route]?.in ?? 0, c.opened ?? 0, c.accepted ?? 0, listed(c.refused), listed(c.refused_there)];
	});
	table($("routes"), ["route", "open out", "open in", "opened", "accepted", "refused", "refused there"], rows, "none yet");
	const causes = Object.entries(model.counters.causes ?? {}).map(([what, by]) => [what.replaceAll("_", " "), listed(by)]);
	table($("causes"), [], causes, "nothing yet");
}

const listed = (by) => Object.entries(by ?? {}).map(([cause, n]) => `${cause} ${n}`).join(", ");

export function drawHooks(model) {
	const rows = model.hooks.map((h) => {
		const state = h.stopped ? "has stopped" + (h.cause ? ": " + h.cause : "") : h.ready ? "serves" : "does not serve yet";
		const counts = Object.entries(h.report?.counts ?? {}).map(([what, by]) => `${what.replaceAll("_", " ")}: ${listed(by)}`);
		const gauges = Object.entries(h.report?.gauges ?? {}).map(([what, n]) => `${what.replaceAll("_", " ")} ${n}`);
		return [h.name, state, (h.addrs ?? []).join(", "), [...gauges, ...counts].join("; ")];
	});
	table($("hooks"), ["hook", "state", "addresses", "figures"], rows, "none");
	const relays = detailsOf(model, "relays").map((r) => [
		short(r.relay), r.state, ms(r.rtt_ns), r.observed ?? "", r.bytes_left < 0 ? "" : bytes(r.bytes_left), r.error ?? "",
	]);
	table($("relays"), ["relay", "state", "RTT", "sees this node at", "left", "error"], relays, "This node uses none.");
}

// drawRoster lists the libraries of the node, and who says to have them.
export function drawRoster(model) {
	const all = new Map();
	for (const l of detailsOf(model, "libraries")) {
		all.set(l.library.toLowerCase(), { ...l, devices: [] });
	}
	for (const p of model.peers.values()) {
		for (const key of Object.keys(p.state.metadata ?? {})) {
			if (!uuid.test(key)) continue;
			const id = key.toLowerCase();
			if (!all.has(id)) all.set(id, { library: id, name: "(not here)", devices: [] });
			all.get(id).devices.push(p.name);
		}
	}
	const rows = [...all.values()].slice(0, 100).map((l) => [l.name, l.library, l.members ?? "", l.tunnels ?? "", few(l.devices)]);
	table($("roster"), ["name", "library", "members", "tunnels", "devices that say to have it"], rows, "None, or the app does not show them: debugpage.WithLibraries.");
}

const few = (names) => names.slice(0, 8).join(", ") + (names.length > 8 ? ` and ${names.length - 8} more` : "");

const bad = { "dial failed": "failed", refused: "failed", "refused there": "failed", "hook stopped": "failed", connected: "lan", moved: "upgraded" };

// drawLog adds new events to the list, and takes away those that the node has
// forgotten.
export function drawLog(model, choose) {
	const log = $("log");
	for (const number of model.droppedEvents) $("event-" + number)?.remove();
	model.droppedEvents = [];
	for (const { number, note } of model.freshEvents) {
		if (model.events.has(number)) log.prepend(entry(number, note, model, choose));
	}
	model.freshEvents = [];
}

function entry(number, note, model, choose) {
	const item = make("li", bad[note.what]);
	item.id = "event-" + number;
	const time = make("time");
	time.dateTime = note.time;
	time.textContent = clock(Date.parse(note.time) / 1000);
	const what = make("b");
	what.textContent = note.what + (note.times > 1 ? ` × ${note.times}` : "");
	const peer = note.peer ? model.peers.get(note.peer)?.name ?? short(note.peer) : "";
	const way = [note.hook, note.route && `route ${note.route}`, note.from && pathText(note.from) + " →", pathText(note.path)];
	item.append(time, what, [peer, ...way, note.error || note.cause].filter(Boolean).join(" · "));
	if (note.peer) item.addEventListener("click", () => choose(note.peer));
	return item;
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hourCycle: "h23" });
const color = (name) => () => getComputedStyle(document.documentElement).getPropertyValue(name);

// Plots are two of uPlot's, on canvases.
export class Plots {
	constructor() {
		const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, font: "11px system-ui" };
		const plot = (id, title, value, series) => {
			const lines = series.map(([label, name]) => ({ label, stroke: color(name), width: 1.5, points: { show: false }, value: (_, v) => (v == null ? "–" : value(v)) }));
			return new uPlot({
				title, width: 300, height: 150, pxAlign: 0, cursor: { drag: { x: false, y: false } },
				scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
				series: [{ value: (_, v) => (v == null ? "–" : clock(v)) }, ...lines],
				axes: [{ ...axis, space: 80, values: (_, all) => all.map(clock) }, { ...axis, size: 64, values: (_, all) => all.map(value) }],
			}, [[], ...series.map(() => [])], $(id));
		};
		this.throughput = plot("throughput", "throughput", (v) => rate(v) || "0", [["sent", "--manual"], ["received", "--lan"]]);
		this.rtt = plot("rtt", "round-trip time", (v) => (v >= 10 || v === 0 ? Math.round(v) : v.toFixed(v < 1 ? 2 : 1)) + " ms", [["median", "--upgraded"], ["longest", "--relayed"]]);
		new ResizeObserver(() => requestAnimationFrame(() => this.fit())).observe($("throughput"));
		matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
			this.throughput.redraw(false, true);
			this.rtt.redraw(false, true);
		});
	}

	fit() {
		const width = $("throughput").clientWidth;
		if (width === this.width || !width) return;
		this.width = width;
		this.throughput.setSize({ width, height: 150 });
		this.rtt.setSize({ width, height: 150 });
	}

	// draw draws the last minutes of a peer, or of all if it has not been connected.
	draw(model, p) {
		if (!p?.ring) p = null;
		const s = model.series(p);
		this.throughput.setData([s.times, s.sent, s.received]);
		this.rtt.setData([s.times, s.rtt, s.max]);
		text($("of"), p ? `of ${p.name}` : "of all peers");
	}
}
