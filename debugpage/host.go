package debugpage

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// refuses returns the reason why a request is refused, or "".
func (h *handler) refuses(r *http.Request) string {
	if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "same-origin" && from != "none" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return "debugpage: requests from other web pages are refused"
	}
	if h.allowed(r.Host) {
		return ""
	}
	switch {
	case !isLoopback(r.Host):
		return "debugpage: this page answers to localhost; for other names there is debugpage.AllowHosts"
	case !isLocal(r):
		return "debugpage: this page answers this computer; for others there is debugpage.AllowHosts"
	case isForwarded(r):
		return "debugpage: a proxy on this computer has brought this request, perhaps from another one; for that there is debugpage.AllowHosts"
	}
	return ""
}

// allowed reports whether the app has allowed a host. An empty one, such as of
// a setting that is not set, allows nothing.
func (h *handler) allowed(host string) bool {
	for _, a := range h.hosts {
		if a != "" && (strings.EqualFold(a, host) || strings.EqualFold(a, nameOf(host))) {
			return true
		}
	}
	return false
}

// nameOf returns a host without its port, and without the brackets of an IPv6
// address.
func nameOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// isLoopback reports whether a host can only be this computer: the name
// localhost, or a loopback address. Somebody else may decide what any other
// name resolves to.
func isLoopback(host string) bool {
	name := nameOf(host)
	addr, err := netip.ParseAddr(name)
	return strings.EqualFold(name, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// isLocal reports whether a request comes from this computer.
func isLocal(r *http.Request) bool {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// isForwarded reports whether a proxy says that it has brought a request. One
// that runs on this computer and names localhost, as tunnels of editors do,
// would open the page to wherever the request has come from.
func isForwarded(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Values(name) != nil {
			return true
		}
	}
	return false
}
