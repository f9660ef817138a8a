package dnssd

import (
	"github.com/sdp2p/p2p/internal/dns"
)

// response returns an empty response (RFC 6762 §18).
func response() *dns.Message {
	return &dns.Message{Response: true, Authoritative: true}
}

// packResponses packs records into as many responses as are needed so that none
// exceeds limit bytes. A larger record is alone in its packet (RFC 6762 §17).
// Additional records are included only if there is room left.
func packResponses(answers, additional []dns.Record, limit int) [][]byte {
	var packets [][]byte
	m, size := response(), sizer{limit: limit}
	flush := func() {
		for _, rr := range additional {
			m.Additional = append(m.Additional, rr)
			if !size.fits(m, rr) {
				m.Additional = m.Additional[:len(m.Additional)-1]
			}
		}
		additional = nil
		packets = appendPacked(packets, m)
		m, size = response(), sizer{limit: limit}
	}
	var large []dns.Record
	for _, rr := range answers {
		if dns.Len(rr)+headerSize > limit {
			large = append(large, rr)
			continue
		}
		m.Answer = append(m.Answer, rr)
		if !size.fits(m, rr) {
			m.Answer = m.Answer[:len(m.Answer)-1]
			kept := additional // they may fit in the last packet, which has room
			additional = nil
			flush()
			additional = kept
			m.Answer = append(m.Answer, rr)
			size.fits(m, rr)
		}
	}
	for _, rr := range additional {
		if dns.Len(rr)+headerSize > limit {
			large = append(large, rr)
		}
	}
	if len(m.Answer) > 0 {
		flush()
	}
	for _, rr := range large {
		m := response()
		m.Answer = []dns.Record{rr}
		packets = appendPacked(packets, m)
	}
	return packets
}

// packQueries packs questions and known answers into as many queries as are
// needed so that none exceeds limit bytes. All packets with known answers
// except the last have the TC bit set (RFC 6762 §7.2).
func packQueries(questions []dns.Question, known []dns.Record, limit int) [][]byte {
	var packets [][]byte
	m, size := &dns.Message{}, sizer{limit: limit}
	for _, q := range questions {
		m.Question = append(m.Question, q)
		if !size.grow(m, len(q.Name)+1+4) && len(m.Question) > 1 {
			m.Question = m.Question[:len(m.Question)-1]
			packets = appendPacked(packets, m)
			m, size = &dns.Message{Question: []dns.Question{q}}, sizer{limit: limit}
			size.grow(m, len(q.Name)+1+4)
		}
	}
	for _, rr := range known {
		m.Answer = append(m.Answer, rr)
		if !size.fits(m, rr) && len(m.Answer) > 1 {
			m.Answer = m.Answer[:len(m.Answer)-1]
			m.Truncated = true
			packets = appendPacked(packets, m)
			m, size = &dns.Message{Answer: []dns.Record{rr}}, sizer{limit: limit}
			size.fits(m, rr)
		}
	}
	return appendPacked(packets, m)
}

const headerSize = 12

// A sizer checks whether a growing message still fits. It measures the message,
// which takes time proportional to its length, only if the sum of the
// uncompressed parts exceeds the limit.
type sizer struct {
	limit int
	bound int // upper bound of the packed size
}

func (s *sizer) fits(m *dns.Message, rr dns.Record) bool { return s.grow(m, dns.Len(rr)) }

func (s *sizer) grow(m *dns.Message, n int) bool {
	if s.bound == 0 {
		s.bound = headerSize
	}
	if s.bound+n > s.limit {
		measured := m.Len()
		if measured > s.limit {
			return false // the caller removes it again
		}
		s.bound = measured
		return true
	}
	s.bound += n
	return true
}

func appendPacked(packets [][]byte, m *dns.Message) [][]byte {
	b, err := m.Pack()
	if err != nil || len(b) > maxPacket-28 {
		return packets // cannot happen with records of ours: they were validated
	}
	return append(packets, b)
}
