package block

import (
	"fmt"
	"math"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

const (
	version    = 2
	maxEntries = math.MaxUint16 // of one offer
	maxOffer   = 32 << 20       // bytes of its entries
	maxPath    = 4096           // bytes
	maxText    = 1024           // bytes of a reason
	maxData    = 256 << 10      // bytes of one message
	maxHole    = 16 << 20       // bytes that one message stands for
	maxChunks  = 1 << 16        // of one file, and of all claims of an answer
	maxRepairs = 3              // of one chunk
	maxAsked   = 64             // pending repairs of a receiver
	maxMended  = 4096           // chunks of one offer that a sender repairs
	maxPieces  = 1 << 16        // whose hashes a receiver sends, of one file

	maxUnpacked = 512 << 10 // bytes of entries in a pack
	piece       = 128 << 10 // bytes that are read, hashed and written in one step: two of these leave room in the cache of a core
	maxSmall    = piece     // bytes of a file that is packed with others: one chunk
)

// A kind is the first byte of a message, after the hello.
type kind uint8

const (
	kindKeep     kind = iota // both: this side is alive
	kindFolder               // sender: an entry of the offer
	kindFile                 // sender: an entry of the offer
	kindOffered              // sender: the offer is complete
	kindAnswer               // receiver: a verdict for each entry
	kindBegin                // sender: a file follows, from a chunk on
	kindData                 // sender: bytes of a chunk
	kindChunk                // sender: the hash of the chunk
	kindEnd                  // sender: the hash of the file
	kindFailed               // both: a file is given up
	kindRepair               // receiver: send a chunk again; sender: it follows
	kindSent                 // sender: all files of the offer were sent
	kindProgress             // receiver: its progress
	kindDone                 // receiver: everything is in its place; sender: acknowledged
	kindAbort                // both: the transfer is over
	kindLeftOut              // sender: an entry of the offer that cannot be sent
	kindHole                 // sender: a hole in a chunk: zeros
	kindHashes               // sender: begins a file of which the receiver has an earlier version, with the hashes of its chunks
	kindClaims               // receiver: which of these chunks it has
	kindOld                  // sender: bytes of a chunk that the earlier version has in the same place
	kindPacked               // sender: entries of the offer, compressed
	kindRaw      kind = 0xFF // not on the wire: encoded bytes
	kindPack     kind = 0xFE // not on the wire: encoded bytes in a buffer from pool
)

// A hash is 32 bytes of BLAKE3.
type hash [32]byte

// blockSize returns the size of a file's chunks in bytes; the last chunk may be
// smaller. As in Syncthing's BEP, it is 128 KiB for files below 250 MiB, and
// doubles up to 16 MiB from 16 GiB on. Beyond that, it doubles so that there
// are at most 65,536 chunks.
func blockSize(size int64) int64 {
	block := int64(128 << 10)
	for limit := int64(250 << 20); block < 16<<20 && size >= limit; block *= 2 {
		if limit *= 2; limit == 1000<<20 {
			limit = 1 << 30
		}
	}
	for size/maxChunks >= block && block < 1<<62 {
		block *= 2
	}
	return block
}

// chunkSize returns the size of one chunk of a file.
func chunkSize(size, block int64, chunk uint32) int64 { return min(block, size-int64(chunk)*block) }

// chunkCount returns how many chunks a file has.
func chunkCount(size, block int64) int64 {
	if size == 0 {
		return 0
	}
	return (size-1)/block + 1
}

// sum returns the current hash of h.
func sum(h *blake3.Hasher) (s hash) {
	h.Digest().Read(s[:])
	return s
}

// newRoot returns the hasher for the hash of a whole file, to which the hashes
// of its chunks are written in order.
func newRoot() *blake3.Hasher { return blake3.NewDeriveKey("sdp2p block 1 file") }

// A message is any other message of either side: a kind, and the fields of that
// kind.
//
//	kind         size  field
//	05 begin     2     entry   number in the offer, from 0
//	             4     chunk   the first that follows
//	06 data      4     length  1 to 262,144; so many bytes follow
//	07 chunk     32    hash    of the chunk
//	08 end       32    hash    of the file
//	09 failed    2     entry
//	             1     code
//	             2+n   reason  at most 1024 bytes
//	0A repair    2     entry
//	             4     chunk
//	0C progress  8     bytes that have arrived
//	             8     bytes that were verified
//	0E abort     1     code
//	             2+n   reason  at most 1024 bytes
//	10 hole      4     length  1 to 16,777,216: so many bytes of the chunk are 0
//	11 hashes    2     entry
//	             4     count   of chunks, 1 to 65,536
//	             32 n  hashes
//	12 claims    2     entry
//	             4     count   of chunks, 1 to 65,536
//	             n     states  00 to be sent, 01 there, 02 to be sent, and the hashes of its pieces follow
//	             4     count   of pieces, at most 65,536
//	             8 n   pieces  of all chunks with 02, in their order: the first 8 bytes of BLAKE3
//	13 old       4     length  1 to 16,777,216: so many bytes of the chunk are those of the earlier version
//
// Keep (00), sent (0B) and done (0D) have no fields. The content of an answer
// (04) and entries (01 to 03, 0F) are decoded elsewhere.
type message struct {
	kind               kind
	entry              uint16
	chunk              uint32
	size               uint32
	hash               hash
	code               code
	reason             string
	received, verified uint64
	hashes             []hash
	states             []chunkState
	pieces             []uint64
}

func (m *message) AppendBinary(b []byte) ([]byte, error) {
	n, err := len(b), error(nil)
	b = append(b, byte(m.kind))
	switch m.kind {
	case kindKeep, kindSent, kindDone, kindAnswer:
	case kindBegin, kindRepair:
		b = proto.AppendUint32(proto.AppendUint16(b, m.entry), m.chunk)
	case kindData, kindHole, kindOld, kindPacked:
		b = proto.AppendUint32(b, m.size)
		err = m.valid()
	case kindHashes, kindClaims:
		b, err = m.appendLists(proto.AppendUint16(b, m.entry))
	case kindChunk, kindEnd:
		b = append(b, m.hash[:]...)
	case kindFailed, kindAbort:
		if m.kind == kindFailed {
			b = proto.AppendUint16(b, m.entry)
		}
		b, err = proto.AppendStringMax(append(b, byte(m.code)), m.reason, maxText)
	case kindProgress:
		b = proto.AppendUint64(proto.AppendUint64(b, m.received), m.verified)
	default:
		err = &proto.EnumError{Name: "message", Value: uint8(m.kind)}
	}
	if err != nil {
		return b[:n], err
	}
	return b, nil
}

func (m *message) DecodeFrom(d *proto.Decoder) error {
	*m = message{kind: kind(d.Uint8())}
	if d.Err() != nil {
		return d.Err()
	}
	return m.fields(d)
}

// fields decodes the fields after the kind.
func (m *message) fields(d *proto.Decoder) error {
	switch m.kind {
	case kindKeep, kindSent, kindDone, kindAnswer:
	case kindBegin, kindRepair:
		m.entry, m.chunk = d.Uint16(), d.Uint32()
	case kindHashes, kindClaims:
		m.entry = d.Uint16()
		m.lists(d)
	case kindData, kindHole, kindOld, kindPacked:
		if m.size = d.Uint32(); d.Err() == nil {
			d.Fail(m.valid())
		}
	case kindChunk, kindEnd:
		d.Fixed(m.hash[:])
	case kindFailed, kindAbort:
		if m.kind == kindFailed {
			m.entry = d.Uint16()
		}
		m.code, m.reason = code(d.Uint8()), d.String(maxText)
	case kindProgress:
		m.received, m.verified = d.Uint64(), d.Uint64()
	default:
		d.Fail(&proto.EnumError{Name: "message", Value: uint8(m.kind)})
	}
	return d.Err()
}

func (m *message) valid() error {
	limit := uint32(maxData)
	switch m.kind {
	case kindHole, kindOld:
		limit = maxHole
	case kindPacked:
		limit = maxUnpacked
	}
	if m.size == 0 || m.size > limit {
		return &proto.LimitError{What: "data", Size: uint64(m.size), Limit: uint64(limit)}
	}
	return nil
}

// why returns the error that a failed or abort message reports.
func (m *message) why() error { return &PeerError{m.code.err(), printable(m.reason, maxText)} }

// A chunkState says how much the receiver has of a chunk whose hash the sender
// has sent.
type chunkState uint8

const (
	chunkComes  chunkState = iota // nothing
	chunkThere                    // all of it
	chunkPieces                   // perhaps some of its pieces, whose hashes follow
)

const (
	minPiece      = 8 << 10
	piecesOfChunk = 64
)

// pieceSize returns the size of the pieces of a chunk whose hashes a receiver
// sends.
func pieceSize(block int64) int64 { return min(max(block/piecesOfChunk, minPiece), piece) }

// appendLists appends the lists of a hashes or claims message.
func (m *message) appendLists(b []byte) ([]byte, error) {
	if m.kind == kindHashes {
		b = proto.AppendUint32(b, uint32(len(m.hashes)))
		for i := range m.hashes {
			b = append(b, m.hashes[i][:]...)
		}
		return b, m.validLists()
	}
	b = proto.AppendUint32(b, uint32(len(m.states)))
	for _, s := range m.states {
		b = append(b, byte(s))
	}
	b = proto.AppendUint32(b, uint32(len(m.pieces)))
	for _, p := range m.pieces {
		b = proto.AppendUint64(b, p)
	}
	return b, m.validLists()
}

// lists decodes the lists of a hashes or claims message.
func (m *message) lists(d *proto.Decoder) {
	if m.kind == kindHashes {
		m.hashes = proto.DecodeList(d, d.Count32(maxChunks), func(h *hash, d *proto.Decoder) error {
			d.Fixed(h[:])
			return d.Err()
		})
	} else {
		m.states = proto.DecodeList(d, d.Count32(maxChunks), func(s *chunkState, d *proto.Decoder) error {
			*s = proto.DecodeEnum(d, "state of a chunk", chunkComes, chunkThere, chunkPieces)
			return d.Err()
		})
		m.pieces = proto.DecodeList(d, d.Count32(maxPieces), func(p *uint64, d *proto.Decoder) error {
			*p = d.Uint64()
			return d.Err()
		})
	}
	if d.Err() == nil {
		d.Fail(m.validLists())
	}
}

func (m *message) validLists() error {
	n := len(m.states)
	if m.kind == kindHashes {
		n = len(m.hashes)
	}
	if n == 0 || n > maxChunks || len(m.pieces) > maxPieces {
		return fmt.Errorf("%w list of %d chunks and %d pieces", proto.ErrInvalid, n, len(m.pieces))
	}
	return nil
}

// pieceCount returns how many pieces the claims for a file of that size have,
// given the states of its chunks.
func pieceCount(states []chunkState, size int64) (n int64) {
	block := blockSize(size)
	for i, s := range states {
		if s == chunkPieces {
			n += chunkCount(chunkSize(size, block, uint32(i)), pieceSize(block))
		}
	}
	return n
}
