// Package people measures how files are moved by the SDK and by what people use
// instead: rsync over ssh, scp, and uploads by curl to a TLS server. It is all
// tests:
//
//	SDP2P_BENCH_TABLE=/dev/stdout go test -v -timeout 40m ./people
//
// They need Linux, root, and the programs of the packages rsync,
// openssh-server, openssh-client and curl; a program that is missing is named
// in the table.
package people
