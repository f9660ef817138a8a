// The table of peers, of which only the visible rows exist, and the one that is
// chosen.

import { $, attr, make, table, text } from "./dom.js";
import { bytes, groups, ms, pathText, rate, span } from "./model.js";

const height = 32;

export class Peers {
	constructor(choose) {
		this.grid = $("peers");
		this.space = $("space");
		this.rows = []; // elements; row i shows a peer whose place is i modulo their number
		this.list = [];
		this.places = new Map();
		this.choose = choose;
		this.grid.addEventListener("scroll", () => this.draw());
		this.grid.addEventListener("keydown", (e) => this.key(e));
		this.grid.addEventListener("click", (e) => {
			const row = e.target.closest(".row");
			if (row?.peer) this.choose(row.peer);
		});
		new ResizeObserver(() => requestAnimationFrame(() => this.draw())).observe(this.grid);
	}

	// put gives the table other peers, or another order.
	put(list, all) {
		this.list = list;
		this.places.clear();
		list.forEach((p, i) => this.places.set(p.id, i));
		this.space.style.height = list.length * height + "px";
		attr(this.grid, "aria-rowcount", list.length + 1);
		text($("count"), list.length === all ? all : `${list.length} of ${all}`);
	}

	// draw draws the rows that are visible, as far as they differ.
	draw() {
		const visible = Math.ceil(this.grid.clientHeight / height) + 2;
		const first = Math.max(0, Math.min(Math.floor(this.grid.scrollTop / height) - 1, this.list.length - visible));
		while (this.rows.length < visible) this.add();
		for (let i = first; i < first + this.rows.length; i++) this.fill(this.rows[i % this.rows.length], i);
	}

	add() {
		const row = make("div", "row");
		row.setAttribute("role", "row");
		row.id = "row-" + this.rows.length;
		for (let i = 0; i < 7; i++) {
			const cell = make("span");
			cell.setAttribute("role", "gridcell");
			row.append(cell);
		}
		this.rows.push(row);
		this.space.append(row);
	}

	fill(row, i) {
		const p = this.list[i];
		row.hidden = !p;
		row.style.display = p ? "" : "none";
		row.peer = p?.id;
		if (!p) return;
		const chosen = p.id === this.chosen;
		const conn = p.state.connections?.[0];
		row.style.transform = `translateY(${i * height}px)`;
		attr(row, "class", "row " + p.group);
		attr(row, "aria-rowindex", i + 2);
		attr(row, "aria-selected", chosen);
		if (chosen) attr(this.grid, "aria-activedescendant", row.id);
		const streams = (p.state.streams ?? []).reduce((n, s) => n + s.number, 0);
		const why = conn ? "" : p.state.unreachable ? reasonOf(p) : "";
		const cells = [p.name, groups[p.group], ms(conn?.rtt_ns), rate(p.rate.sent), rate(p.rate.received), streams || "", why];
		cells.forEach((value, j) => text(row.children[j], value));
		attr(row.children[0], "title", `${p.name} ${p.id}`);
	}

	key(e) {
		const page = Math.floor(this.grid.clientHeight / height) - 2;
		const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
		if (e.key === "Escape") this.choose(null);
		if (!(e.key in steps) || this.list.length === 0) return;
		e.preventDefault();
		const at = this.places.get(this.chosen) ?? -1;
		const to = Math.max(0, Math.min(this.list.length - 1, at + steps[e.key]));
		this.choose(this.list[to].id);
		this.show(to);
	}

	// show scrolls to a row.
	show(i) {
		const top = i * height;
		const room = this.grid.clientHeight - 2 * height;
		if (top < this.grid.scrollTop) this.grid.scrollTop = top;
		else if (top > this.grid.scrollTop + room) this.grid.scrollTop = top - room;
	}
}

// reasonOf is why a peer is not reached, in a few words: the causes of its
// candidates, or else the error.
function reasonOf(p) {
	const causes = new Set((p.state.candidates ?? []).map((c) => c.cause).filter(Boolean));
	return causes.size ? [...causes].join(", ") : p.state.unreachable;
}

// drawPeer draws the one that is chosen.
export function drawPeer(p, now) {
	$("peer-more").hidden = !p;
	$("peer-hint").hidden = !!p;
	text($("h-peer"), p ? p.name : "No peer is chosen");
	if (!p) return;
	const s = p.state;
	text($("peer-why"), s.connections?.length ? "" : s.unreachable);
	const seen = s.connections?.length ? "now" : s.last_seen ? span(now - Date.parse(s.last_seen)) + " ago" : "never";
	const is = ["verified", "available", "tracked", "revoked"].filter((word) => s[word]);
	const facts = [["key", s.identity], ["is", is.join(", ")], ["discovered by", (s.discovered_by ?? []).join(", ")], ["seen", seen]];
	for (const [kind, b] of Object.entries(s.bytes ?? {})) facts.push([kind, `${bytes(b.sent)} sent, ${bytes(b.received)} received`]);
	for (const [key, value] of Object.entries(s.metadata ?? {})) facts.push([key, value]);
	table($("facts"), [], facts, "");
	const candidates = (s.candidates ?? []).map((c) => [
		c.kind, c.addr ?? c.relay ?? "", (c.sources ?? []).join(", "),
		c.connected ? "connected" : c.cause ? `${c.cause} after ${ms(c.took_ns) || "0 ms"}` : "not tried", c.connected ? "" : c.error,
	]);
	table($("candidates"), ["kind", "where", "from", "result", "error"], candidates, "none");
	const connections = (s.connections ?? []).map((c) => [
		c.listener, pathText(c.path), c.opened ? span(now - Date.parse(c.opened)) : "", ms(c.rtt_ns), bytes(c.sent), bytes(c.received),
		c.packets_lost ? `${c.packets_lost} of ${c.packets_sent}` : "0",
	]);
	table($("connections"), ["by", "path", "age", "RTT", "sent", "received", "lost"], connections, "none");
	const open = (s.streams ?? []).map((o) => [o.route || "(none)", o.inbound ? "in" : "out", o.number]);
	table($("open"), ["route", "direction", "number"], open, "none");
}
