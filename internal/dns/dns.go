// Package dns packs and unpacks the DNS messages of Multicast DNS (RFC 1035
// §4.1), with the few types of records that service discovery uses.
//
// It is small because every app carries it: github.com/miekg/dns, which the
// tests use as an independent peer, links code for all 90 types of records, 0.7
// MiB. Identifiers are named as in that package. Names are in presentation
// form: labels with dots between them and a dot at the end, in which `\C`
// stands for a character that would have a special meaning, and `\DDD` for any
// byte.
package dns

import (
	"net"
	"slices"
)

// Types of records, and classes.
const (
	TypeA    uint16 = 1
	TypePTR  uint16 = 12
	TypeTXT  uint16 = 16
	TypeAAAA uint16 = 28
	TypeSRV  uint16 = 33
	TypeNSEC uint16 = 47
	TypeANY  uint16 = 255

	ClassINET uint16 = 1
	ClassANY  uint16 = 255
)

// A Header holds the fields that all records have in common.
type Header struct {
	Name  string
	Type  uint16
	Class uint16
	TTL   uint32 // seconds
}

// A Record is a resource record: *A, *AAAA, *PTR, *SRV, *TXT, *NSEC or
// *Unknown.
type Record interface {
	// Head returns the record's header, which may be modified.
	Head() *Header
	// Copy returns a copy that shares nothing with the record.
	Copy() Record
	appendData(p *packer)
}

// An A is an IPv4 address (RFC 1035 §3.4.1).
type A struct {
	Header
	A net.IP
}

// An AAAA is an IPv6 address (RFC 3596 §2.2).
type AAAA struct {
	Header
	AAAA net.IP
}

// A PTR is a pointer to a name (RFC 1035 §3.3.12).
type PTR struct {
	Header
	Ptr string
}

// An SRV is the location of a service (RFC 2782).
type SRV struct {
	Header
	Priority, Weight, Port uint16
	Target                 string
}

// A TXT holds strings (RFC 1035 §3.3.14), raw: at most 255 bytes each.
type TXT struct {
	Header
	Txt []string
}

// An NSEC lists the types of records that a name has (RFC 4034 §4.1, in the
// form of RFC 6762 §6.1: types below 256).
type NSEC struct {
	Header
	NextDomain string
	Types      []uint16
}

// An Unknown is a record of another type, of which only the header was read.
type Unknown struct{ Header }

// Head returns h.
func (h *Header) Head() *Header { return h }

// Copy returns a copy.
func (r *A) Copy() Record { c := *r; c.A = slices.Clone(r.A); return &c }

// Copy returns a copy.
func (r *AAAA) Copy() Record { c := *r; c.AAAA = slices.Clone(r.AAAA); return &c }

// Copy returns a copy.
func (r *PTR) Copy() Record { c := *r; return &c }

// Copy returns a copy.
func (r *SRV) Copy() Record { c := *r; return &c }

// Copy returns a copy.
func (r *TXT) Copy() Record { c := *r; c.Txt = slices.Clone(r.Txt); return &c }

// Copy returns a copy.
func (r *NSEC) Copy() Record { c := *r; c.Types = slices.Clone(r.Types); return &c }

// Copy returns a copy.
func (r *Unknown) Copy() Record { c := *r; return &c }

// A Question asks for the records of a name (RFC 1035 §4.1.2).
type Question struct {
	Name  string
	Type  uint16
	Class uint16
}

// A Message is a query or a response (RFC 1035 §4.1.1; RFC 6762 §18).
type Message struct {
	ID            uint16
	Response      bool
	Authoritative bool
	Truncated     bool

	Question               []Question
	Answer, Ns, Additional []Record
}
