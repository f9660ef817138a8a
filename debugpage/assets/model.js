// The state of the node, as the server has told it so far, and what is worked out
// from it: groups of peers by their path, rates, and the last minutes.

export const samples = 300; // of about a second each

// Groups of peers, by the way that new streams take, in the order of the table.
export const groups = {
	lan: "local network",
	upgraded: "direct after relay",
	manual: "typed address",
	relayed: "relayed",
	failed: "not reached",
	known: "not connected",
};
const rank = Object.fromEntries(Object.keys(groups).map((g, i) => [g, i]));

export class Model {
	constructor() { this.clear(); }

	clear() {
		this.node = {};
		this.hooks = [];
		this.streams = [];
		this.counters = {};
		this.peers = new Map();
		this.events = new Map();
		this.upgraded = new Set();
		this.times = [];
		this.sample = 0;
		this.arrivals = 0;
		this.changed = new Set();
		this.touched = new Set();
		this.freshEvents = [];
		this.droppedEvents = [];
		this.all = ring(); // of the node
		this.total = this.measured = undefined;
	}

	// take takes a message, and notes which parts of the page it changes.
	take(m) {
		this.time = Date.parse(m.time);
		for (const part of ["node", "hooks", "streams", "counters"]) {
			if (m[part] !== undefined) {
				this[part] = m[part];
				this.changed.add(part);
			}
		}
		if (m.hooks) this.findUpgraded();
		for (const p of m.peers ?? []) this.putPeer(p);
		for (const id of m.gone ?? []) {
			this.peers.delete(id);
			this.touched.add(id);
			this.changed.add("order");
		}
		for (const number of m.dropped ?? []) {
			this.events.delete(number);
			this.droppedEvents.push(number);
		}
		for (const e of m.events ?? []) {
			this.events.set(e.number, e.note);
			this.freshEvents.push(e);
		}
	}

	putPeer(state) {
		let p = this.peers.get(state.identity);
		if (!p) {
			p = { id: state.identity, arrived: this.arrivals++, rate: { sent: 0, received: 0 } };
			this.peers.set(p.id, p);
			this.changed.add("order");
		}
		p.state = state;
		const name = state.name || short(p.id);
		if (name !== p.name) this.changed.add("order");
		p.name = name;
		p.text = [name, p.id, state.unreachable, ...(state.candidates ?? []).map((c) => c.addr)].join(" ").toLowerCase();
		this.regroup(p);
		this.touched.add(p.id);
	}

	regroup(p) {
		const group = this.groupOf(p);
		if (group === p.group) return;
		p.group = group;
		this.touched.add(p.id);
		this.changed.add("order");
	}

	groupOf(p) {
		const path = p.state.connections?.[0]?.path;
		if (!path) return p.state.unreachable && (p.state.candidates ?? []).some((c) => c.cause) ? "failed" : "known";
		if (path.kind === "relay") return "relayed";
		if (this.upgraded.has(p.id)) return "upgraded";
		return path.kind === "manual" ? "manual" : "lan";
	}

	// findUpgraded finds the peers whose connection has left a relay.
	findUpgraded() {
		this.upgraded.clear();
		for (const u of detailsOf(this, "upgrades")) if (u.direct) this.upgraded.add(u.peer);
		for (const p of this.peers.values()) this.regroup(p);
	}

	// order returns the peers that have a text, connected ones first.
	order(filter) {
		const list = [];
		for (const p of this.peers.values()) if (!filter || p.text.includes(filter)) list.push(p);
		return list.sort((a, b) => rank[a.group] - rank[b.group] || a.arrived - b.arrived);
	}

	// measure takes a sample, if the last one is about a second old.
	measure() {
		const seconds = (this.time - this.measured) / 1000;
		if (seconds < 0.9) return false;
		const at = this.sample++ % samples;
		this.times.push(this.time / 1000);
		if (this.times.length > samples) this.times.shift();
		const rtts = [];
		for (const p of this.peers.values()) {
			const conn = p.state.connections?.[0];
			const rtt = conn?.rtt_ns ? conn.rtt_ns / 1e6 : NaN;
			if (!conn && !p.ring) continue;
			p.ring ??= ring();
			if (rtt > 0) rtts.push(rtt);
			const before = p.rate;
			p.rate = rateOf(p, p.state.bytes, seconds);
			if (before.sent !== p.rate.sent || before.received !== p.rate.received) this.touched.add(p.id);
			put(p.ring, at, p.rate, rtt, rtt);
		}
		rtts.sort((a, b) => a - b);
		this.rate = rateOf(this, this.counters.bytes, seconds);
		put(this.all, at, this.rate, rtts.length ? rtts[rtts.length >> 1] : NaN, rtts.length ? rtts[rtts.length - 1] : NaN);
		this.measured = this.time;
		return true;
	}

	// series returns columns for the plots: of a peer, or of the node.
	series(p) {
		const of = p ? p.ring : this.all;
		const n = this.times.length;
		const first = this.sample - n;
		const column = (name) => Array.from({ length: n }, (_, i) => {
			const v = of[name][(first + i) % samples];
			return Number.isNaN(v) ? null : v;
		});
		return { times: this.times, sent: column("sent"), received: column("received"), rtt: column("rtt"), max: column("max") };
	}
}

// detailsOf returns what hooks list under a name. A hook of the app's own may have
// something else there.
export function detailsOf(model, name) {
	const lists = model.hooks.map((h) => h.report?.details?.[name]).filter(Array.isArray);
	return lists.flat().filter((one) => one?.relay || one?.peer || one?.library);
}

function ring() {
	const r = {};
	for (const name of ["sent", "received", "rtt", "max"]) r[name] = new Float64Array(samples).fill(NaN);
	return r;
}

function put(r, at, rate, rtt, max) {
	r.sent[at] = rate.sent;
	r.received[at] = rate.received;
	r.rtt[at] = rtt;
	r.max[at] = max;
}

export function sum(bytes) {
	const all = { sent: 0, received: 0 };
	for (const b of Object.values(bytes ?? {})) {
		all.sent += b.sent;
		all.received += b.received;
	}
	return all;
}

function rateOf(of, bytes, seconds) {
	const now = sum(bytes);
	const before = of.total ?? now;
	of.total = now;
	if (!(seconds > 0)) return { sent: 0, received: 0 };
	return { sent: Math.max(0, now.sent - before.sent) / seconds, received: Math.max(0, now.received - before.received) / seconds };
}

export const short = (id) => (id ? id.slice(0, 8) + "…" : "");

export function bytes(n) {
	const units = ["B", "kB", "MB", "GB", "TB"];
	let i = 0;
	while (n >= 1000 && i < units.length - 1) {
		n /= 1000;
		i++;
	}
	return (n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

export const rate = (n) => (n > 0 ? bytes(n) + "/s" : "");

export function ms(ns) {
	if (!ns) return "";
	const n = ns / 1e6;
	return (n >= 10 ? Math.round(n) : n >= 1 ? n.toFixed(1) : n.toFixed(2)) + " ms";
}

export function span(ms) {
	const s = Math.max(0, Math.floor(ms / 1000));
	if (s < 60) return s + " s";
	if (s < 3600) return Math.floor(s / 60) + " min";
	if (s < 48 * 3600) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
	return Math.floor(s / 86400) + " d";
}

export function pathText(path) {
	if (!path?.kind) return "";
	const at = path.kind === "relay" ? short(path.relay) : path.remote ?? "";
	return path.kind + " " + at + (path.dialed ? ", dialed" : "");
}
