// Package call describes the messages of the package call for protogen. Nothing
// but tests imports it, and docs/protocol.md has its layouts.
package call

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/call
//go:generate go -C ../../../proto/protogen run . -dir ../../internal/described/call -doc ../../docs/protocol.md

// A Kind is the kind of a call.
type Kind uint8

// The kinds.
const (
	KindDo Kind = iota + 1
	KindReceive
	KindSend
)

// A Header begins a call.
//
//proto:message
type Header struct {
	Kind    Kind
	Timeout uint32 // in milliseconds; 0: none
}

// A Refusal is the error of a call.
//
//proto:message
type Refusal struct {
	Code uint16
	Text string `proto:"max=512"`
}
