package block

import (
	"fmt"
	"math"
	"time"

	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

const (
	// MaxEntries is how many files and folders an offer may have.
	MaxEntries = math.MaxUint16
	// MaxOffer is how large the entries of an offer may be in all, in bytes.
	MaxOffer = 32 << 20

	version    = 1
	maxPath    = 4096      // bytes
	maxText    = 1024      // bytes of a reason
	maxData    = 256 << 10 // bytes of one message
	maxChunks  = 1 << 16   // of one file, and of all claims of an answer
	maxRepairs = 3         // of one chunk
	maxAsked   = 64        // repairs that a receiver waits for
)

// A kind is the first byte of a message, after the hello.
type kind uint8

const (
	kindKeep     kind = iota // both: nothing; says that we are alive
	kindFolder               // sender: an entry of the offer
	kindFile                 // sender: an entry of the offer
	kindOffered              // sender: the offer is complete
	kindAnswer               // receiver: what is wanted
	kindBegin                // sender: a file, from a chunk on
	kindData                 // sender: bytes of a chunk
	kindChunk                // sender: the hash of the chunk
	kindEnd                  // sender: the hash of the file
	kindFailed               // both: a file does not go on
	kindRepair               // receiver: send a chunk again; sender: it follows
	kindSent                 // sender: all files were sent
	kindProgress             // receiver: how far it is
	kindDone                 // receiver: all is in its place; sender: good
	kindAbort                // both: the transfer is over
	kindRaw      kind = 0xFF // not on the wire: bytes that are encoded already
	kindPack     kind = 0xFE // likewise, in a buffer of pool
)

// A hash is 32 bytes of BLAKE3.
type hash [32]byte

// blockSize returns the size of a file's chunks in bytes; the last chunk may be smaller. As in Syncthing's BEP they are 128 KiB
// below 250 MiB, and grow by 2 up to 16 MiB from 16 GiB on; beyond that, so that there are at most 65,536.
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

// chunkSize returns the size of a file's chunk.
func chunkSize(size, block int64, chunk uint32) int64 { return min(block, size-int64(chunk)*block) }

// chunkCount returns how many chunks a file has.
func chunkCount(size, block int64) int64 {
	if size == 0 {
		return 0
	}
	return (size-1)/block + 1
}

// sum returns what h has come to.
func sum(h *blake3.Hasher) (s hash) {
	h.Digest().Read(s[:])
	return s
}

// newRoot returns the hasher for the hash of a whole file: its chunks' hashes are written to it in their order.
func newRoot() *blake3.Hasher { return blake3.NewDeriveKey("sdp2p block 1 file") }

// A hello begins a transfer. The sender writes it.
//
//	size  field
//	1     'B'
//	1     version  1
//	16    ID       of the offer
type hello struct {
	id [16]byte
}

func (m *hello) AppendBinary(b []byte) ([]byte, error) {
	return proto.AppendUUID(append(b, 'B', version), m.id), nil
}

func (m *hello) DecodeFrom(d *proto.Decoder) error {
	if d.Uint8() != 'B' || d.Uint8() != version {
		d.Fail(fmt.Errorf("%w: %w", proto.ErrInvalid, ErrVersion))
	}
	m.id = d.UUID()
	return d.Err()
}

// An entry is a file or a folder of an offer, or the end of it.
//
//	size  field
//	1     kind     01 folder, 02 file, 03 end: nothing follows
//	2+n   path     at most 4096 bytes, slashes between components
//	2     mode     the nine bits of permission
//	8     seconds  of the time of modification, since 1970, signed
//	4     nanoseconds  below 1,000,000,000
//	16    ID       of a file only
//	8     size     of a file only; below 2^63
type entry struct {
	kind    kind
	path    string
	mode    uint16
	seconds int64
	nanos   uint32
	id      [16]byte
	size    int64
}

func (m *entry) AppendBinary(b []byte) ([]byte, error) {
	n := len(b)
	b, err := proto.AppendEnum(b, "entry", m.kind, kindFolder, kindFile, kindOffered)
	if err != nil || m.kind == kindOffered {
		return b, err
	}
	if b, err = proto.AppendStringMax(b, m.path, maxPath); err != nil {
		return b[:n], err
	}
	b = proto.AppendUint16(b, m.mode)
	b = proto.AppendUint64(b, uint64(m.seconds))
	b = proto.AppendUint32(b, m.nanos)
	if m.kind == kindFile {
		b = proto.AppendUUID(b, m.id)
		b = proto.AppendUint64(b, uint64(m.size))
	}
	return b, m.valid()
}

// DecodeFrom reads m, whose kind may be [kindKeep], or [kindAbort] and nothing more.
func (m *entry) DecodeFrom(d *proto.Decoder) error {
	*m = entry{kind: proto.DecodeEnum(d, "entry", kindKeep, kindFolder, kindFile, kindOffered, kindAbort)}
	if m.kind != kindFolder && m.kind != kindFile || d.Err() != nil {
		return d.Err()
	}
	m.path = d.String(maxPath)
	m.mode = d.Uint16()
	m.seconds = int64(d.Uint64())
	m.nanos = d.Uint32()
	if m.kind == kindFile {
		m.id = d.UUID()
		m.size = int64(d.Uint64())
	}
	if d.Err() == nil {
		d.Fail(m.valid())
	}
	return d.Err()
}

func (m *entry) valid() error {
	if m.mode > 0o777 || m.nanos >= 1e9 || m.size < 0 {
		return fmt.Errorf("%w entry: mode %#o, %d ns, size %d", proto.ErrInvalid, m.mode, m.nanos, m.size)
	}
	return nil
}

func (m *entry) modTime() time.Time { return time.Unix(m.seconds, int64(m.nanos)) }

// A verdict says what the receiver wants of an entry.
type verdict uint8

const (
	verdictNo    verdict = iota // not wanted
	verdictWhole                // from its first byte on; of a folder: yes
	verdictHave                 // it is there already
	verdictName                 // its name cannot be used
	verdictFrom                 // count of chunks, their hashes: these are there
	verdictPart                 // start, end: these bytes alone
)

// A wish is a verdict with what belongs to it.
//
//	size  field
//	1     verdict  00 no, 01 whole, 02 have, 03 unsafe name, 04 from a chunk on, 05 part
//	4     count    04 only: of chunks that are there, at least 1; at most 65,536 in an answer
//	32 n  hashes   04 only: of these chunks
//	8     start    05 only
//	8     end      05 only; not before start, not behind the file's end
type wish struct {
	verdict    verdict
	claims     []hash
	start, end int64
}

func (m *wish) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, byte(m.verdict))
	switch m.verdict {
	case verdictFrom:
		b = proto.AppendUint32(b, uint32(len(m.claims)))
		for i := range m.claims {
			b = append(b, m.claims[i][:]...)
		}
	case verdictPart:
		b = proto.AppendUint64(b, uint64(m.start))
		b = proto.AppendUint64(b, uint64(m.end))
	}
	return b, nil
}

// decode reads m, the wish for a file, or a folder if size is negative. At most limit chunks may be claimed.
func (m *wish) decode(d *proto.Decoder, size int64, limit int) error {
	*m = wish{verdict: proto.DecodeEnum(d, "verdict", verdictNo, verdictWhole, verdictHave, verdictName, verdictFrom, verdictPart)}
	switch {
	case m.verdict > verdictName && size < 0:
		d.Fail(fmt.Errorf("%w verdict on a folder: %d", proto.ErrInvalid, m.verdict))
	case m.verdict == verdictFrom:
		n := d.Count32(limit)
		m.claims = proto.DecodeList(d, n, func(h *hash, d *proto.Decoder) error {
			d.Fixed(h[:])
			return d.Err()
		})
		if d.Err() == nil && (n == 0 || int64(n) > chunkCount(size, blockSize(size))) {
			d.Fail(fmt.Errorf("%w claim of %d chunks", proto.ErrInvalid, n))
		}
	case m.verdict == verdictPart:
		m.start, m.end = int64(d.Uint64()), int64(d.Uint64())
		if d.Err() == nil && (m.start < 0 || m.end < m.start || m.end > size) {
			d.Fail(fmt.Errorf("%w part: %d to %d of %d", proto.ErrInvalid, m.start, m.end, size))
		}
	}
	return d.Err()
}

// A message is anything else that either side says: a kind and the fields of that kind.
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
//
// Keep (00), sent (0B) and done (0D) have no fields; an answer (04) is read by itself.
type message struct {
	kind               kind
	entry              uint16
	chunk              uint32
	size               uint32
	hash               hash
	code               code
	reason             string
	received, verified uint64
}

func (m *message) AppendBinary(b []byte) ([]byte, error) {
	n, err := len(b), error(nil)
	b = append(b, byte(m.kind))
	switch m.kind {
	case kindKeep, kindSent, kindDone, kindAnswer:
	case kindBegin, kindRepair:
		b = proto.AppendUint32(proto.AppendUint16(b, m.entry), m.chunk)
	case kindData:
		b = proto.AppendUint32(b, m.size)
		err = m.valid()
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

// fields reads what follows the kind.
func (m *message) fields(d *proto.Decoder) error {
	switch m.kind {
	case kindKeep, kindSent, kindDone, kindAnswer:
	case kindBegin, kindRepair:
		m.entry, m.chunk = d.Uint16(), d.Uint32()
	case kindData:
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
	if m.size == 0 || m.size > maxData {
		return &proto.LimitError{What: "data", Size: uint64(m.size), Limit: maxData}
	}
	return nil
}

// why returns the error that a failed or an abort message stands for.
func (m *message) why() error { return &PeerError{m.code.err(), m.reason} }
