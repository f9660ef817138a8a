// Package everything has a field of each kind that protogen supports, for the
// sake of the tests that protogen generates. Nothing imports it.
package everything

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/everything

// MaxText is the maximum length of a text in bytes.
const MaxText = 4096

// A Color is an enum.
type Color uint8

// The colors.
const (
	ColorRed Color = iota + 1
	ColorBlue
	ColorNone Color = 0xFF //proto:omit
)

// A Right is a bit.
type Right uint8

// The rights.
const (
	Read Right = 1 << iota
	Write
)

// Scalars are values of a fixed size.
//
//proto:message
type Scalars struct {
	_        uint8 `proto:"const=2"`  // version
	_        int16 `proto:"const=-2"` // a negative constant
	ID       uuid.UUID
	Color    Color
	Rights   Right `proto:"bits"`
	Any      Color `proto:"any,max=3"`
	Key      identity.RemoteIdentity
	None     identity.RemoteIdentity `proto:"zero"`
	N8       int8
	N16      int16
	N32      int32  `proto:"min=-7"`
	N64      int64  `proto:"min=-5,max=100"`
	U8       uint8  `proto:"min=1"`
	U16      uint16 `proto:"max=0o777"`
	U32      uint32
	U64      uint64 `proto:"max=1<<63"`
	F32      float32
	F64      float64
	Bool     bool
	Flag     flag
	Millis   time.Time     `proto:"time=ms"`
	Nanos    time.Time     `proto:"time=s+ns"`
	Duration time.Duration `proto:"min=0"`
	Hash     [32]byte
	Grid     [2][3]uint16
	Points   [3]Point
	Cache    map[string]int `proto:"-"`
}

type flag bool

// A Name is a string.
type Name string

// A Point is a message.
//
//proto:message
type Point struct {
	X, Y int32
}

// Sizes are values that are preceded by lengths and counts.
//
//proto:message validate=check
type Sizes struct {
	Text    string                    `proto:"max=MaxText"`
	Short   string                    `proto:"len=u8,min=1,max=255"`
	Long    string                    `proto:"len=u32,max=100_000"`
	Name    Name                      `proto:"max=100"`
	Bytes   []byte                    `proto:"max=100"`
	Bytes8  []byte                    `proto:"len=u8,max=200"`
	Bytes16 []byte                    `proto:"len=u16,min=2,max=65535"`
	Tags    []string                  `proto:"count=u8,max=10;max=64"`
	Rows    [][]Name                  `proto:"count=u16,max=10;count=u8,min=1,max=3;max=5"`
	IDs     []uuid.UUID               `proto:"count=u16,max=100"`
	Hashes  [][32]byte                `proto:"count=u32,max=100"`
	Colors  []Color                   `proto:"count=u8,max=4"`
	Points  []Point                   `proto:"count=u8,min=1,max=4"`
	Keys    []identity.RemoteIdentity `proto:"count=u8,max=3"`
	Times   []time.Time               `proto:"count=u8,max=3;time=s+ns"`
	Pairs   [2][]uint32               `proto:";count=u8,max=9"`
	Grades  []grade                   `proto:"count=u8,max=3;validate=check"`
}

func (s *Sizes) check() error {
	if s.Text == "bad" {
		return errors.New("bad")
	}
	return nil
}

type grade uint16

func (g grade) check() error {
	if g%2 == 1 {
		return errors.New("odd")
	}
	return nil
}

// Maybe are values that may be missing.
//
//proto:message
type Maybe struct {
	Point    *Point
	Text     *string                `proto:"max=9"`
	OfText   proto.Optional[string] `proto:"max=9"`
	UUID     *uuid.UUID
	OfUUID   proto.Optional[uuid.UUID]
	Key      *identity.RemoteIdentity
	Hash     *[32]byte
	Time     *time.Time `proto:"time=ms"`
	Color    proto.Optional[Color]
	Numbers  proto.Optional[[]uint16] `proto:"count=u8,max=9"`
	Optional []proto.Optional[uint8]  `proto:"count=u8,max=9;max=7"`
	Pointers []*Point                 `proto:"count=u8,max=9"`
	Event    Event                    `proto:"optional"`
	_        *string                  `proto:"retired,max=7"`
	_        time.Time                `proto:"retired,time=ms"`
	_        [2]Point                 `proto:"retired"`
}

// An Event is a union.
//
//proto:union
//proto:case 1 Moved
//proto:case 2 Gone
//proto:case 3 retired
//proto:case 0xFF Grown
type Event interface{ isEvent() }

// Moved is a case.
//
//proto:message
type Moved struct{ To Point }

// Gone is a case.
//
//proto:message
type Gone struct{}

// Grown is a case that grows.
//
//proto:message extensible max=1000
type Grown struct {
	A     uint8
	Last  Point
	Cache int      `proto:"-"`
	B     string   `proto:"max=10,since=2"`
	_     []string `proto:"retired,count=u8,max=10,since=2;max=3"`
	C     *Point   `proto:"since=3"`
	Size  Point    `proto:"since=3"` // also the name of the generated method
	E     Event2   `proto:"since=4,optional"`
}

// An Event2 is a union without exported functions.
//
//proto:union
//proto:case 7 small
type Event2 interface{ isEvent2() }

//proto:message
type small struct{ n uint8 }

// Others are messages of other packages, and messages written by hand.
//
//proto:message
type Others struct {
	Route  proto.Route
	Routes []proto.Route `proto:"count=u8,max=3"`
	Meta   proto.Metadata
	More   *proto.Metadata
	Hand   byHand
	Hands  []byHand `proto:"count=u8,max=3"`
	Events []Event  `proto:"count=u8,max=3"`
	Nested Maybe
}

// byHand is a message whose methods are written by hand.
type byHand struct{ n uint8 }

func (m *byHand) AppendBinary(b []byte) ([]byte, error) { return append(b, m.n), nil }

func (m *byHand) DecodeFrom(d *proto.Decoder) error {
	m.n = d.Uint8()
	return d.Err()
}

// Size returns 1.
func (m *byHand) Size() int { return 1 }

// Large has limits that no message reaches.
//
//proto:message
type Large struct {
	Kind   uint8
	Text   string     `proto:"len=u32,max=0x7fffffff"`
	Bytes  []byte     `proto:"max=0x7fffffff"`
	Points []Point    `proto:"count=u32,max=0x7fffffff"`
	Rows   [][]string `proto:"count=u32,max=0x7fffffff;count=u32,max=0x7fffffff;max=65535"`
	Maybe  []Maybe    `proto:"count=u32,max=0x7fffffff"`
	Events []Event    `proto:"count=u32,max=0x7fffffff"`
}
