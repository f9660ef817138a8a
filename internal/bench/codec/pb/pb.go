// Package pb is the message of package codec as protobuf has it: the Go code
// that protoc-gen-go makes of request.proto, and the methods that vtprotobuf
// adds to it.
//
// The generated code is committed; `go generate` makes it again, with Go alone.
package pb

//go:generate go run ./gen
