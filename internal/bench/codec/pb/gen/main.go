// Command gen does what protoc does for package pb, without protoc: it compiles
// request.proto, hands it to the plugins, which are tools of this module, and
// writes the files that they make. It is run by `go generate` in the directory
// of pb.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	root   = "../.." // of the names of files, seen from pb
	source = "codec/pb/request.proto"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	ctx := context.Background()
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{root}},
		SourceInfoMode: protocompile.SourceInfoStandard, // comments
	}
	files, err := compiler.Compile(ctx, source)
	if err != nil {
		log.Fatal(err)
	}
	file := protoutil.ProtoFromFileDescriptor(files[0])
	for _, plugin := range []struct{ name, options string }{
		{"protoc-gen-go", ""},
		{"protoc-gen-go-vtproto", ",features=marshal+unmarshal+size"},
	} {
		if err := run(ctx, plugin.name, "paths=source_relative"+plugin.options, file); err != nil {
			log.Fatalf("%s: %v", plugin.name, err)
		}
	}
}

// run has a plugin generate code for a file that imports no other.
func run(ctx context.Context, plugin, options string, file *descriptorpb.FileDescriptorProto) error {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file.GetName()},
		Parameter:      &options,
		ProtoFile:      []*descriptorpb.FileDescriptorProto{file},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return fmt.Errorf("response: %w", err)
	}
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, made := range response.File {
		if err := os.WriteFile(filepath.Join(root, made.GetName()), []byte(made.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
