//go:build !linux

package quiet

import "errors"

func used() (usage, error) {
	return usage{}, errors.New("quiet: voluntary context switches are counted on Linux only")
}

func apart(f func()) { f() }
