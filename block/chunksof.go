package block

import "encoding/binary"

// maxKnown is how many chunks an index finds by their hashes, in whatever file
// they are.
const maxKnown = 1 << 17

// A chunkAt is where a row has the hash of a chunk.
type chunkAt struct {
	row   int64
	chunk uint32
}

func chunkKey(h *hash) uint64 { return binary.LittleEndian.Uint64(h[:]) }

// noteChunks has the chunks of a row found.
func (x *index) noteChunks(at int64, m *row) {
	for i := range m.hashes {
		if x.chunks == nil || len(x.chunks) >= maxKnown {
			return
		}
		x.chunks[chunkKey(&m.hashes[i])] = chunkAt{at, uint32(i)}
	}
}
