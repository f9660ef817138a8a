// Package v2 describes a message in version 2 of five.
package v2

//go:generate go -C ../../../../proto/protogen run . -dir ../../internal/described/grown/v2

// A Clip is a message that grows: color and origin are new.
//
//proto:message extensible max=4096
type Clip struct {
	ID    uint32
	Text  string  `proto:"max=100"`
	Color uint8   `proto:"since=2"`
	From  *string `proto:"since=2,max=20"`
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
