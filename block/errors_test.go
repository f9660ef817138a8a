package block

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCodes(t *testing.T) {
	for c, err := range codes {
		require.Equal(t, code(c), codeOf(&FileError{"x", err}))
		require.Equal(t, err, code(c).err())
	}
	require.Equal(t, errFailed, code(200).err())
	require.Equal(t, code(0), codeOf(errors.New("other")))
}
