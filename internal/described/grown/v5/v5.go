// Package v5 describes a message in version 5 of five.
package v5

//go:generate go -C ../../../../proto/protogen run . -dir ../../internal/described/grown/v5

// A Clip is a message that grows: the tags are retired, and a hue is new.
//
//proto:message extensible max=4096
type Clip struct {
	ID   uint32
	Text string   `proto:"max=100"`
	_    uint8    `proto:"since=2,retired"`
	From *string  `proto:"since=2,max=20"`
	_    []string `proto:"since=3,retired,count=u8,max=5;max=10"`
	At   Point    `proto:"since=4"`
	Hue  uint16   `proto:"since=5"`
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
