#!/bin/sh
# The module builds for every system that it is meant for. iOS needs Apple's linker for programs, and Go alone for packages.
set -eu
GO=${GO:-go}
export CGO_ENABLED=0
for target in linux/amd64 linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64 android/arm64; do
	echo "build $target"
	GOOS=${target%/*} GOARCH=${target#*/} $GO build -o /dev/null ./...
	GOOS=${target%/*} GOARCH=${target#*/} $GO vet ./...
done
echo "build ios/arm64 (packages)"
GOOS=ios GOARCH=arm64 $GO build $($GO list -f '{{if ne .Name "main"}}{{.ImportPath}}{{end}}' ./...)
