package discovery

import (
	"fmt"
	"testing"
	"time"

	"github.com/sdp2p/p2p/internal/netlab"
)

var (
	ourNode = config{Kind: "node", Label: "Somebody's laptop"}

	// Old enough to ask rarely: avahi asks when a browser is 0, 1, 3, 7, 15, 31
	// and 63 s old, and so on.
	oldAge = 35 * time.Second
)

func hashicorpServer(label string) config { return config{Kind: "hashicorp", Label: label} }

// measureEachOther measures how soon a new node finds one that is there, and is
// found by it, several times.
func measureEachOther(t *testing.T, r *results) {
	lab := netlab.New(t, 2)
	first := start(t, lab.Hosts[0], ourNode)
	for range count(20) {
		later := start(t, lab.Hosts[1], ourNode)
		both := first.Await(time.Time{}, "available", later.label).At
		if at := later.Await(time.Time{}, "available", first.label).At; at.After(both) {
			both = at
		}
		r.took("each other", both.Sub(later.began))
		r.took("each other, ready", both.Sub(later.started))
		leaving := later.leave()
		r.took("gone here", first.Await(leaving, "unavailable", later.label).At.Sub(leaving))
		later.Stop()
	}
}

// measureOldBrowser measures how soon a browser that has run for long finds our
// nodes and those of avahi, in turn, and how soon it notices that they have
// gone after a clean shutdown.
func measureOldBrowser(t *testing.T, r *results) {
	lab := netlab.New(t, 3)
	old := browse(t, lab.Hosts[0].Avahi(t))
	publisher := lab.Hosts[2].Avahi(t)
	old.ages(oldAge)
	for n := range count(10) {
		ours := start(t, lab.Hosts[1], ourNode)
		found := old.resolved(ours.label, netlab.Patience)
		r.took("old", found.Sub(ours.began))
		r.took("old, ready", found.Sub(ours.started))
		time.Sleep(time.Second)
		leaving := ours.leave()
		r.took("gone", old.gone(ours.label, netlab.Patience).Sub(leaving))
		ours.Stop()

		began := time.Now()
		label := fmt.Sprint("theirs ", n)
		theirs := publisher.Publish(t, label, serviceType, "4242", metadata(label)...)
		r.took("old "+avahi, old.resolved(label, netlab.Patience).Sub(began))
		time.Sleep(time.Second)
		leaving = theirs.Interrupt()
		r.took("gone "+avahi, old.gone(label, netlab.Patience).Sub(leaving))
	}
}

// measureFreshBrowser starts a node and a browser at the same time. The
// browser's daemon is restarted each time, since a daemon that has browsed
// before would continue with its former intervals.
func measureFreshBrowser(t *testing.T, r *results) {
	lab := netlab.New(t, 3)
	browses, publishes := lab.Hosts[0].Avahi(t), lab.Hosts[2].Avahi(t)
	program := func(name string, cfg config) {
		restart(t, browses)
		p := begin(t, lab.Hosts[1], cfg)
		fresh := browse(t, browses)
		p.work()
		r.took(name, fresh.resolved(p.label, netlab.Patience).Sub(p.began))
		fresh.Interrupt()
		p.Stop()
	}
	for n := range count(10) {
		program("fresh", ourNode)
		program("fresh "+hashicorp, hashicorpServer(fmt.Sprint("fresh-", n)))

		restart(t, browses)
		label := fmt.Sprint("theirs ", n)
		fresh := browse(t, browses)
		began := time.Now()
		p := publishes.Publish(t, label, serviceType, "4242", metadata(label)...)
		r.took("fresh "+avahi, fresh.resolved(label, netlab.Patience).Sub(began))
		fresh.Interrupt()
		p.Interrupt()
	}
}

func restart(t *testing.T, a *netlab.Avahi) {
	t.Helper()
	a.Stop()
	a.Start(t)
}

// measureLateBrowser measures how soon a browser finds a node that has run for
// long. Its daemon is restarted each time, so that it knows nothing.
func measureLateBrowser(t *testing.T, r *results) {
	lab := netlab.New(t, 4)
	browses, publishes := lab.Hosts[0].Avahi(t), lab.Hosts[2].Avahi(t)
	const theirs = "theirs"
	labels := map[string]string{
		"late":              start(t, lab.Hosts[1], ourNode).label,
		"late " + hashicorp: start(t, lab.Hosts[3], hashicorpServer("late")).label,
		"late " + avahi:     theirs,
	}
	publishes.Publish(t, theirs, serviceType, "4242", metadata(theirs)...)
	time.Sleep(10 * time.Second) // avahi announces for 7 s
	for range count(10) {
		time.Sleep(time.Second) // time for answers to the last announcement
		restart(t, browses)
		late := browse(t, browses)
		for name, label := range labels {
			r.took(name, late.resolved(label, netlab.Patience).Sub(late.began))
		}
		late.Interrupt()
	}
}

// measureHashicorp measures how soon an old browser finds and loses servers of
// hashicorp/mdns, which are started when it has different ages, and stop a
// while after they were found.
func measureHashicorp(t *testing.T, r *results) {
	lab := netlab.New(t, 4)
	old := browse(t, lab.Hosts[0].Avahi(t))
	var servers []*program
	for n, h := range lab.Hosts[1:][:count(3)] {
		old.ages(oldAge + time.Duration(10*n)*time.Second)
		servers = append(servers, start(t, h, hashicorpServer(fmt.Sprint("silent-", n))))
	}
	stopped := make([]time.Time, len(servers))
	for _, s := range servers {
		r.took("old "+hashicorp, old.resolved(s.label, time.Minute).Sub(s.began))
	}
	for n, s := range servers {
		time.Sleep(5 * time.Second)
		stopped[n] = s.leave()
		s.Stop()
	}
	for n, s := range servers {
		r.took("gone "+hashicorp, old.gone(s.label, 150*time.Second).Sub(stopped[n]))
	}
}
