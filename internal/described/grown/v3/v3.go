// Package v3 describes a message in version 3 of five.
package v3

//go:generate go -C ../../../../proto/protogen run . -dir ../../internal/described/grown/v3

// A Clip is a message that grows: tags are new.
//
//proto:message extensible max=4096
type Clip struct {
	ID    uint32
	Text  string   `proto:"max=100"`
	Color uint8    `proto:"since=2"`
	From  *string  `proto:"since=2,max=20"`
	Tags  []string `proto:"since=3,count=u8,max=5;max=10"`
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
