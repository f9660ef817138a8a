// Package block describes the messages of the package block for protogen.
// Nothing but tests imports it, and docs/protocol.md has its layouts.
package block

import "errors"

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/block
//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/block -doc ../../docs/protocol.md

// A Hello begins a transfer.
//
//proto:message
type Hello struct {
	_  uint8    `proto:"const='B'"` // "B"
	_  uint8    `proto:"const=2"`   // version; any other is answered with an abort, code 10
	ID [16]byte // of the transfer; if the same sender repeats it, an interrupted transfer is resumed
}

// An Entry is an entry of an offer, or its end.
//
//proto:union
//proto:case 1 Folder
//proto:case 2 File
//proto:case 3 Offered
//proto:case 15 LeftOut
type Entry interface{ isEntry() }

// A Folder is an entry.
//
//proto:message
type Folder struct {
	Path    string `proto:"max=4096"`
	Mode    uint16 `proto:"max=0o777"`
	Seconds int64
	Nanos   uint32 `proto:"max=999_999_999"`
}

// A File is an entry.
//
//proto:message validate=check
type File struct {
	Folder
	ID     [16]byte
	Size   int64 `proto:"min=0"`
	Stored int64 `proto:"min=0"` // at most the size
}

func (m *File) check() error {
	if m.Stored > m.Size {
		return errors.New("more bytes are stored than there are")
	}
	return nil
}

// Offered ends an offer.
//
//proto:message validate=check
type Offered struct {
	Files, Folders, LeftOut uint32
	Bytes                   int64 `proto:"min=0"`
	Stored                  int64 `proto:"min=0"` // at most bytes
}

func (m *Offered) check() error {
	if m.Stored > m.Bytes {
		return errors.New("more bytes are stored than there are")
	}
	return nil
}

// LeftOut is an entry that the sender cannot send.
//
//proto:message
type LeftOut struct {
	Path string `proto:"max=4096"`
	Code uint8
}

// A Message is any other message of either side.
//
//proto:union
//proto:case 0 Keep
//proto:case 4 Answer
//proto:case 5 Begin
//proto:case 6 Data
//proto:case 7 Chunk
//proto:case 8 End
//proto:case 9 Failed
//proto:case 10 Repair
//proto:case 11 Sent
//proto:case 12 Progress
//proto:case 13 Done
//proto:case 14 Abort
//proto:case 16 Hole
//proto:case 17 Hashes
//proto:case 18 Claims
//proto:case 19 Old
//proto:case 20 Packed
type Message interface{ isMessage() }

// Messages without fields.
type (
	// Keep says that a side is alive.
	//
	//proto:message
	Keep struct{}
	// Answer is followed by verdicts.
	//
	//proto:message
	Answer struct{}
	// Sent says that all files were sent.
	//
	//proto:message
	Sent struct{}
	// Done says that everything is in its place.
	//
	//proto:message
	Done struct{}
)

// Begin begins a file.
//
//proto:message
type Begin struct {
	Entry uint16 // its number in the offer, from 0
	Chunk uint32 // the first one that follows
}

// Data is bytes of a chunk.
//
//proto:message
type Data struct {
	Length uint32 `proto:"min=1,max=262144"`
}

// A Hole stands for zeros of a chunk.
//
//proto:message
type Hole struct {
	Length uint32 `proto:"min=1,max=16777216"`
}

// Hashes begins a file of which the receiver has an earlier version.
//
//proto:message
type Hashes struct {
	Entry  uint16
	Hashes [][32]byte `proto:"count=u32,min=1,max=65536"` // of all chunks
}

// Claims says which chunks of the file the receiver has.
//
//proto:message
type Claims struct {
	Entry  uint16
	States []State  `proto:"count=u32,min=1,max=65536"` // of all chunks
	Pieces []uint64 `proto:"count=u32,max=65536"`       // of chunks with 2, in their order: the first 8 bytes of the hash
}

// A State says how much the receiver has of a chunk.
type State uint8

const (
	Comes  State = iota // nothing
	There               // all of it
	Pieces              // perhaps some of its pieces, whose hashes follow
)

// Old stands for bytes of a chunk that are those of the earlier version.
//
//proto:message
type Old struct {
	Length uint32 `proto:"min=1,max=16777216"`
}

// Packed holds compressed entries of an offer.
//
//proto:message
type Packed struct {
	Length uint32 `proto:"min=1,max=524288"`
}

// Chunk ends a chunk.
//
//proto:message
type Chunk struct{ Hash [32]byte }

// End ends a file.
//
//proto:message
type End struct{ Hash [32]byte }

// Failed says that a file was given up.
//
//proto:message
type Failed struct {
	Entry  uint16
	Code   uint8
	Reason string `proto:"max=1024"`
}

// A Repair is a request for a chunk.
//
//proto:message
type Repair struct {
	Entry uint16
	Chunk uint32
}

// Progress is the receiver's progress.
//
//proto:message
type Progress struct {
	Received uint64 // bytes that have arrived
	Verified uint64 // bytes that were verified
}

// Abort ends a transfer.
//
//proto:message
type Abort struct {
	Code   uint8
	Reason string `proto:"max=1024"`
}

// A Verdict says which part of an entry the receiver wants.
//
//proto:union
//proto:case 0 NotWanted
//proto:case 1 Wanted
//proto:case 2 ThereAlready
//proto:case 3 NameUnusable
//proto:case 4 FromChunk
//proto:case 5 Part
type Verdict interface{ isVerdict() }

// Verdicts without fields.
type (
	//proto:message
	NotWanted struct{}
	//proto:message
	Wanted struct{}
	//proto:message
	ThereAlready struct{}
	//proto:message
	NameUnusable struct{}
)

// FromChunk says which chunks the receiver has.
//
//proto:message
type FromChunk struct {
	Hashes [][32]byte `proto:"count=u32,min=1,max=65536"` // of the first n chunks
}

// A Part is a range of bytes.
//
//proto:message validate=check
type Part struct {
	Start int64 `proto:"min=0"` // of the bytes that are wanted
	End   int64 `proto:"min=0"` // not included
}

func (m *Part) check() error {
	if m.End < m.Start {
		return errors.New("it ends before it begins")
	}
	return nil
}
