package call

//go:generate go -C ../../../proto/protogen run . -dir ../../internal/bench/call

// A Body is a message of either direction.
//
//proto:message
type Body struct {
	Bytes []byte `proto:"max=4096"`
}
