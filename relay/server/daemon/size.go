package daemon

import (
	"errors"
	"strconv"
	"strings"
)

// A size is a number of bytes, as in 4MB or 50GB: powers of ten.
type size int64

var units = []struct {
	name  string
	bytes int64
}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// String returns the size with the largest unit that it is a multiple of.
func (s *size) String() string {
	if s == nil || *s <= 0 {
		return "-1"
	}
	for _, u := range units[:len(units)-1] {
		if int64(*s)%u.bytes == 0 {
			return strconv.FormatInt(int64(*s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set reads a size.
func (s *size) Set(text string) error {
	n, err := ParseSize(text)
	*s = size(n)
	return err
}

// ParseSize reads a number of bytes, with or without a unit: B, kB, MB, GB or
// TB. -1 stands for no limit.
func ParseSize(text string) (int64, error) {
	if text == "-1" {
		return -1, nil
	}
	factor := int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, factor = strings.TrimSpace(number), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > (1<<62)/factor {
		return 0, errors.New("not a number of bytes, as in 4MB, or -1")
	}
	return n * factor, nil
}
