//go:build !unix

package identity

import "io/fs"

const openFlag = 0

// foreign and shared report what mode bits say, of which there are none here.
func foreign(fs.FileInfo) bool { return false }
func shared(fs.FileInfo) bool  { return false }
