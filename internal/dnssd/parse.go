package dnssd

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// parse takes a packet apart. It is more lenient than [dns.Msg.Unpack], which gives up the whole message for one record
// that it cannot read: the NSEC records of python-zeroconf, for example. Of types that the engine does not use only the
// header is read; records of other types that are damaged are left out. It fails if the packet is not a message, or
// if it is one with an opcode or a response code, which RFC 6762 §18.3 and §18.11 want ignored.
func parse(b []byte) (*dns.Msg, error) {
	if len(b) < headerSize {
		return nil, errMalformed
	}
	bits := binary.BigEndian.Uint16(b[2:])
	m := &dns.Msg{}
	m.Id = binary.BigEndian.Uint16(b)
	m.Response = bits&(1<<15) != 0
	m.Authoritative = bits&(1<<10) != 0
	m.Truncated = bits&(1<<9) != 0
	if opcode, rcode := bits>>11&15, bits&15; opcode != dns.OpcodeQuery || rcode != dns.RcodeSuccess {
		return nil, errMalformed
	}
	off := headerSize
	for range binary.BigEndian.Uint16(b[4:]) {
		name, next, err := dns.UnpackDomainName(b, off)
		if err != nil || next+4 > len(b) {
			return nil, errMalformed
		}
		m.Question = append(m.Question, dns.Question{
			Name: name, Qtype: binary.BigEndian.Uint16(b[next:]), Qclass: binary.BigEndian.Uint16(b[next+2:]),
		})
		off = next + 4
	}
	for i, section := range []*[]dns.RR{&m.Answer, &m.Ns, &m.Extra} {
		for range binary.BigEndian.Uint16(b[6+2*i:]) {
			rr, next, err := parseRecord(b, off)
			if err != nil {
				return nil, err
			}
			if rr != nil {
				*section = append(*section, rr)
			}
			off = next
		}
	}
	return m, nil
}

// parseRecord reads the record at off and returns where the next one begins. The record is nil if it is damaged.
func parseRecord(b []byte, off int) (dns.RR, int, error) {
	name, at, err := dns.UnpackDomainName(b, off)
	if err != nil || at+10 > len(b) {
		return nil, 0, errMalformed
	}
	h := dns.RR_Header{
		Name:   name,
		Rrtype: binary.BigEndian.Uint16(b[at:]),
		Class:  binary.BigEndian.Uint16(b[at+2:]),
		Ttl:    binary.BigEndian.Uint32(b[at+4:]),
	}
	next := at + 10 + int(binary.BigEndian.Uint16(b[at+8:]))
	if next > len(b) {
		return nil, 0, errMalformed
	}
	switch h.Rrtype {
	case dns.TypePTR, dns.TypeSRV, dns.TypeTXT, dns.TypeA, dns.TypeAAAA:
		if next == at+10 && h.Rrtype != dns.TypeTXT {
			return nil, next, nil
		}
		rr, end, err := dns.UnpackRR(b, off)
		if err != nil || end != next {
			return nil, next, nil
		}
		return rr, next, nil
	}
	return &dns.RFC3597{Hdr: h}, next, nil
}
