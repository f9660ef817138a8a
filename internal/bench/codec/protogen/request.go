// Package protogen is the request of package codec with the code that the SDK's
// generator writes.
package protogen

import "github.com/sdp2p/p2p/proto"

//go:generate go -C ../../../../proto/protogen run . -dir ../../internal/bench/codec/protogen

// BlockSize is the size of the blocks that a file is sent in.
type BlockSize uint8

// The block sizes.
const (
	Block128K BlockSize = iota
	Block256K
	Block512K
	Block1M
	Block16M
)

const (
	maxName  = 255 // bytes
	maxFiles = 255
)

// A Request asks a peer for files.
//
//proto:message
type Request struct {
	ID        [16]byte
	BlockSize BlockSize
	Files     []File `proto:"count=u8,max=maxFiles"`
}

// A File is one file of a Request.
//
//proto:message
type File struct {
	Name  string `proto:"max=maxName"`
	Size  uint64
	Range proto.Optional[Range]
}

// A Range is the wanted part of a file, in bytes.
//
//proto:message
type Range struct {
	Start, End uint64
}
