package dnssd

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/sdp2p/p2p/internal/dns"
)

// Times to live (RFC 6762 §10) and limits of what is announced and accepted.
const (
	hostTTL  = 120  // s: records that contain a host name: SRV, A, AAAA, and the NSEC that go with them
	otherTTL = 4500 // s: PTR, TXT

	cacheFlush = 1 << 15 // top bit of the class of a record (RFC 6762 §10.2)
	unicastBit = 1 << 15 // top bit of the class of a question (RFC 6762 §5.4)

	maxPacket  = 9000 // bytes, IP and UDP headers included (RFC 6762 §17)
	maxLabel   = 63   // bytes (RFC 1035 §2.3.4)
	maxString  = 255  // bytes of one TXT string (RFC 6763 §6.1)
	maxTXT     = 8 << 10
	maxStrings = 129 // 128 entries of metadata, and the version of the protocol
	maxAddrs   = 16  // addresses of a host, of a family, on a link
)

// enumeration is the name that lists the service types in use (RFC 6763 §9).
const enumeration = "_services._dns-sd._udp.local."

// ErrInvalidService is wrapped by the errors about a [Service], or the service
// type of a [Config], that cannot be announced.
var ErrInvalidService = errors.New("dnssd: invalid service")

// A Service is what an [Engine] announces.
type Service struct {
	// Instance is the instance label: 1 to 63 raw bytes, nothing escaped.
	Instance string
	// Port is the port in the SRV record.
	Port uint16
	// TXT are the strings of the TXT record, raw, at most 255 bytes each, 129
	// in number and 8 KiB together.
	TXT []string
	// IPv4 and IPv6 are the families over which the service is reachable: they
	// determine whether A and AAAA records are announced. At least one must be
	// set. On an interface without such an address, the service is not
	// announced.
	IPv4, IPv6 bool
}

func (s *Service) validate() error {
	switch {
	case len(s.Instance) == 0 || len(s.Instance) > maxLabel:
		return fmt.Errorf("%w: instance label of %d bytes", ErrInvalidService, len(s.Instance))
	case s.Port == 0:
		return fmt.Errorf("%w: no port", ErrInvalidService)
	case !s.IPv4 && !s.IPv6:
		return fmt.Errorf("%w: no address family", ErrInvalidService)
	case len(s.TXT) > maxStrings:
		return fmt.Errorf("%w: %d TXT strings", ErrInvalidService, len(s.TXT))
	case txtSize(s.TXT) > maxTXT:
		return fmt.Errorf("%w: TXT of %d bytes", ErrInvalidService, txtSize(s.TXT))
	}
	for _, t := range s.TXT {
		if len(t) > maxString {
			return fmt.Errorf("%w: TXT string of %d bytes", ErrInvalidService, len(t))
		}
	}
	return nil
}

func (s *Service) equal(o *Service) bool {
	return s.Instance == o.Instance && s.Port == o.Port && s.IPv4 == o.IPv4 && s.IPv6 == o.IPv6 && slices.Equal(s.TXT, o.TXT)
}

// txtSize is the length of a TXT record's data.
func txtSize(txt []string) int {
	n := 0
	for _, t := range txt {
		n += 1 + len(t)
	}
	return n
}

// serviceName validates a service type such as "_sd._udp" and returns its
// domain name (RFC 6763 §7).
func serviceName(service string) (string, error) {
	app, proto, ok := strings.Cut(service, ".")
	valid := ok && (proto == "_udp" || proto == "_tcp") && len(app) >= 2 && len(app) <= 16 && app[0] == '_' &&
		app[1] != '-' && app[len(app)-1] != '-'
	for i := 1; valid && i < len(app); i++ {
		valid = letterDigitHyphen(app[i])
	}
	if !valid {
		return "", fmt.Errorf("%w: service type %q is not like _app._udp", ErrInvalidService, service)
	}
	return service + ".local.", nil
}

func letterDigitHyphen(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-'
}

// fold returns the form of a domain name that is equal for names that are equal
// in DNS (RFC 6762 §16): ASCII letters, and no others, lose their case.
func fold(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] >= 'A' && name[i] <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

// rawTXT returns the strings of a received TXT record, and whether they are
// within the limits. An empty record (RFC 6763 §6.1) has no strings.
func rawTXT(t *dns.TXT) ([]string, bool) {
	if len(t.Txt) > maxStrings {
		return nil, false
	}
	var txt []string
	for _, s := range t.Txt {
		if s != "" {
			txt = append(txt, s)
		}
	}
	return txt, txtSize(txt) <= maxTXT
}

// addrOf returns the address in an A or AAAA record.
func addrOf(rr dns.Record) (netip.Addr, bool) {
	var a netip.Addr
	var ok bool
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A)
		a = a.Unmap()
		return a, ok && a.Is4()
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
		return a, ok && a.Is6() && !a.Is4In6()
	}
	return a, false
}

// sameData reports whether two records of the same type carry the same data;
// names in it are compared as DNS does.
func sameData(a, b dns.Record) bool {
	switch a := a.(type) {
	case *dns.PTR:
		b, ok := b.(*dns.PTR)
		return ok && fold(a.Ptr) == fold(b.Ptr)
	case *dns.SRV:
		b, ok := b.(*dns.SRV)
		return ok && a.Port == b.Port && a.Priority == b.Priority && a.Weight == b.Weight && fold(a.Target) == fold(b.Target)
	case *dns.TXT:
		b, ok := b.(*dns.TXT)
		return ok && slices.Equal(a.Txt, b.Txt)
	case *dns.A:
		b, ok := b.(*dns.A)
		return ok && a.A.Equal(b.A)
	case *dns.AAAA:
		b, ok := b.(*dns.AAAA)
		return ok && a.AAAA.Equal(b.AAAA)
	}
	return a.Head().Type == b.Head().Type && bytes.Equal(dns.Data(a), dns.Data(b))
}

// compareRecords orders records for simultaneous probe tie-breaking: class
// without the cache-flush bit, type, then raw data (RFC 6762 §8.2).
func compareRecords(a, b dns.Record) int { return sortableOf(a).compare(sortableOf(b)) }

// A sortable is a record in the form in which it is compared.
type sortable struct {
	class, typ uint16
	data       []byte
	rr         dns.Record
}

func sortableOf(rr dns.Record) sortable {
	return sortable{rr.Head().Class &^ cacheFlush, rr.Head().Type, dns.Data(rr), rr}
}

func (a sortable) compare(b sortable) int {
	return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.typ, b.typ), bytes.Compare(a.data, b.data))
}

// compareSets compares two sets of proposed records, each in any order (RFC
// 6762 §8.2.1).
func compareSets(a, b []dns.Record) int {
	a, b = slices.Clone(a), slices.Clone(b)
	sortRecords(a)
	sortRecords(b)
	return slices.CompareFunc(a, b, compareRecords)
}

// sortRecords sorts records by compareRecords. (Package sort's code exists
// once, that of slices once for each type.)
func sortRecords(list []dns.Record) {
	all := make([]sortable, len(list))
	for i, rr := range list {
		all[i] = sortableOf(rr)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].compare(all[j]) < 0 })
	for i, s := range all {
		list[i] = s.rr
	}
}

// withTTL returns a copy of rr with another TTL, and without the cache-flush
// bit if plain.
func withTTL(rr dns.Record, ttl uint32, plain bool) dns.Record {
	rr = rr.Copy()
	rr.Head().TTL = ttl
	if plain {
		rr.Head().Class &^= cacheFlush
	}
	return rr
}
