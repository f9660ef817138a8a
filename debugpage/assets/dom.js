// Small helpers that change only what differs: an element that is as it should be
// is not touched, so that selections, focus and layout stay.

export const $ = (id) => document.getElementById(id);

export function text(element, value) {
	value = String(value ?? "");
	if (element.textContent !== value) element.textContent = value;
}

export function attr(element, name, value) {
	value = String(value);
	if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function make(tag, className) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	return e;
}

// table fills a table with rows of texts, below heads if there are any. If there
// are no rows, it says so.
export function table(element, heads, rows, none) {
	if (rows.length === 0) {
		heads = [];
		rows = [[none]];
	}
	const all = heads.length ? [heads, ...rows] : rows;
	all.forEach((cells, i) => {
		const row = element.rows[i] ?? element.insertRow();
		const tag = heads.length && i === 0 ? "TH" : "TD";
		while (row.cells.length > cells.length) row.lastChild.remove();
		cells.forEach((value, j) => {
			let cell = row.cells[j];
			if (cell?.tagName !== tag) {
				const fresh = make(tag);
				if (cell) cell.replaceWith(fresh);
				else row.append(fresh);
				cell = fresh;
			}
			text(cell, value);
		});
	});
	while (element.rows.length > all.length) element.deleteRow(-1);
}
