package tags

import (
	"testing"
	"time"
)

// BenchmarkTags measures an epoch of the announcing side: 123 tags, and their
// layout.
func BenchmarkTags(b *testing.B) {
	all := contactsOf(b, 124)
	s := newSet(b, all[0], remotes(all[1:])...)
	key := all[0].Remote()
	b.Run("tags", func(b *testing.B) {
		for b.Loop() {
			s.Tags(1967000, key)
		}
	})
	tags := s.Tags(1967000, key)
	b.Run("layout", func(b *testing.B) {
		for b.Loop() {
			if _, err := Layout(key, tags); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMatch measures an instance that arrives at a node with 1,000
// contacts, in three epochs.
func BenchmarkMatch(b *testing.B) {
	f := newField(b, 1000)
	in := f.forged(source(1))
	for b.Loop() {
		if f.m.set.Match(1967000, in.Key, in.Tags) != nil {
			b.Fatal("a match")
		}
	}
}

// BenchmarkMinute measures a minute with 200 instances at a node with 1,000
// contacts. It reports the share of a core.
func BenchmarkMinute(b *testing.B) {
	f := newField(b, 1000)
	var all []Instance
	for i := range 200 {
		all = append(all, f.forged(source(i)))
	}
	for b.Loop() {
		for i, in := range all {
			f.m.Gone(in.Label)
			f.m.Seen(in)
			if i%10 == 9 {
				f.clock.t = f.clock.t.Add(time.Second)
				f.m.Check()
			}
		}
	}
	b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N)/60, "%core")
}

// BenchmarkSet measures the cost of each new contact.
func BenchmarkSet(b *testing.B) {
	all := contactsOf(b, 101)
	for b.Loop() {
		newSet(b, all[0], remotes(all[1:])...)
	}
}
