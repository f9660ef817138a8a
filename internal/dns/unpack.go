package dns

import (
	"encoding/binary"
	"errors"
	"strings"
)

// ErrMalformed is returned for what is no DNS message, and for messages with an opcode or a response code, which
// RFC 6762 §18.3 and §18.11 want ignored.
var ErrMalformed = errors.New("dns: malformed message")

// maxPointers is how many pointers a name may have: more are a loop, or mischief.
const maxPointers = 32

// Unpack takes a message apart. One record that cannot be read does not make the others unreadable: python-zeroconf sends
// NSEC records that some refuse. Records of types that service discovery does not use, and damaged NSEC records, are
// *Unknown; damaged ones of the others are left out.
func Unpack(b []byte) (*Message, error) {
	if len(b) < headerSize {
		return nil, ErrMalformed
	}
	bits := binary.BigEndian.Uint16(b[2:])
	if bits>>11&15 != 0 || bits&15 != 0 {
		return nil, ErrMalformed
	}
	m := &Message{
		ID: binary.BigEndian.Uint16(b), Response: bits&(1<<15) != 0, Authoritative: bits&(1<<10) != 0, Truncated: bits&(1<<9) != 0,
	}
	off := headerSize
	for range binary.BigEndian.Uint16(b[4:]) {
		name, next, ok := unpackName(b, off)
		if !ok || next+4 > len(b) {
			return nil, ErrMalformed
		}
		m.Question = append(m.Question, Question{
			Name: name, Type: binary.BigEndian.Uint16(b[next:]), Class: binary.BigEndian.Uint16(b[next+2:]),
		})
		off = next + 4
	}
	for i, section := range []*[]Record{&m.Answer, &m.Ns, &m.Additional} {
		for range binary.BigEndian.Uint16(b[6+2*i:]) {
			r, next, ok := unpackRecord(b, off)
			if !ok {
				return nil, ErrMalformed
			}
			if r != nil {
				*section = append(*section, r)
			}
			off = next
		}
	}
	return m, nil
}

// unpackRecord reads the record at off and returns where the next one begins. The record is nil if its data is damaged.
func unpackRecord(b []byte, off int) (r Record, next int, ok bool) {
	name, at, ok := unpackName(b, off)
	if !ok || at+10 > len(b) {
		return nil, 0, false
	}
	h := Header{
		Name: name, Type: binary.BigEndian.Uint16(b[at:]), Class: binary.BigEndian.Uint16(b[at+2:]), TTL: binary.BigEndian.Uint32(b[at+4:]),
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
		if to, stop, ok := unpackName(b, begin); ok && stop == end {
			return &PTR{h, to}, end, true
		}
	case TypeSRV:
		if len(data) > 6 {
			if to, stop, ok := unpackName(b, begin+6); ok && stop == end {
				return &SRV{h, binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]), binary.BigEndian.Uint16(data[4:]), to}, end, true
			}
		}
	case TypeTXT:
		if txt, ok := unpackTXT(data); ok {
			return &TXT{h, txt}, end, true
		}
	case TypeNSEC:
		if to, types, ok := unpackNSEC(b, begin, end); ok {
			return &NSEC{h, to, types}, end, true
		}
		return &Unknown{h}, end, true // no record of ours hangs on it
	default:
		return &Unknown{h}, end, true
	}
	return nil, end, true
}

func unpackTXT(data []byte) (txt []string, ok bool) {
	for len(data) > 0 {
		n := int(data[0])
		if 1+n > len(data) {
			return nil, false
		}
		txt = append(txt, string(data[1:1+n]))
		data = data[1+n:]
	}
	return txt, true
}

// unpackNSEC reads the data of an NSEC record between two offsets, in the form of RFC 6762 §6.1: the types below 256.
func unpackNSEC(b []byte, begin, end int) (next string, types []uint16, ok bool) {
	next, at, ok := unpackName(b, begin)
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
	return next, types, true
}

// unpackName reads the name at off and returns where it ends.
func unpackName(b []byte, off int) (name string, next int, ok bool) {
	var s strings.Builder
	size, pointers := 1, 0
	for {
		if off >= len(b) {
			return "", 0, false
		}
		n := int(b[off])
		off++
		switch n & 0xC0 {
		case 0x00:
			if n == 0 {
				if pointers == 0 {
					next = off
				}
				if s.Len() == 0 {
					return ".", next, true
				}
				return s.String(), next, true
			}
			if size += 1 + n; off+n > len(b) || size > maxName {
				return "", 0, false
			}
			s.WriteString(EscapeLabel(string(b[off : off+n])))
			s.WriteByte('.')
			off += n
		case 0xC0:
			if off >= len(b) {
				return "", 0, false
			}
			if pointers == 0 {
				next = off + 1
			}
			if pointers++; pointers > maxPointers {
				return "", 0, false
			}
			off = (n&0x3F)<<8 | int(b[off])
		default:
			return "", 0, false
		}
	}
}
