package discovery

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/netlab"
)

// inNamespaces runs the measurements that take real time.
func inNamespaces(t *testing.T, r *results) {
	if why := noNamespaces(); why != "" {
		r.without("what takes real time, since %s", why)
		return
	}
	t.Setenv("SDP2P_NETTEST", "1")
	noAvahi := ""
	for _, program := range []string{"avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			noAvahi = "there is no " + program
		}
	}
	measure := func(t *testing.T, name string, f func(t *testing.T, r *results)) {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "avahi") && noAvahi != "" {
				r.without("what avahi finds and sends, since %s", noAvahi)
				t.Skip(noAvahi)
			}
			began := time.Now()
			defer func() {
				if t.Failed() {
					r.without("%q failed", name)
				}
				t.Logf("%.0f s", time.Since(began).Seconds())
			}()
			f(t, r)
		})
	}
	t.Run("waiting", func(t *testing.T) {
		beside := func(name string, f func(t *testing.T, r *results)) {
			measure(t, name, func(t *testing.T, r *results) {
				t.Parallel()
				f(t, r)
			})
		}
		beside("hashicorp in avahi", measureHashicorp)
		beside("dialed", measureDialed)
		beside("expired", measureExpired)
		beside("idle", measureIdle)
		beside("idle avahi", measureIdleAvahi)
		beside("idle hashicorp", measureIdleHashicorp)
		beside("old avahi browser", measureOldBrowser)
		beside("one after the other", func(t *testing.T, r *results) {
			measure(t, "each other", measureEachOther)
			measure(t, "late avahi browser", measureLateBrowser)
			measure(t, "fresh avahi browser", measureFreshBrowser)
		})
	})
	measure(t, "flood", measureFlood)
}

// noNamespaces returns the reason why network namespaces are not available, or
// "".
func noNamespaces() string {
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "there is no program ip"
	}
	name := "bench-" + strconv.Itoa(os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return "ip netns says " + strings.TrimSpace(string(out))
	}
	_ = exec.Command("ip", "netns", "del", name).Run()
	return ""
}

// until waits for a condition, and returns the time at which it was met.
func until(t *testing.T, patience time.Duration, what string, holds func() (time.Time, bool)) time.Time {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		at, ok := holds()
		switch {
		case ok:
			return at
		case time.Since(began) > patience:
			t.Fatalf("after %v: not %s", patience, what)
		}
	}
}

// A browser is a running avahi-browse.
type browser struct {
	*netlab.Tool
	t     *testing.T
	began time.Time
}

const serviceType = "_" + app + "._udp"

func browse(t *testing.T, a *netlab.Avahi) *browser {
	return &browser{t: t, began: time.Now(), Tool: a.Browse(t, serviceType)}
}

// ages waits until the browser has the given age.
func (b *browser) ages(age time.Duration) { time.Sleep(time.Until(b.began.Add(age))) }

// A sight is a line of avahi-browse: an instance came (+), was resolved (=) or
// went (-), over a protocol.
type sight struct {
	at                  time.Time
	what, family, label string
}

func (b *browser) sights(label string) (all []sight) {
	for _, line := range b.Lines() {
		f := strings.Split(line.Text, ";")
		if len(f) > 3 && unescape(f[3]) == label {
			all = append(all, sight{line.At, f[0], f[2], label})
		}
	}
	return all
}

// resolved waits until an instance is resolved over either protocol, and
// returns the time.
func (b *browser) resolved(label string, patience time.Duration) time.Time {
	b.t.Helper()
	return until(b.t, patience, "resolved: "+label, func() (time.Time, bool) {
		for _, s := range b.sights(label) {
			if s.what == "=" {
				return s.at, true
			}
		}
		return time.Time{}, false
	})
}

// gone waits until an instance is gone over all protocols over which it was
// seen, and returns the time.
func (b *browser) gone(label string, patience time.Duration) time.Time {
	b.t.Helper()
	return until(b.t, patience, "gone: "+label, func() (last time.Time, ok bool) {
		present := map[string]bool{}
		for _, s := range b.sights(label) {
			switch s.what {
			case "+":
				present[s.family] = true
			case "-":
				delete(present, s.family)
				last = s.at
			}
		}
		return last, len(present) == 0 && !last.IsZero()
	})
}

// unescape decodes a label as avahi-browse prints it: with backslashes and
// three decimal digits, or the byte itself.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}
