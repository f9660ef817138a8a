package block

import (
	"encoding"
	"io"
	"math"
	"testing"

	described "github.com/sdp2p/p2p/internal/described/block"
	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
)

// The messages have the layout that internal/described describes.
func TestDescribed(t *testing.T) {
	t.Run("hello", func(t *testing.T) {
		messagetest.Pair{
			Sample: func(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
				id := r.UUID()
				return &hello{id}, &described.Hello{ID: id}
			},
			Hand:      func(r io.Reader) error { return new(hello).DecodeFrom(proto.NewDecoder(r)) },
			Generated: messagetest.By[described.Hello](),
		}.Agree(t)
	})
	t.Run("entry", func(t *testing.T) {
		messagetest.Pair{
			Sample: randomEntry,
			Hand:   func(r io.Reader) error { return new(entry).DecodeFrom(proto.NewDecoder(r)) },
			Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
				d := proto.NewDecoder(r)
				return asEntry(described.DecodeEntry(d)), d.Err()
			},
		}.Agree(t)
	})
	t.Run("message", func(t *testing.T) {
		messagetest.Pair{
			Sample: randomMessage,
			Hand:   func(r io.Reader) error { return new(message).DecodeFrom(proto.NewDecoder(r)) },
			Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
				d := proto.NewDecoder(r)
				return asMessage(described.DecodeMessage(d)), d.Err()
			},
		}.Agree(t)
	})
	t.Run("verdict", func(t *testing.T) {
		messagetest.Pair{
			Sample: randomVerdict,
			Hand:   func(r io.Reader) error { return new(wish).decode(proto.NewDecoder(r), math.MaxInt64, maxChunks) },
			Generated: func(r io.Reader) (encoding.BinaryAppender, error) {
				d := proto.NewDecoder(r)
				return asVerdict(described.DecodeVerdict(d)), d.Err()
			},
		}.Agree(t)
	})
}

func asEntry(v described.Entry) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return described.AppendEntry(b, v) }
}

func asMessage(v described.Message) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return described.AppendMessage(b, v) }
}

func asVerdict(v described.Verdict) messagetest.AppendFunc {
	return func(b []byte) ([]byte, error) { return described.AppendVerdict(b, v) }
}

func randomEntry(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	e := entry{path: r.Text(maxPath), mode: uint16(r.IntN(0o1000)), seconds: int64(r.Uint64()), nanos: r.Uint32N(1e9)}
	folder := described.Folder{Path: e.path, Mode: e.mode, Seconds: e.seconds, Nanos: e.nanos}
	switch r.IntN(4) {
	case 0:
		e.kind = kindFolder
		return &e, asEntry(&folder)
	case 1:
		e.kind, e.id, e.size = kindFile, r.UUID(), r.Int64()
		e.stored = r.Int64N(e.size + 1)
		return &e, asEntry(&described.File{Folder: folder, ID: e.id, Size: e.size, Stored: e.stored})
	case 2:
		e = entry{kind: kindLeftOut, path: e.path, code: code(r.IntN(256))}
		return &e, asEntry(&described.LeftOut{Path: e.path, Code: uint8(e.code)})
	}
	m := totals{files: r.Uint32(), folders: r.Uint32(), leftOut: r.Uint32(), bytes: r.Int64()}
	m.stored = r.Int64N(m.bytes + 1)
	return &entry{kind: kindOffered, totals: m},
		asEntry(&described.Offered{Files: m.files, Folders: m.folders, LeftOut: m.leftOut, Bytes: m.bytes, Stored: m.stored})
}

func randomMessage(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	m := message{
		entry: uint16(r.Uint32()), chunk: r.Uint32(), size: 1 + r.Uint32N(maxData), hash: r.Hash(), code: code(r.IntN(256)),
		reason: r.Text(maxText), received: r.Uint64(), verified: r.Uint64(),
	}
	all := map[kind]described.Message{
		kindKeep: &described.Keep{}, kindAnswer: &described.Answer{}, kindSent: &described.Sent{}, kindDone: &described.Done{},
		kindBegin:    &described.Begin{Entry: m.entry, Chunk: m.chunk},
		kindRepair:   &described.Repair{Entry: m.entry, Chunk: m.chunk},
		kindData:     &described.Data{Length: m.size},
		kindHole:     &described.Hole{Length: m.size},
		kindChunk:    &described.Chunk{Hash: m.hash},
		kindEnd:      &described.End{Hash: m.hash},
		kindFailed:   &described.Failed{Entry: m.entry, Code: uint8(m.code), Reason: m.reason},
		kindAbort:    &described.Abort{Code: uint8(m.code), Reason: m.reason},
		kindHashes:   &described.Hashes{Entry: m.entry, Hashes: [][32]byte{m.hash}},
		kindClaims:   &described.Claims{Entry: m.entry, States: []described.State{described.Pieces, described.There}, Pieces: []uint64{m.received}},
		kindOld:      &described.Old{Length: m.size},
		kindPacked:   &described.Packed{Length: m.size},
		kindProgress: &described.Progress{Received: m.received, Verified: m.verified},
	}
	for all[m.kind] == nil || r.IntN(4) > 0 {
		m.kind = kind(r.IntN(int(kindPacked) + 1))
	}
	switch m.kind {
	case kindHashes:
		m.hashes = []hash{m.hash}
	case kindClaims:
		m.states, m.pieces = []chunkState{chunkPieces, chunkThere}, []uint64{m.received}
	}
	return &m, asMessage(all[m.kind])
}

func randomVerdict(r messagetest.Random) (hand, generated encoding.BinaryAppender) {
	w := wish{verdict: verdict(r.IntN(6))}
	switch w.verdict {
	case verdictFrom:
		v := new(described.FromChunk)
		for range 1 + r.IntN(5) {
			h := r.Hash()
			w.claims, v.Hashes = append(w.claims, h), append(v.Hashes, h)
		}
		return &w, asVerdict(v)
	case verdictPart:
		w.end = r.Int64()
		w.start = r.Int64N(w.end + 1)
		return &w, asVerdict(&described.Part{Start: w.start, End: w.end})
	}
	return &w, asVerdict([]described.Verdict{&described.NotWanted{}, &described.Wanted{}, &described.ThereAlready{}, &described.NameUnusable{}}[w.verdict])
}
