// Package v1 describes a message in version 1 of five.
package v1

//go:generate go -C ../../../../proto/protogen run . -dir ../../internal/described/grown/v1

// A Clip is a message that grows.
//
//proto:message extensible max=4096
type Clip struct {
	ID   uint32
	Text string `proto:"max=100"`
}

// A Point is in it.
//
//proto:message
type Point struct{ X, Y uint16 }

// A Batch has clips in a list, and something behind them.
//
//proto:message
type Batch struct {
	Clips []Clip `proto:"count=u8,max=10"`
	After uint32
}
