package away

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// inNamespaces runs the measurements one after another: contenders take turns
// within each.
func inNamespaces(t *testing.T, r *results) {
	if why := noNamespaces(); why != "" {
		r.without("hosts of their own, since " + why)
		return
	}
	t.Setenv("SDP2P_NETTEST", "1")
	r.add("load", load())
	for _, m := range []struct {
		name string
		f    func(*testing.T, *results)
	}{
		{"through", through}, {"punched", punched}, {"failover", failover}, {"moves", moves}, {"beside", beside},
		{"reservations", reservations}, {"size", size},
	} {
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			defer func() {
				if t.Failed() {
					r.without(fmt.Sprintf("%q failed", m.name))
				}
				t.Logf("%.0f s", time.Since(began).Seconds())
			}()
			m.f(t, r)
		})
	}
	r.add("load", load())
}

// load returns the average number of runnable processes over a minute.
func load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// noNamespaces returns the reason why network namespaces are not available, or
// "".
func noNamespaces() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			return "there is no program " + program
		}
	}
	name := "bench-away-" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return "ip netns says " + strings.TrimSpace(string(out))
	}
	_ = exec.Command("ip", "netns", "del", name).Run()
	return ""
}
