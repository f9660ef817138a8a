package block

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/sdp2p/p2p/proto"
)

// A phase is a state of one of the two state machines in docs/protocol.md,
// "Order".
type phase string

const (
	sOffering  phase = "offering"
	sWaiting   phase = "waiting"
	sSending   phase = "sending"
	sTold      phase = "told"
	sFile      phase = "file"
	sChunk     phase = "chunk"
	sAgain     phase = "again"
	sSent      phase = "sent"
	sEnded     phase = "ended"
	rListening phase = "listening"
	rDeciding  phase = "deciding"
	rTaking    phase = "taking"
	rEnded     phase = "ended at the receiver"
	over       phase = "over"
)

// A rule is a row of a table. It judges a message that its state lists, and
// returns the next state.
type rule func(r *referee, m *message) (phase, error)

// senderRows and receiverRows are the two tables. Messages that every state
// allows are in judge.
var (
	senderRows = map[phase]map[kind]rule{
		sOffering: {
			kindFolder: (*referee).listed, kindFile: (*referee).listed, kindLeftOut: (*referee).listed, kindOffered: (*referee).offers,
		},
		sSending: {
			kindBegin: (*referee).begins, kindHashes: (*referee).tells, kindFailed: (*referee).fails, kindRepair: (*referee).repairs, kindSent: (*referee).ends,
		},
		sTold: {kindFailed: (*referee).fails},
		sFile: {
			kindData: (*referee).brings, kindHole: (*referee).brings, kindOld: (*referee).copies, kindEnd: (*referee).endsFile,
			kindFailed: (*referee).fails, kindRepair: (*referee).repairs,
		},
		sChunk: {
			kindData: (*referee).brings, kindHole: (*referee).brings, kindOld: (*referee).copies, kindChunk: (*referee).endsChunk, kindFailed: (*referee).fails,
		},
		sAgain: {
			kindData: (*referee).brings, kindHole: (*referee).brings, kindChunk: (*referee).endsChunk, kindFailed: (*referee).fails,
		},
		sSent:  {kindFailed: (*referee).fails, kindRepair: (*referee).repairs},
		sEnded: {kindDone: func(*referee, *message) (phase, error) { return over, nil }},
	}
	receiverRows = map[phase]map[kind]rule{
		rDeciding: {kindAnswer: (*referee).answers},
		rTaking:   {kindRepair: (*referee).asks, kindClaims: (*referee).claims, kindFailed: (*referee).refuses, kindDone: (*referee).isDone},
	}
)

// A side is the sender or the receiver.
type side int

const (
	senders side = iota
	receivers
)

func (s side) String() string { return [...]string{"sender", "receiver"}[s] }

// A referee reads all messages of both sides of a transfer at one place of the
// stream, and runs both state machines. It is a second implementation of them,
// written only from the tables. A message passes every place before the
// messages that it causes, so that any place will do; at the end of a side,
// that side is judged most strictly.
type referee struct {
	mu    sync.Mutex
	err   error // about the first message that is in no row
	ears  [2]ear
	state [2]phase
	quiet [2]bool // this side has sent abort

	offer       int    // number of the current offer, from 0
	entries     []deal // of the current offer
	size        int    // bytes of the entries
	announced   *totals
	offered     totals // offered so far
	folders     map[string]bool
	last        string // path of the last entry
	next        int    // the entries before it have come, or will not
	current     bit    // position in the file in transit
	again       bit    // position in the chunk that is repaired
	back        phase  // the phase before again
	open, asked map[request]int
	seen        map[string]int // how often each row was used
}

// A deal is what both sides know about an entry.
type deal struct {
	entry
	wish
	size, block, chunks int64 // of the wanted part of a file
	begun               bool
	changed             bool // the receiver has hinted that it has an earlier version
	states              []chunkState
	failed              [2]bool
}

// A bit is a chunk in transit.
type bit struct {
	entry int
	chunk uint32
	left  int64 // bytes that are still to come
}

func newReferee() *referee {
	r := &referee{state: [2]phase{sOffering, rListening}, folders: map[string]bool{}, seen: map[string]int{}}
	r.ears[receivers].hello = true // receivers send no hello
	r.reset()
	return r
}

func (r *referee) reset() {
	r.entries, r.size, r.next = nil, 0, 0
	r.open, r.asked = map[request]int{}, map[request]int{}
}

// judge finds the row for a message, and applies it.
func (r *referee) judge(of side, m *message, e *entry, in *bytes.Reader) (err error) {
	state := r.state[of]
	next := state
	move := [...]map[phase]map[kind]rule{senderRows, receiverRows}[of][state][m.kind]
	switch {
	case state == over:
		err = errors.New("behind the end")
	case m.kind == kindKeep:
	case m.kind == kindProgress && of == receivers:
		err = r.hints(m)
	case m.kind == kindAbort:
		r.quiet[of] = true
	case move == nil:
		err = errors.New("in no row")
	default:
		if e != nil {
			err = r.lists(*e)
		} else if m.kind == kindAnswer {
			err = r.verdicts(proto.NewDecoder(in))
		}
		if err == nil {
			next, err = move(r, m)
		}
	}
	if err == nil {
		r.seen[fmt.Sprintf("%v %v %d", of, state, m.kind)]++
		r.state[of] = next
	}
	return err
}

// lists judges an entry of an offer.
func (r *referee) lists(e entry) error {
	if e.kind == kindOffered {
		if r.announced == nil {
			r.announced = &e.totals
		} else if *r.announced != e.totals {
			return errors.New("other totals than before")
		}
		return nil
	}
	b, err := e.AppendBinary(nil)
	if err != nil {
		return err
	}
	if r.size += len(b); len(r.entries) == 65535 || r.size > 32<<20 {
		return errors.New("the offer is too large")
	}
	if len(r.entries) == 0 { // of earlier folders, only those on the last path count
		maps.DeleteFunc(r.folders, func(at string, _ bool) bool { return !strings.HasPrefix(r.last+"/", at+"/") })
	}
	if dir := path.Dir(e.path); dir != "." && !r.folders[dir] && e.kind != kindLeftOut {
		return fmt.Errorf("%q before its folder", e.path)
	}
	if e.kind == kindFolder {
		r.folders[e.path] = true
	}
	r.last = e.path
	r.entries = append(r.entries, deal{entry: e})
	if !r.offered.add(&e) {
		return errors.New("more than can be counted")
	}
	return nil
}

func (r *referee) listed(*message) (phase, error) { return sOffering, nil }

func (r *referee) offers(*message) (phase, error) {
	a, o := *r.announced, r.offered
	if o.files > a.files || o.folders > a.folders || o.leftOut > a.leftOut || o.bytes > a.bytes || o.stored > a.stored {
		return "", fmt.Errorf("%+v of %+v", o, a)
	}
	if len(r.entries) == 0 && (r.offer > 0 || o != a) {
		return "", errors.New("an empty offer")
	}
	if r.state[receivers] != rListening {
		return "", errors.New("the receiver does not listen")
	}
	r.state[receivers] = rDeciding
	return sWaiting, nil
}

// verdicts reads an answer. It returns only errors of reading, and of the
// answer's fields.
func (r *referee) verdicts(d *proto.Decoder) error {
	limit := 65536
	for i := range r.entries {
		e := &r.entries[i]
		size := int64(-1) // neither claims nor parts
		if e.kind == kindFile {
			size = e.entry.size
		}
		if err := e.decode(d, size, limit); err != nil {
			return err
		}
		if limit -= len(e.claims); e.kind == kindLeftOut && e.verdict > 1 {
			return fmt.Errorf("verdict %d on an entry that was left out", e.verdict)
		}
		if e.size = size; e.verdict == 5 {
			e.size = e.end - e.start
		}
		if e.kind == kindFile {
			e.block = blockSize(e.size)
			e.chunks = chunkCount(e.size, e.block)
		}
	}
	return nil
}

func (r *referee) answers(*message) (phase, error) {
	if r.state[senders] != sWaiting {
		return "", errors.New("nobody waits for it")
	}
	r.state[senders] = sSending
	return rTaking, nil
}

// deal returns an entry that the receiver wants.
func (r *referee) deal(i int) (*deal, error) {
	if i >= len(r.entries) {
		return nil, fmt.Errorf("there is no entry %d", i)
	}
	e := &r.entries[i]
	if !slices.Contains([]verdict{1, 4, 5}, e.verdict) {
		return nil, fmt.Errorf("entry %d has verdict %d", i, e.verdict)
	}
	return e, nil
}

// comes returns a file that the receiver wants.
func (r *referee) comes(i int) (*deal, error) {
	e, err := r.deal(i)
	if err == nil && e.kind != kindFile {
		err = fmt.Errorf("entry %d is no file", i)
	}
	return e, err
}

// pass requires that all entries before entry i have come.
func (r *referee) pass(i int) error {
	for ; r.next < i; r.next++ {
		if _, err := r.comes(r.next); err == nil {
			return fmt.Errorf("entry %d was left out", r.next)
		}
	}
	return nil
}

// chunk returns the nth chunk of file i, of which nothing has come yet; a chunk
// after the last one has no bytes.
func (d *deal) chunk(i int, n uint32) bit {
	return bit{i, n, max(0, min(d.block, d.size-int64(n)*d.block))}
}

func (r *referee) begins(m *message) (phase, error) {
	i := int(m.entry)
	e, err := r.comes(i)
	switch {
	case err != nil:
		return "", err
	case e.failed[senders]:
		return "", fmt.Errorf("entry %d has failed", i)
	case i < r.next:
		return "", fmt.Errorf("entry %d after %d", i, r.next-1)
	case int(m.chunk) > len(e.claims):
		return "", fmt.Errorf("entry %d from chunk %d on, of %d", i, m.chunk, len(e.claims))
	}
	err = r.pass(i)
	r.next, e.begun, r.current = i+1, true, e.chunk(i, m.chunk)
	return sFile, err
}

// brings judges data or a hole.
func (r *referee) brings(m *message) (phase, error) {
	at, next := &r.current, sChunk
	if r.state[senders] == sAgain {
		at, next = &r.again, sAgain
	}
	if at.left -= int64(m.size); at.left < 0 {
		return "", fmt.Errorf("%d bytes more than chunk %d of entry %d has", -at.left, at.chunk, at.entry)
	}
	if m.kind == kindData {
		r.ears[senders].skip = int64(m.size)
	}
	return next, nil
}

func (r *referee) endsChunk(*message) (phase, error) {
	at, next := &r.current, sFile
	if r.state[senders] == sAgain {
		at, next = &r.again, r.back
	}
	if at.left != 0 {
		return "", fmt.Errorf("chunk %d of entry %d lacks %d bytes", at.chunk, at.entry, at.left)
	}
	if next == sFile && at == &r.current {
		*at = r.entries[at.entry].chunk(at.entry, at.chunk+1)
		r.skip()
	}
	return next, nil
}

func (r *referee) endsFile(*message) (phase, error) {
	if e := &r.entries[r.current.entry]; int64(r.current.chunk) != e.chunks {
		return "", fmt.Errorf("entry %d ends with chunk %d of %d", r.current.entry, r.current.chunk, e.chunks)
	}
	return sSending, nil
}

// fails judges the sender's message that a file will not come.
func (r *referee) fails(m *message) (phase, error) {
	i, state := int(m.entry), r.state[senders]
	next := state
	e, err := r.comes(i)
	if err == nil && e.failed[senders] {
		err = fmt.Errorf("entry %d has failed before", i)
	}
	inTransit := r.current.entry == i && (state == sFile || state == sTold || state == sChunk || state == sAgain && r.back == sFile)
	switch {
	case err != nil:
		return "", err
	case state == sAgain && i != r.again.entry, state == sChunk && !inTransit:
		return "", fmt.Errorf("entry %d is another one", i)
	case inTransit:
		next = sSending
	case state == sAgain:
		next = r.back
	case !e.begun && state != sSending:
		return "", fmt.Errorf("entry %d was not begun", i)
	case !e.begun && i < r.next:
		return "", fmt.Errorf("entry %d after %d", i, r.next-1)
	case !e.begun:
		err = r.pass(i)
		r.next = i + 1
	}
	e.failed[senders] = true
	for q := range r.open { // no repair of it will come
		if int(q.entry) == i {
			delete(r.open, q)
		}
	}
	return next, err
}

func (r *referee) repairs(m *message) (phase, error) {
	q := request{m.entry, m.chunk}
	if r.open[q] == 0 {
		return "", fmt.Errorf("chunk %d of entry %d is not asked for", q.chunk, q.entry)
	}
	if r.open[q]--; r.open[q] == 0 {
		delete(r.open, q)
	}
	r.back, r.again = r.state[senders], r.entries[q.entry].chunk(int(q.entry), q.chunk)
	return sAgain, nil
}

// ends judges the sender's message that every file has come once, or failed.
func (r *referee) ends(*message) (phase, error) { return sSent, r.pass(len(r.entries)) }

// asks judges a request of the receiver.
func (r *referee) asks(m *message) (phase, error) {
	q := request{m.entry, m.chunk}
	e, err := r.comes(int(q.entry))
	switch {
	case err != nil:
		return "", err
	case !e.begun:
		return "", fmt.Errorf("entry %d was not begun", q.entry)
	case int64(q.chunk) >= e.chunks:
		return "", fmt.Errorf("entry %d has no chunk %d", q.entry, q.chunk)
	}
	if r.asked[q]++; r.asked[q] > 3 {
		return "", fmt.Errorf("chunk %d of entry %d is asked for %d times", q.chunk, q.entry, r.asked[q])
	}
	if !e.failed[senders] { // otherwise no repair will come
		r.open[q]++
	}
	if len(r.open) > 64 {
		return "", errors.New("more than 64 requests are open")
	}
	return rTaking, nil
}

// refuses judges the receiver's message that it cannot receive an entry.
func (r *referee) refuses(m *message) (phase, error) {
	e, err := r.deal(int(m.entry))
	if err == nil && e.failed[receivers] {
		err = fmt.Errorf("entry %d failed before", m.entry)
	}
	if err == nil {
		e.failed[receivers] = true
	}
	return rTaking, err
}

// isDone judges the receiver's message that everything of the offer is in its
// place.
func (r *referee) isDone(*message) (phase, error) {
	if r.state[senders] != sSent {
		return "", fmt.Errorf("the sender is in state %v", r.state[senders])
	}
	if len(r.open) > 0 {
		return "", fmt.Errorf("repairs are to come: %v", r.open)
	}
	last := r.offered == *r.announced
	r.offer++
	r.reset()
	if last {
		r.state[senders] = sEnded
		return rEnded, nil
	}
	r.state[senders] = sOffering
	return rListening, nil
}
