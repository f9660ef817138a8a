package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// message has the methods that Op and Want have in common.
type message interface {
	AppendBinary([]byte) ([]byte, error)
	DecodeFrom(*proto.Decoder) error
}

// exampleLibrary is the library of the examples.
var exampleLibrary = sync.OnceValue(func() *library.Library {
	instance := identity.New()
	l, err := library.New(library.Config{}).Add(newRecord(must{}, instance, identity.New()), instance)
	require.NoError(must{}, err)
	return l
})

// must is a TestingT that panics where a test would fail.
type must struct{}

func (must) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (must) FailNow()                          {}

func exampleOps() []*Op {
	all := []*Op{
		{Kind: edit, Edits: []Edit{{uuid.New(), Body, []Mark{{1}, {2}}, "Grüße 日本"}, {uuid.New(), Deleted, nil, ""}}},
		{Kind: edit, Edits: make([]Edit, MaxEdits)},
		{Kind: edit, Edits: []Edit{{Field: Title, Value: strings.Repeat("x", MaxValue)}}},
		{Kind: revoke, Removal: roster.Hash{7}, Count: 1 << 60},
		{Kind: shift, First: 3, MS: -600_000, Sure: true},
	}
	for i := range all[1].Edits {
		all[1].Edits[i].Field = Title
	}
	var before Signature
	for i, o := range all {
		o.Author, o.Number, o.Stamp = author(exampleLibrary().Instance()), uint64(i+1), Stamp(1000+i)
		if err := o.sign(exampleLibrary(), before); err != nil {
			panic(err)
		}
		before = o.Signature
	}
	return all
}

func TestMessages(t *testing.T) {
	t.Parallel()
	messages := map[message]message{
		&Want{Clock: -5, Have: []Have{{Author{1}, 7}, {Author{2}, 0}}}: &Want{},
		&Want{}: &Want{},
	}
	for _, o := range exampleOps() {
		messages[o] = &Op{Sure: true, Count: 7}
	}
	for want, got := range messages {
		b, err := want.AppendBinary([]byte("prefix"))
		require.NoError(t, err)
		b, ok := bytes.CutPrefix(b, []byte("prefix"))
		require.True(t, ok)
		r := bytes.NewReader(append(bytes.Clone(b), "more"...))
		require.NoError(t, got.DecodeFrom(proto.NewDecoder(iotest.OneByteReader(r))))
		require.Equal(t, want, got)
		require.Equal(t, 4, r.Len())
		for n := 0; n < len(b); n += 1 + n/200 {
			require.Error(t, got.DecodeFrom(proto.NewDecoder(bytes.NewReader(b[:n]))), n)
		}
	}
}

func TestInvalidOps(t *testing.T) {
	half := strings.Repeat("x", MaxOp/2)
	for name, o := range map[string]Op{
		"kind": {Kind: 4}, "no kind": {}, "field": {Kind: edit, Edits: []Edit{{Field: 4}}}, "no field": {Kind: edit, Edits: []Edit{{}}},
		"value": {Kind: edit, Edits: []Edit{{Field: Body, Value: strings.Repeat("x", MaxValue+1)}}},
		"UTF-8": {Kind: edit, Edits: []Edit{{Field: Body, Value: "\xff"}}}, "edits": {Kind: edit, Edits: make([]Edit, MaxEdits+1)},
		"over":  {Kind: edit, Edits: []Edit{{Field: Body, Over: make([]Mark, MaxOver+1)}}},
		"shift": {Kind: shift, MS: MaxShift + 1}, "shift back": {Kind: shift, MS: math.MinInt64},
		"size": {Kind: edit, Edits: []Edit{{Field: Body, Value: half}, {Field: Body, Value: half}}},
	} {
		b, err := o.AppendBinary([]byte("x"))
		require.ErrorIs(t, err, proto.ErrInvalid, name)
		require.Equal(t, "x", string(b), name)
	}
	_, err := (&Want{Have: make([]Have, MaxAuthors+1)}).AppendBinary(nil)
	require.ErrorIs(t, err, proto.ErrInvalid)
	b, err := exampleOps()[4].AppendBinary(nil)
	require.NoError(t, err)
	b[49+8+7] = 0x7f // the most significant byte of the milliseconds
	require.ErrorIs(t, new(Op).DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), proto.ErrInvalid)
	for name, change := range map[string]func(b []byte){
		"number 0": func(b []byte) { clear(b[32:40]) }, "kind": func(b []byte) { b[48] = 0 }, "field": func(b []byte) { b[67] = 4 },
		"edits": func(b []byte) { b[50] = 2 }, "length": func(b []byte) { b[101], b[102] = 0xff, 0xff },
	} {
		b, err := exampleOps()[0].AppendBinary(nil)
		require.NoError(t, err)
		change(b)
		require.ErrorIs(t, new(Op).DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), proto.ErrInvalid, name)
	}
}

// An operation that is too large is noticed before all of it is read.
func TestTooLarge(t *testing.T) {
	o := Op{Number: 1, Kind: edit, Edits: []Edit{{Field: Body, Value: strings.Repeat("x", MaxValue)}}}
	b, err := o.AppendBinary(nil)
	require.NoError(t, err)
	b[49] = 2
	e := b[51 : len(b)-64]
	b = append(b[:len(b)-64], e...)
	require.ErrorAs(t, o.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))), new(*proto.LimitError))
}

// Operations that arrived whole are kept when the rest is cut off.
func TestReadOps(t *testing.T) {
	var b []byte
	var err error
	all := exampleOps()
	for _, o := range all {
		b, err = o.AppendBinary(b)
		require.NoError(t, err)
	}
	for cut, want := range map[int]int{0: 5, 1: 4, 64: 4, len(b) - 1: 0} {
		r := bufio.NewReaderSize(bytes.NewReader(b[:len(b)-cut]), batchSize)
		var got []Op
		for err = nil; err == nil; {
			var ops []Op
			ops, err = readOps(proto.NewDecoder(r), r)
			got = append(got, ops...)
		}
		require.Equal(t, cut > 0, err == io.ErrUnexpectedEOF, err)
		require.Len(t, got, want)
	}
}

// The signature covers every bit that is signed, the library, and the operation
// before.
func TestSignature(t *testing.T) {
	all := exampleOps()
	o, before := *all[4], all[3].Signature
	id, by := exampleLibrary().ID(), exampleLibrary().Instance()
	require.NoError(t, o.verify(id, by, before))
	require.ErrorIs(t, o.verify(uuid.UUID{2}, by, before), errForged)
	require.ErrorIs(t, o.verify(id, identity.New().Remote(), before), errForged)
	require.ErrorIs(t, o.verify(id, by, all[1].Signature), errForged)
	require.ErrorIs(t, o.verify(id, by, Signature{}), errForged)
	b, err := o.AppendBinary(nil)
	require.NoError(t, err)
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		var bad Op
		if bad.DecodeFrom(proto.NewDecoder(bytes.NewReader(b))) == nil {
			require.ErrorIs(t, bad.verify(id, by, before), errForged, bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// A message that was accepted re-encodes identically.
func fuzz(f *testing.F, fresh func() message) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m := fresh()
		if m.DecodeFrom(proto.NewDecoder(r)) != nil {
			return
		}
		again, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, b[:len(b)-r.Len()], again)
	})
}

func FuzzOp(f *testing.F) {
	for _, o := range exampleOps() {
		b, err := o.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	fuzz(f, func() message { return &Op{} })
}

func FuzzWant(f *testing.F) {
	for _, w := range []*Want{{}, {Clock: -5, Have: []Have{{Author{1}, 7}, {Author{2}, 0}}}} {
		b, err := w.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
	}
	fuzz(f, func() message { return &Want{} })
}
