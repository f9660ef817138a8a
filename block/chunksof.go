package block

import "encoding/binary"

// maxKnown limits the chunks that an index finds by their hashes, in any file.
const maxKnown = 1 << 17

// A chunkAt says which row has the hash of a chunk.
type chunkAt struct {
	row   int64
	chunk uint32
}

func chunkKey(h *hash) uint64 { return binary.LittleEndian.Uint64(h[:]) }

// noteChunks makes the chunks of a row known by their hashes.
func (x *index) noteChunks(at int64, m *row) {
	for i := range m.hashes {
		if x.chunks == nil || len(x.chunks) >= maxKnown {
			return
		}
		x.chunks[chunkKey(&m.hashes[i])] = chunkAt{at, uint32(i)}
	}
}
