package dns

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed is returned for bytes that are not a DNS message, and for
// messages with an opcode or a response code, which must be ignored according
// to RFC 6762 §18.3 and §18.11.
var ErrMalformed = errors.New("dns: malformed message")

// A Reader inspects and unpacks packets. It reuses its memory, and must not be
// used concurrently. The zero value is ready to use.
type Reader struct{ names names }

// A Look is what can be told about a packet without unpacking it.
type Look struct {
	// Concerns reports whether a question or a record is about a name of the
	// set. If so, Probe and Goodbye are not set. A probe for a name below the
	// set's first one is of no concern to others: it does only if the name was
	// added.
	Concerns bool

	Response bool
	Probe    bool // a query with proposed records (RFC 6762 §8.1)
	Goodbye  bool // a response whose answers all withdraw records (RFC 6762 §10.1)
}

// Look checks the form of a packet, and whether it is about a name of set. It
// takes time proportional to the packet's size, and does not allocate. Unpack
// fails for every packet for which Look fails.
func (r *Reader) Look(b []byte, set *Set) (Look, error) {
	if err := valid(b); err != nil {
		return Look{}, err
	}
	r.names.begin(b, set)
	l := Look{Response: b[2]&0x80 != 0}
	probe := !l.Response && count(b, 2) > 0
	answers, taken, off := 0, 0, headerSize
	for section := range 4 {
		for range count(b, section) {
			index, at, ok := r.names.read(off, 0)
			switch {
			case !ok:
				return Look{}, ErrMalformed
			case r.names.wanted(index, probe):
				return Look{Concerns: true, Response: l.Response}, nil
			}
			ttl := uint32(1)
			if off, ttl, ok = skip(b, section, at); !ok {
				return Look{}, ErrMalformed
			}
			if section == 1 {
				answers++
				if ttl == 0 {
					taken++
				}
			}
		}
	}
	l.Probe = probe
	l.Goodbye = l.Response && answers > 0 && taken == answers
	return l, nil
}

// valid checks a packet's size and header.
func valid(b []byte) error {
	if len(b) < headerSize || len(b) > 0xFFFF {
		return ErrMalformed
	}
	if bits := binary.BigEndian.Uint16(b[2:]); bits>>11&15 != 0 || bits&15 != 0 {
		return ErrMalformed
	}
	return nil
}

// count returns the number of entries in a section: questions, answers, and so
// on.
func count(b []byte, section int) int { return int(binary.BigEndian.Uint16(b[4+2*section:])) }

// skip returns the offset after an entry whose name ends at off, and the
// entry's TTL if it has one.
func skip(b []byte, section, off int) (next int, ttl uint32, ok bool) {
	if section == 0 {
		return off + 4, 0, off+4 <= len(b)
	}
	if off+10 > len(b) {
		return 0, 0, false
	}
	next = off + 10 + int(binary.BigEndian.Uint16(b[off+8:]))
	return next, binary.BigEndian.Uint32(b[off+4:]), next <= len(b)
}

// Unpack is [Reader.Unpack] of a new reader.
func Unpack(b []byte) (*Message, error) { return new(Reader).Unpack(b) }

// Unpack unpacks a message. A record that cannot be read does not affect the
// others: python-zeroconf sends NSEC records that some implementations refuse.
// Records of types that service discovery does not use, and damaged NSEC
// records, become *Unknown; damaged records of other types are left out.
//
// It takes time and memory proportional to the packet's size. A packet is
// malformed if its names point at each other so that they would take much more.
func (r *Reader) Unpack(b []byte) (*Message, error) {
	if err := valid(b); err != nil {
		return nil, err
	}
	n := &r.names
	n.begin(b, nil)
	bits := binary.BigEndian.Uint16(b[2:])
	m := &Message{
		ID: binary.BigEndian.Uint16(b), Response: bits&(1<<15) != 0, Authoritative: bits&(1<<10) != 0, Truncated: bits&(1<<9) != 0,
	}
	off := headerSize
	if n := count(b, 0); n > 0 {
		m.Question = make([]Question, 0, min(n, len(b)/5))
	}
	for range count(b, 0) {
		name, next, ok := n.read(off, 0)
		if !ok || next+4 > len(b) {
			return nil, ErrMalformed
		}
		m.Question = append(m.Question, Question{
			Name: n.text(name), Type: binary.BigEndian.Uint16(b[next:]), Class: binary.BigEndian.Uint16(b[next+2:]),
		})
		off = next + 4
	}
	for i, section := range []*[]Record{&m.Answer, &m.Ns, &m.Additional} {
		for range count(b, 1+i) {
			r, next, ok := n.record(off)
			if !ok || n.exceeded {
				return nil, ErrMalformed
			}
			if r != nil {
				*section = append(*section, r)
			}
			off = next
		}
	}
	if n.exceeded {
		return nil, ErrMalformed
	}
	return m, nil
}

// record reads the record at off and returns the offset of the next one. The
// record is nil if its data is damaged.
func (n *names) record(off int) (r Record, next int, ok bool) {
	b := n.b
	name, at, ok := n.read(off, 0)
	if !ok || at+10 > len(b) {
		return nil, 0, false
	}
	h := Header{
		Name: n.text(name), Type: binary.BigEndian.Uint16(b[at:]), Class: binary.BigEndian.Uint16(b[at+2:]), TTL: binary.BigEndian.Uint32(b[at+4:]),
	}
	begin := at + 10
	end := begin + int(binary.BigEndian.Uint16(b[at+8:]))
	if end > len(b) {
		return nil, 0, false
	}
	data := b[begin:end]
	switch h.Type {
	case TypeA:
		if len(data) == 4 {
			return &A{h, append([]byte(nil), data...)}, end, true
		}
	case TypeAAAA:
		if len(data) == 16 {
			return &AAAA{h, append([]byte(nil), data...)}, end, true
		}
	case TypePTR:
		if to, stop, ok := n.read(begin, 0); ok && stop == end {
			return &PTR{h, n.text(to)}, end, true
		}
	case TypeSRV:
		if len(data) > 6 {
			if to, stop, ok := n.read(begin+6, 0); ok && stop == end {
				return &SRV{h, binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]), binary.BigEndian.Uint16(data[4:]), n.text(to)}, end, true
			}
		}
	case TypeTXT:
		if txt, ok := unpackTXT(data); ok {
			return &TXT{h, txt}, end, true
		}
	case TypeNSEC:
		if to, types, ok := n.nsec(begin, end); ok {
			return &NSEC{h, to, types}, end, true
		}
		return &Unknown{h}, end, true // nothing depends on it
	default:
		return &Unknown{h}, end, true
	}
	return nil, end, true
}

func unpackTXT(data []byte) (txt []string, ok bool) {
	all, n := string(data), 0
	for rest := all; rest != ""; n++ {
		size := int(rest[0])
		if 1+size > len(rest) {
			return nil, false
		}
		rest = rest[1+size:]
	}
	if n == 0 {
		return nil, true
	}
	txt = make([]string, n)
	for i := range txt {
		size := int(all[0])
		txt[i], all = all[1:1+size], all[1+size:]
	}
	return txt, true
}

// nsec reads the data of an NSEC record between two offsets, in the form of RFC
// 6762 §6.1: the types below 256.
func (n *names) nsec(begin, end int) (next string, types []uint16, ok bool) {
	b := n.b
	name, at, ok := n.read(begin, 0)
	if !ok || at+3 > end || b[at] != 0 || at+2+int(b[at+1]) > end || b[at+1] == 0 || b[at+1] > 32 {
		return "", nil, false
	}
	for i, bits := range b[at+2 : at+2+int(b[at+1])] {
		for bit := range 8 {
			if bits&(0x80>>bit) != 0 {
				types = append(types, uint16(8*i+bit))
			}
		}
	}
	return n.text(name), types, true
}
