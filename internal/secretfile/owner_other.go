//go:build !unix

package secretfile

import "io/fs"

const openFlag = 0

// foreign and open report nothing: this system has no owners and mode bits.
func foreign(fs.FileInfo) bool { return false }
func open(fs.FileInfo) bool    { return false }
