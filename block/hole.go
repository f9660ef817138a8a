package block

// minHole is the minimum length, in bytes, of a hole that is sent as one: no
// file system has holes shorter than a page.
const minHole = 4 << 10

// hole returns the length of the hole from offset on, up to end. It is 0 if
// there is data at offset.
func (c *content) hole(offset, end int64) int64 {
	if x := c.extentAt(offset); x.hole {
		return min(x.end, end) - offset
	}
	return 0
}

// dataEnd returns where the data that hole has found ends, at most end.
func (c *content) dataEnd(end int64) int64 {
	if c.extent.none {
		return end
	}
	return min(c.extent.end, end)
}

// hash returns the hash of the bytes from start to end, which it reads through
// buf.
func (c *content) hash(h *chunkHasher, buf []byte, start, end int64) (hash, error) {
	h.reset()
	for start < end {
		if n := c.hole(start, end); n > 0 {
			h.zeros(n)
			start += n
			continue
		}
		if err := h.ctx.Err(); err != nil {
			return hash{}, err
		}
		n := min(int64(len(buf)), c.dataEnd(end)-start)
		if err := c.read(buf[:n], start); err != nil {
			return hash{}, err
		}
		if err := h.write(buf[:n]); err != nil {
			return hash{}, err
		}
		start += n
	}
	return h.sum()
}

// extentAt returns the extent that offset lies in.
func (c *content) extentAt(offset int64) *extent {
	x := &c.extent
	if x.none || x.start <= offset && offset < x.end {
		return x
	}
	if c.at == nil || c.unsized() || c.entry.size <= maxSmall { // without ReadAt, a seek changes what is read next
		*x = extent{none: true}
		return x
	}
	data, next, ok := dataAfter(c.file, offset)
	if data > c.entry.size { // a hole to the end, unless the file has become shorter
		info, err := c.file.Stat()
		ok = ok && err == nil && info.Size() >= c.entry.size
	}
	switch {
	case !ok:
		*x = extent{none: true}
	case data-offset >= minHole:
		*x = extent{start: offset, end: data, hole: true}
	default:
		*x = extent{start: offset, end: max(next, offset+1)}
	}
	return x
}
