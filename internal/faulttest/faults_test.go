package faulttest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/debugpage"
	"github.com/sdp2p/p2p/metrics"
)

// A sight is what an operator can see of a node.
type sight struct {
	events  map[string]bool   // as the page lists them: kind and cause
	counts  map[string]bool   // as the page lists them
	errors  map[string]string // full errors of the events
	metrics string
	log     string
}

// look looks at a node in every way.
func look(t *testing.T, n *Node) sight {
	t.Helper()
	s := sight{events: map[string]bool{}, counts: map[string]bool{}, errors: map[string]string{}, log: n.Log.String()}
	server := httptest.NewServer(debugpage.Handler(n.P2P))
	defer server.CloseClientConnections()
	r, err := server.Client().Get(server.URL + "/events")
	require.NoError(t, err)
	defer r.Body.Close()
	lines := bufio.NewReader(r.Body)
	_, err = lines.ReadString('\n') // event: state
	require.NoError(t, err)
	data, err := lines.ReadString('\n')
	require.NoError(t, err)
	var page struct {
		Hooks    []p2p.HookState
		Counters p2p.Counters
		Events   []struct{ Note p2p.Note }
	}
	require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &page))
	for _, e := range page.Events {
		s.events[e.Note.What+": "+e.Note.Cause] = true
		s.errors[e.Note.What+": "+e.Note.Cause] = e.Note.Error
	}
	count := func(what string, by map[string]uint64) {
		for cause, n := range by {
			if n > 0 {
				s.counts[what+": "+cause] = true
			}
		}
	}
	for what, by := range page.Counters.Causes {
		count(what, by)
	}
	for _, c := range page.Counters.Streams {
		count("streams_refused", c.Refused)
		count("streams_refused_there", c.RefusedThere)
	}
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(metrics.New(n.P2P, metrics.Config{})))
	families, err := registry.Gather()
	require.NoError(t, err)
	var text strings.Builder
	for _, f := range families {
		_, err := expfmt.MetricFamilyToText(&text, f)
		require.NoError(t, err)
	}
	s.metrics = text.String()
	return s
}

// missing returns the places where a fault cannot be seen.
func (s sight) missing(f Fault) (places []string) {
	event := f.What + ": " + f.Cause
	if !s.events[event] {
		places = append(places, "the page's events")
	}
	if !f.says(s.errors[event]) {
		places = append(places, "the event's words")
	}
	if !s.counts[f.Metric+": "+f.By] {
		places = append(places, "the page's counters")
	}
	if !s.measured(f) {
		places = append(places, "the metrics")
	}
	if !s.logged(f) {
		places = append(places, "the log")
	}
	return places
}

func (s sight) measured(f Fault) bool {
	for line := range strings.Lines(s.metrics) {
		if strings.HasPrefix(line, "sdp2p_"+f.Metric+"_total{") && strings.Contains(line, fmt.Sprintf("cause=%q", f.By)) && !strings.HasSuffix(line, " 0\n") {
			return true
		}
	}
	return false
}

// logged reports whether a single line says what has happened, to which peer,
// and why.
func (s sight) logged(f Fault) bool {
	message := "msg=" + f.What + " "
	if strings.Contains(f.What, " ") {
		message = fmt.Sprintf("msg=%q ", f.What)
	}
	for line := range strings.Lines(s.log) {
		_, cause, _ := strings.Cut(line, " cause=")
		if strings.Contains(line, message) && strings.Contains(line, " peer=") && f.says(unquoted(cause)) {
			return true
		}
	}
	return false
}

// says reports whether a text contains the fault's words.
func (f Fault) says(text string) bool { return regexp.MustCompile(f.Words).MatchString(text) }

// unquoted returns a value of the log in its original form.
func unquoted(value string) string {
	if text, err := strconv.Unquote(strings.TrimSpace(value)); err == nil {
		return text
	}
	return strings.TrimSpace(value)
}

// Each fault can be recognized from the page, from the metrics and from the
// log, each by itself, and is not mistaken for another one.
func TestEachFaultIsTold(t *testing.T) {
	for _, f := range All() {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			n := f.Run(t)
			var seen sight
			for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				if seen = look(t, n); len(seen.missing(f)) == 0 {
					break
				}
				require.True(t, time.Now().Before(deadline), "not told by %v: %v, %v\n%s", seen.missing(f), seen.errors, seen.counts, seen.log)
			}
			for _, other := range All() {
				if other.Name == f.Name {
					continue
				}
				require.False(t, seen.events[other.What+": "+other.Cause], "the page shows %s", other.Name)
				require.False(t, seen.measured(other), "the metrics show %s", other.Name)
				require.False(t, seen.logged(other), "the log shows %s", other.Name)
			}
		})
	}
}

// Healthy nodes show none of the faults.
func TestNoFault(t *testing.T) {
	t.Parallel()
	a, b := start(t, Config{}), start(t, Config{})
	require.NoError(t, use(t, a.finds(t, b.Identity(), b.Addr()), "echo"))
	for _, n := range []*Node{a, b} {
		seen := look(t, n)
		for _, f := range All() {
			require.Len(t, seen.missing(f), 5, "%s: %v", f.Name, seen.events)
		}
	}
}
