package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestOrder moves random trees between two ends, with pauses at any place, and
// with a referee at each end. Whatever happens, both sides keep to the tables
// in docs/protocol.md. SDP2P_SOAK=1 runs a hundred times as many cases.
func TestOrder(t *testing.T) {
	rounds := 1
	if os.Getenv("SDP2P_SOAK") != "" {
		rounds = 100
	}
	top := MemoryDir(t)
	for range rounds {
		rapid.Check(t, func(rt *rapid.T) {
			p := drawPlan(rt)
			dir, err := os.MkdirTemp(top, "")
			require.NoError(rt, err)
			defer os.RemoveAll(dir)
			synctest.Test(t, func(t *testing.T) { err = p.run(t.Context(), dir) })
			if err != nil {
				rt.Fatal(err) // rapid repeats the case even if this does not recur
			}
		})
		if t.Failed() {
			return
		}
	}
}

// A trouble is the way in which a file of a plan misbehaves while it is read.
type trouble int

const (
	steady   trouble = iota
	refuses          // it cannot be opened
	breaks           // its second half cannot be read
	tires            // no part of it can be read twice
	changes          // after some reads, the system reports another file
	vanishes         // it can be opened only once
	shrinks          // after some reads, nothing is left of it
)

// A wantedFile is a random file, and the app's choice about it.
type wantedFile struct {
	path       string
	size       int
	trouble    trouble
	after      int // number of reads before the trouble
	skip, part bool
}

func (f *wantedFile) String() string {
	return fmt.Sprintf("%s: %d bytes, trouble %d after %d, skip %v, part %v", f.path, f.size, f.trouble, f.after, f.skip, f.part)
}

// A fault is a fault of the receiver's disk: some operations of a kind fail.
type fault struct {
	op          string
	from, times int
	err         syscall.Errno
}

// An attempt is one transfer of a plan.
type attempt struct {
	refuse    int // the offer that the app refuses, from 1; 0: none
	cut       int // bytes from the sender before the stream breaks
	cutBack   int // likewise, bytes from the receiver
	cancel    int // the side that cancels, or -1
	cancelAt  time.Duration
	faults    []fault
	spoilt    int // number of spoilt chunks in a hundred
	spoiltFor int // how often a chunk is spoilt, at most
}

// A plan is a test case: attempts to move a tree, the last of which must
// succeed.
type plan struct {
	seed     uint64
	files    []*wantedFile
	odd      bool // the tree has entries that cannot be sent
	skip     bool // the app does not want the folder top/b
	perOffer int
	lacks    []fault // faults of the disk in all attempts
	attempts []attempt
	paces    map[string]*pace
}

// clean returns an attempt in which only errors occur that are repaired.
func clean(rt *rapid.T) attempt {
	return attempt{
		cut: -1, cutBack: -1, cancel: -1, spoilt: rapid.SampledFrom([]int{0, 0, 20, 100}).Draw(rt, "spoilt"),
		spoiltFor: rapid.IntRange(1, 3).Draw(rt, "times"),
	}
}

func drawPlan(rt *rapid.T) *plan {
	p := &plan{
		seed: rapid.Uint64().Draw(rt, "seed"), odd: rapid.Bool().Draw(rt, "odd"), skip: rapid.IntRange(0, 9).Draw(rt, "skip b") == 0,
		perOffer: rapid.SampledFrom([]int{0, 0, 1, 2, 3, 5}).Draw(rt, "entries of an offer"), paces: map[string]*pace{},
	}
	for i, at := range []string{"alone%d", "top/a%d", "top/b/b%d", "top/c/d/d%d"} {
		for n := range rapid.IntRange(0, 3).Draw(rt, "files") {
			p.files = append(p.files, drawFile(rt, fmt.Sprintf(at, n), i == 0))
		}
	}
	for i, where := range []string{"source", "write", "read back", "write back", "read", "decide", "disk"} {
		often := rapid.SampledFrom([]float64{0, 0, 0.02, 0.2, 0.9}).Draw(rt, where)
		longest := rapid.SampledFrom([]time.Duration{50 * time.Millisecond, 300 * time.Millisecond, 7 * time.Second, 20 * time.Second}).Draw(rt, "longest")
		if often > 0 {
			p.paces[where] = newPace(p.seed+uint64(i), often, longest)
		}
	}
	for _, f := range []fault{{"link", 0, 1e9, syscall.ENOTSUP}, {"lock", 0, 1e9, syscall.ENOLCK}, {"sync", 0, 1e9, syscall.ENOTSUP}, {"space", 0, 1e9, syscall.ENOSYS}} {
		if rapid.IntRange(0, 4).Draw(rt, "lacks") == 0 {
			p.lacks = append(p.lacks, f)
		}
	}
	for range rapid.IntRange(0, 3).Draw(rt, "attempts") {
		p.attempts = append(p.attempts, drawAttempt(rt))
	}
	p.attempts = append(p.attempts, clean(rt))
	return p
}

func drawFile(rt *rapid.T, at string, alone bool) *wantedFile {
	f := &wantedFile{path: at}
	f.size = rapid.SampledFrom([]int{0, 1, 1000, piece - 1, piece, piece + 1, 3 * piece, -1}).Draw(rt, "size")
	if f.size < 0 {
		f.size = rapid.IntRange(300<<10, 1<<20).Draw(rt, "bytes")
	}
	if rapid.IntRange(0, 3).Draw(rt, "in trouble") == 0 {
		f.trouble = rapid.SampledFrom([]trouble{refuses, breaks, tires, changes, vanishes, shrinks}).Draw(rt, "trouble")
		f.after = rapid.IntRange(0, 6).Draw(rt, "after")
		if alone && (f.trouble == refuses || f.trouble == changes || f.trouble == vanishes) {
			f.trouble = breaks
		}
	}
	f.skip = rapid.IntRange(0, 9).Draw(rt, "skip") == 0
	f.part = !f.skip && f.size > 0 && rapid.IntRange(0, 9).Draw(rt, "part") == 0
	return f
}

func drawAttempt(rt *rapid.T) attempt {
	a := clean(rt)
	a.spoiltFor = rapid.IntRange(1, 5).Draw(rt, "times")
	for range rapid.IntRange(0, 2).Draw(rt, "faults") {
		a.faults = append(a.faults, fault{
			op:    rapid.SampledFrom([]string{"write", "write", "create", "sync", "syncfs", "link", "place", "lock", "journal", "read", "space", "name"}).Draw(rt, "op"),
			from:  rapid.SampledFrom([]int{0, 1, 2, 3, 5, 8, 13}).Draw(rt, "from"),
			times: rapid.SampledFrom([]int{1, 2, 1e9}).Draw(rt, "times"),
			err:   rapid.SampledFrom([]syscall.Errno{syscall.EFBIG, syscall.EIO, syscall.ENOTSUP, syscall.ENOLCK, syscall.EDQUOT}).Draw(rt, "error"),
		})
	}
	bytes := []int{20, 200, 2000, 200 << 10, 1 << 20, 4 << 20}
	switch rapid.SampledFrom([]string{"cut", "cut back", "cancel", "refuse", ""}).Draw(rt, "end") {
	case "cut":
		a.cut = rapid.IntRange(0, rapid.SampledFrom(bytes).Draw(rt, "scale")).Draw(rt, "cut")
	case "cut back":
		a.cutBack = rapid.IntRange(0, rapid.SampledFrom([]int{2, 50, 1000}).Draw(rt, "scale")).Draw(rt, "cut")
	case "cancel":
		a.cancel = rapid.IntRange(0, 1).Draw(rt, "who")
		scale := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Minute, 20 * time.Minute}).Draw(rt, "scale")
		a.cancelAt = time.Duration(rapid.Int64Range(0, int64(scale)).Draw(rt, "at"))
	case "refuse":
		a.refuse = rapid.IntRange(1, 3).Draw(rt, "offer")
	}
	return a
}

// run runs all attempts, in a bubble.
func (p *plan) run(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var all error
	for i, a := range p.attempts {
		if i >= 2 {
			time.Sleep(time.Hour) // at most two run at once
		}
		if err := p.attempt(ctx, root, a, i == len(p.attempts)-1); err != nil {
			all = errors.Join(all, fmt.Errorf("attempt %d: %w", i, err))
		}
	}
	time.Sleep(time.Hour) // everything has ended by then
	return errors.Join(all, p.whole(dir))
}

// attempt runs one attempt, and checks the messages and results of both sides.
func (p *plan) attempt(ctx context.Context, root *os.Root, a attempt, last bool) error {
	ctx, stop := context.WithTimeout(ctx, 24*time.Hour)
	defer stop()
	ctxs := [2]context.Context{ctx, ctx}
	if a.cancel >= 0 {
		c, cancel := context.WithTimeout(ctx, a.cancelAt)
		defer cancel()
		ctxs[a.cancel] = c
	}
	here, there := p.taps(a)
	results, errs := [2]Result{}, [2]error{}
	parts := map[*wantedFile]writerTo{}
	var took [2]time.Duration
	began := time.Now()
	var both sync.WaitGroup
	both.Go(func() {
		results[senders], errs[senders] = Send(ctxs[senders], here, p.sources(), SendOptions{perOffer: p.perOffer})
		took[senders] = time.Since(began)
		here.Close()
	})
	both.Go(func() {
		opts := ReceiveOptions{From: "a", faults: p.disk(a)}
		results[receivers], errs[receivers] = Receive(ctxs[receivers], there, p.decide(a, parts), root, opts)
		took[receivers] = time.Since(began)
		there.Close()
	})
	both.Wait()
	all := errors.Join(here.referee.err, there.referee.err)
	if ctx.Err() != nil {
		all = errors.Join(all, errors.New("it hangs"))
	}
	if a.cancel >= 0 && took[a.cancel] > a.cancelAt+time.Second+2*step {
		all = errors.Join(all, fmt.Errorf("the %v took %v to end", side(a.cancel), took[a.cancel]-a.cancelAt))
	}
	for s, err := range errs {
		for _, never := range []error{ErrProtocol, ErrTimeout, ErrUnanswered, ErrBusy} {
			// A side that aborts has 2 s to say so: a slower one is not heard,
			// while a slow disk keeps the stream open.
			if errors.Is(err, never) && (never != ErrTimeout || len(a.faults) == 0 && a.cancel < 0) {
				all = errors.Join(all, fmt.Errorf("the %v: %w", side(s), err))
			}
		}
		if last && err != nil && !errors.Is(err, ErrIncomplete) {
			all = errors.Join(all, fmt.Errorf("the %v: %w", side(s), err))
		}
	}
	if last && all == nil {
		all = p.outcome(results, errs, parts)
	}
	return all
}

// taps returns both ends of a stream.
func (p *plan) taps(a attempt) (here, there *tap) {
	x, y := net.Pipe()
	broken := func() { x.Close(); y.Close() }
	here = &tap{Conn: x, of: senders, referee: newReferee(), reads: p.paces["read back"], writes: p.paces["write"], after: int64(a.cut), broken: broken, one: make(chan struct{}, 1)}
	there = &tap{Conn: y, of: receivers, referee: newReferee(), reads: p.paces["read"], writes: p.paces["write back"], after: int64(a.cutBack), broken: broken, one: make(chan struct{}, 1)}
	here.spoils = func(s span) bool {
		n := mix(p.seed, uint64(s.offer), uint64(s.of.entry), uint64(s.of.chunk))
		return int(n%100) < a.spoilt && s.asked < 1+int(n/100)%a.spoiltFor
	}
	return here, there
}

// disk returns the faults of the receiver's disk.
func (p *plan) disk(a attempt) func(op, name string) error {
	var mu sync.Mutex
	count := map[string]int{}
	return func(op, _ string) error {
		p.paces["disk"].pause(time.Hour, always)
		mu.Lock()
		defer mu.Unlock()
		n := count[op]
		count[op]++
		for _, all := range [][]fault{p.lacks, a.faults} {
			for _, f := range all {
				if f.op == op && n >= f.from && n < f.from+f.times {
					return f.err
				}
			}
		}
		return nil
	}
}

// decide acts as the receiver's app.
func (p *plan) decide(a attempt, got map[*wantedFile]writerTo) func(context.Context, *Offer) error {
	offers := 0
	return func(ctx context.Context, o *Offer) error {
		p.paces["decide"].pause(time.Hour, always)
		if offers++; offers == a.refuse {
			return Refuse("no")
		}
		for f := range o.All() {
			if p.skip && f.Path == "top/b" {
				o.Skip(f.Index)
			}
			for _, w := range p.files {
				switch {
				case w.path != f.Path:
				case w.skip:
					o.Skip(f.Index)
				case w.part && !p.unwanted(w):
					got[w] = make(writerTo, w.size-w.size/3)
					o.Part(f.Index, int64(w.size/3), int64(w.size), got[w])
				}
			}
		}
		return nil
	}
}

// sources returns the tree as it is at the beginning of an attempt.
func (p *plan) sources() (all []Source) {
	tree := shakyTree{MapFS: fstest.MapFS{"c": &fstest.MapFile{Mode: fs.ModeDir | 0o755}}, files: map[string]*shaky{}}
	if p.odd {
		tree.MapFS["a link"] = &fstest.MapFile{Data: []byte("c"), Mode: fs.ModeSymlink | 0o777}
		tree.MapFS[`c/back\slash`] = &fstest.MapFile{}
		tree.MapFS["locked"] = &fstest.MapFile{Mode: fs.ModeDir}
	}
	for _, f := range p.files {
		s := &shaky{file: f, content: p.content(f), pace: p.paces["source"], read: map[int64]bool{}}
		if rest, in := strings.CutPrefix(f.path, "top/"); in {
			tree.files[rest] = s
			tree.MapFS[rest] = &fstest.MapFile{Data: s.content, ModTime: shakyTime, Mode: 0o644}
			continue
		}
		all = append(all, Source{Name: f.path, Reader: s, Size: int64(f.size), ModTime: shakyTime})
	}
	return append(all, Source{Name: "top", FS: tree, Path: "."})
}

// unwanted reports whether the app leaves a file out.
func (p *plan) unwanted(f *wantedFile) bool {
	in, _ := filepath.Match("top/b/*", f.path)
	return f.skip || p.skip && in
}

// outcome checks the result of the last attempt, and the files that are
// missing.
func (p *plan) outcome(results [2]Result, errs [2]error, parts map[*wantedFile]writerTo) error {
	must, may := p.troubled()
	var missing [2]map[string]bool
	for s, r := range results {
		missing[s] = map[string]bool{}
		for _, f := range r.Skipped {
			if f.missing() {
				missing[s][f.Path] = true
			}
		}
		if (errs[s] != nil) != (len(missing[s]) > 0) {
			return fmt.Errorf("the %v: %v, and %v are missing", side(s), errs[s], missing[s])
		}
	}
	if !maps.Equal(missing[0], missing[1]) {
		return fmt.Errorf("the sender says that %v are missing, the receiver %v", missing[0], missing[1])
	}
	for path := range must {
		if !missing[0][path] {
			return fmt.Errorf("%v is not missing", path)
		}
	}
	for path := range missing[0] {
		if !must[path] && !may[path] {
			return fmt.Errorf("%v is missing: %v and %v", path, results[0].Skipped, results[1].Skipped)
		}
	}
	for f, got := range parts {
		if !missing[0][f.path] && string(got) != string(p.content(f)[f.size/3:]) {
			return fmt.Errorf("the part of %v is not what was sent", f.path)
		}
	}
	return nil
}

// troubled returns the paths that must be missing, and those that may be.
func (p *plan) troubled() (must, may map[string]bool) {
	must, may = map[string]bool{}, map[string]bool{}
	if p.odd {
		must["top/a link"], must[`top/c/back\slash`], must["top/locked"] = true, true, true
	}
	for _, f := range p.files {
		switch {
		case p.unwanted(f) || f.trouble == steady:
		case f.trouble == refuses && f.size == 0: // read while the folder is listed
			must[f.path] = true
		case f.size == 0:
			may[f.path] = true
		case f.trouble == refuses || f.trouble == breaks && f.size > 0:
			must[f.path] = true
		default:
			may[f.path] = true
		}
	}
	return must, may
}
