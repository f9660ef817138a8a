package dns

import (
	"encoding/binary"
	"errors"
	"strings"
)

const (
	headerSize = 12
	maxName    = 255 // bytes, with lengths (RFC 1035 §2.3.4)
	maxLabel   = 63
)

// ErrPack is returned if a message is not valid.
var ErrPack = errors.New("dns: a message that cannot be packed")

// Pack packs a message. It compresses the names of records and those in PTR
// records, but no others (RFC 3597 §4).
func (m *Message) Pack() ([]byte, error) {
	p := &packer{b: make([]byte, headerSize, 512), names: map[string]int{}}
	binary.BigEndian.PutUint16(p.b, m.ID)
	for bit, set := range map[int]bool{7: m.Response, 2: m.Authoritative, 1: m.Truncated} {
		if set {
			p.b[2] |= 1 << bit
		}
	}
	for i, n := range []int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Additional)} {
		binary.BigEndian.PutUint16(p.b[4+2*i:], uint16(n))
		p.failed = p.failed || n > 0xFFFF
	}
	for _, q := range m.Question {
		p.name(q.Name, true)
		p.uint16(q.Type)
		p.uint16(q.Class)
	}
	for _, section := range [][]Record{m.Answer, m.Ns, m.Additional} {
		for _, r := range section {
			p.record(r)
		}
	}
	if p.failed {
		return nil, ErrPack
	}
	return p.b, nil
}

// Len returns the size in bytes of the packed message, or 0 if it is not valid.
// It takes as long as packing it.
func (m *Message) Len() int {
	b, _ := m.Pack()
	return len(b)
}

// Len returns the size in bytes of a packed record without compression.
func Len(r Record) int {
	p := &packer{}
	p.record(r)
	return len(p.b)
}

// Data returns the data of a record without compression, or nil if it is not
// valid.
func Data(r Record) []byte {
	p := &packer{}
	r.appendData(p)
	if p.failed {
		return nil
	}
	return p.b
}

// A packer appends to b.
type packer struct {
	b      []byte
	names  map[string]int // offsets of names and their suffixes; nil: without compression
	failed bool
}

func (p *packer) uint16(v uint16) { p.b = binary.BigEndian.AppendUint16(p.b, v) }

func (p *packer) record(r Record) {
	h := r.Head()
	p.name(h.Name, true)
	p.uint16(h.Type)
	p.uint16(h.Class)
	p.b = binary.BigEndian.AppendUint32(p.b, h.TTL)
	p.uint16(0)
	at := len(p.b)
	r.appendData(p)
	size := len(p.b) - at
	p.failed = p.failed || size > 0xFFFF
	binary.BigEndian.PutUint16(p.b[at-2:], uint16(size))
}

// name appends a name, or the part of it that was not written before and a
// pointer to the rest (RFC 1035 §4.1.4).
func (p *packer) name(name string, compress bool) {
	begin := len(p.b)
	if name == "." {
		name = ""
	}
	for name != "" {
		if compress && p.names != nil {
			if at, ok := p.names[name]; ok {
				p.uint16(0xC000 | uint16(at))
				return
			}
			if len(p.b) < 0x4000 {
				p.names[name] = len(p.b)
			}
		}
		label, rest, ok := CutLabel(name)
		if !ok || len(label) == 0 || len(label) > maxLabel || len(p.b)-begin+len(label)+2 > maxName {
			p.failed = true
			return
		}
		p.b = append(append(p.b, byte(len(label))), label...)
		name = rest
	}
	p.b = append(p.b, 0)
}

func (r *A) appendData(p *packer) {
	ip := r.A.To4()
	p.failed = p.failed || ip == nil
	p.b = append(p.b, ip...)
}

func (r *AAAA) appendData(p *packer) {
	ip := r.AAAA.To16()
	p.failed = p.failed || ip == nil
	p.b = append(p.b, ip...)
}

func (r *PTR) appendData(p *packer) { p.name(r.Ptr, true) }

func (r *SRV) appendData(p *packer) {
	p.uint16(r.Priority)
	p.uint16(r.Weight)
	p.uint16(r.Port)
	p.name(r.Target, false)
}

func (r *TXT) appendData(p *packer) {
	for _, s := range r.Txt {
		p.failed = p.failed || len(s) > 255
		p.b = append(append(p.b, byte(len(s))), s...)
	}
	if len(r.Txt) == 0 {
		p.b = append(p.b, 0) // one empty string (RFC 6763 §6.1)
	}
}

func (r *NSEC) appendData(p *packer) {
	p.name(r.NextDomain, false)
	var bits [32]byte
	last := -1
	for _, t := range r.Types {
		if t > 255 {
			p.failed = true
			return
		}
		bits[t/8] |= 0x80 >> (t % 8)
		last = max(last, int(t/8))
	}
	if last >= 0 {
		p.b = append(append(p.b, 0, byte(last+1)), bits[:last+1]...)
	}
}

func (r *Unknown) appendData(p *packer) { p.failed = true }

// EscapeLabel turns a raw label into presentation form.
func EscapeLabel(raw string) string {
	return string(appendEscaped(make([]byte, 0, escapedLen(raw)), raw))
}

// escaped is the number of bytes that stand for a byte in presentation form.
var escaped = func() (size [256]uint8) {
	for c := range size {
		switch {
		case strings.IndexByte(`. '@;()"\`, byte(c)) >= 0:
			size[c] = 2
		case c < ' ' || c > '~':
			size[c] = 4
		default:
			size[c] = 1
		}
	}
	return size
}()

func appendEscaped[T string | []byte](b []byte, raw T) []byte {
	for i := range len(raw) {
		switch c := raw[i]; escaped[c] {
		case 1:
			b = append(b, c)
		case 2:
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
	}
	return b
}

func escapedLen[T string | []byte](raw T) (n int) {
	for i := range len(raw) {
		n += int(escaped[raw[i]])
	}
	return n
}

// CutLabel splits a name into its first label, raw, and the rest. It returns
// false if no label ends with a dot.
func CutLabel(name string) (raw, rest string, ok bool) {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
			if i+2 < len(name) && digit(name[i]) && digit(name[i+1]) && digit(name[i+2]) {
				i += 2
			}
		case '.':
			return Unescape(name[:i]), name[i+1:], i > 0
		}
	}
	return "", "", false
}

// Unescape undoes the escapes of presentation form: \DDD and \C.
func Unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
			if i+2 < len(s) && digit(s[i]) && digit(s[i+1]) && digit(s[i+2]) {
				c = (s[i]-'0')*100 + (s[i+1]-'0')*10 + (s[i+2] - '0')
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
