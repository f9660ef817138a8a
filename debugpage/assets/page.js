// The page follows the node: it takes what the server sends, and before the next
// frame draws the parts that have changed.

import { $, attr, text } from "./dom.js";
import { Model } from "./model.js";
import { drawFigures, drawHooks, drawLog, drawNode, drawRoster, drawStreams, Plots } from "./panels.js";
import { drawPeer, Peers } from "./peers.js";
import { Picture } from "./picture.js";

const again = 3000; // ms until another attempt to reach the server

const model = new Model();
const peers = new Peers(choose);
const picture = new Picture(choose);
const plots = new Plots();
let chosen = null;
let ordered = [];
let due = false;

function choose(id) {
	chosen = peers.chosen = id;
	model.changed.add("chosen");
	schedule();
}

function schedule() {
	if (due) return;
	due = true;
	requestAnimationFrame(draw);
}

function draw() {
	due = false;
	if (!model.time) return;
	const { changed, touched } = model;
	model.changed = new Set();
	model.touched = new Set();
	if (changed.has("node")) drawNode(model);
	if (changed.has("order") || changed.has("filter")) {
		const filter = $("filter").value.trim().toLowerCase();
		ordered = model.order("");
		peers.put(filter ? model.order(filter) : ordered, ordered.length);
	}
	const some = touched.size > 0 || changed.has("order") || changed.has("filter") || changed.has("chosen");
	if (some) peers.draw();
	if (changed.has("order") || changed.has("chosen") || changed.has("node") || changed.has("size")) {
		picture.draw($("name").textContent, ordered, chosen);
	}
	if (changed.has("chosen") || changed.has("sample") || touched.has(chosen)) drawPeer(model.peers.get(chosen), model.time);
	if (changed.has("streams") || changed.has("counters")) drawStreams(model);
	if (changed.has("hooks")) drawHooks(model);
	if (changed.has("hooks") || changed.has("order")) drawRoster(model);
	drawLog(model, choose);
	drawFigures(model);
	if (changed.has("sample") || changed.has("chosen")) plots.draw(model, model.peers.get(chosen));
}

function live(state, said) {
	attr($("live"), "class", state);
	text($("live"), said);
}

// begin forgets what was there: it may be another node.
function begin() {
	model.clear();
	$("log").replaceChildren();
	for (const part of ["node", "order", "streams", "hooks", "chosen"]) model.changed.add(part);
	live("on", "live");
}

function take(e) {
	model.take(JSON.parse(e.data));
	model.measured ??= model.time - 1000;
	if (model.measure()) model.changed.add("sample");
	schedule();
}

function follow() {
	const source = new EventSource("events");
	const later = (said) => {
		source.close();
		live("off", said);
		setTimeout(follow, again);
	};
	source.addEventListener("state", (e) => {
		begin();
		take(e);
	});
	source.addEventListener("change", take);
	source.addEventListener("end", () => later("the node has shut down"));
	source.addEventListener("failed", (e) => later(JSON.parse(e.data)));
	source.addEventListener("error", () => later("not connected"));
}

$("filter").addEventListener("input", () => {
	model.changed.add("filter");
	schedule();
});
$("filter").addEventListener("keydown", (e) => {
	if (e.key === "ArrowDown" || e.key === "Enter") $("peers").focus();
});
new ResizeObserver(() => {
	model.changed.add("size");
	schedule();
}).observe($("picture"));
follow();
