package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// kinds are the first words of the names of test files that are about no
// single source file. Every reader of Go knows the first six; the others are
// the same in each package of this module.
var kinds = []string{
	"bench", "example", "export", "fuzz", "helpers", "main",
	"conformance", // a contract of package p2ptest, for an implementation of it
	"described",   // messages that are written by hand, against generated ones
	"hostile",     // a peer that lies, floods or falls silent
	"model",       // random steps, here and in a model
	"vectors",     // recorded bytes
}

// systems are the last words of the names of source files that are alternatives
// of each other.
var systems = []string{"linux", "darwin", "freebsd", "bsd", "windows", "unix", "other"}

// misnamed returns the faults of the names of test files, each as "name:line:
// fault". In a listing, the tests of x.go are to be found beside it: in
// x_test.go, or in x_SUBJECT_test.go. A package that has only tests, or whose
// only source is its documentation, is exempt; one that consists of main.go may
// go by the name of its folder.
func misnamed(files []string) (faults []string) {
	sources := map[string][]string{}
	for _, name := range files {
		dir, file := path.Split(name)
		x, isGo := strings.CutSuffix(file, ".go")
		if !isGo || strings.HasSuffix(x, "_test") || x == "doc" {
			continue
		}
		sources[dir] = append(sources[dir], x)
		if i := strings.LastIndexByte(x, '_'); i > 0 && slices.Contains(systems, x[i+1:]) {
			sources[dir] = append(sources[dir], x[:i])
		}
	}
	for _, name := range files {
		dir, file := path.Split(name)
		test, isTest := strings.CutSuffix(file, "_test.go")
		about := sources[dir]
		if slices.Equal(about, []string{"main"}) {
			about = append(about, path.Base(dir))
		}
		if isTest && len(about) > 0 && !slices.ContainsFunc(slices.Concat(about, kinds), func(x string) bool {
			return x == test || strings.HasPrefix(test, x+"_")
		}) {
			const fault = "named after none of its package's files: call it x_SUBJECT_test.go, after the x.go that it tests"
			faults = append(faults, fmt.Sprintf("%s:1: %s", name, fault))
		}
	}
	return faults
}
