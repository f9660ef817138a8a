// The devices as a picture: this node in the middle, connected ones around it, and
// others on an outer ring. It has room for some dozens; the rest is counted.

import { $, attr, text } from "./dom.js";
import { groups } from "./model.js";

const space = "http://www.w3.org/2000/svg";

function make(tag, className) {
	const e = document.createElementNS(space, tag);
	if (className) e.setAttribute("class", className);
	return e;
}

export class Picture {
	constructor(choose) {
		this.svg = $("picture");
		this.devices = new Map(); // elements by identity
		this.choose = choose;
		this.self = make("g", "self");
		this.self.append(make("circle"), make("text"));
		this.self.firstChild.setAttribute("r", 18);
		this.svg.append(this.self);
		this.legend = new Map();
		for (const g of Object.keys(groups)) {
			const item = document.createElement("li");
			item.className = g;
			this.legend.set(g, item);
			$("legend").append(item);
		}
		this.more = document.createElement("li");
		$("legend").append(this.more);
	}

	// draw draws what has changed.
	draw(name, ordered, chosen) {
		const width = this.svg.clientWidth || 320;
		const height = this.svg.clientHeight || 300;
		attr(this.svg, "viewBox", `0 0 ${width} ${height}`);
		const small = width < 500;
		const inner = ordered.filter((p) => p.state.connections?.length).slice(0, small ? 10 : 20);
		const outer = ordered.filter((p) => !p.state.connections?.length).slice(0, small ? 10 : 24);
		attr(this.self, "transform", `translate(${width / 2} ${height / 2})`);
		attr(this.self.lastChild, "y", 32);
		text(this.self.lastChild, cut(name, 16));
		const shown = new Set();
		this.ring(inner, shown, width, height, outer.length ? 0.56 : 0.8, 0.5, chosen);
		this.ring(outer, shown, width, height, 0.97, 0.25, chosen);
		for (const [id, device] of this.devices) {
			if (!shown.has(id)) {
				device.remove();
				this.devices.delete(id);
			}
		}
		this.count(ordered, shown.size);
	}

	ring(peers, shown, width, height, share, turn, chosen) {
		const rx = (width / 2 - 40) * share;
		const ry = (height / 2 - 26) * share;
		peers.forEach((p, i) => {
			shown.add(p.id);
			const angle = ((i + turn) / peers.length) * 2 * Math.PI - Math.PI / 2;
			const x = Math.round(rx * Math.cos(angle));
			const y = Math.round(ry * Math.sin(angle));
			this.device(p, width / 2, height / 2, x, y, p.id === chosen);
		});
	}

	device(p, cx, cy, x, y, chosen) {
		let g = this.devices.get(p.id);
		if (!g) {
			g = make("g");
			g.append(make("title"), make("line"), make("path"), make("circle"), make("text"));
			g.addEventListener("click", () => this.choose(p.id));
			this.devices.set(p.id, g);
			this.svg.insertBefore(g, this.self);
		}
		const [title, line, relay, circle, label] = g.children;
		attr(g, "class", `device ${p.group}${chosen ? " chosen" : ""}`);
		attr(g, "transform", `translate(${cx} ${cy})`);
		text(title, `${p.name}: ${groups[p.group]}`);
		attr(line, "x2", x);
		attr(line, "y2", y);
		attr(relay, "d", `M${x / 2} ${y / 2 - 7}l7 7l-7 7l-7 -7z`);
		attr(circle, "cx", x);
		attr(circle, "cy", y);
		attr(circle, "r", p.state.connections?.length ? 10 : 6);
		attr(label, "x", x);
		attr(label, "y", y + (y < 0 ? -14 : 22));
		text(label, cut(p.name, 12));
	}

	// count says how many there are of each group.
	count(peers, shown) {
		const numbers = {};
		for (const p of peers) numbers[p.group] = (numbers[p.group] ?? 0) + 1;
		const words = [];
		for (const [g, item] of this.legend) {
			const said = `${numbers[g] ?? 0} ${groups[g]}`;
			text(item, said);
			item.hidden = !numbers[g];
			if (numbers[g]) words.push(said);
		}
		text(this.more, peers.length > shown ? `${peers.length - shown} of them are only in the table` : "");
		attr(this.svg, "aria-label", words.length ? "Devices: " + words.join(", ") : "No devices yet");
	}
}

const cut = (name, n) => (name.length > n ? name.slice(0, n - 1) + "…" : name);
