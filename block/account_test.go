package block

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// No field of a stream's result is lost in the result of the transfer.
func TestAccount(t *testing.T) {
	t.Parallel()
	one := Result{
		Files: 1, Folders: 2, Bytes: 3, Sent: 4, Resumed: 5, Unchanged: 6, Reused: 7, Restarted: 8, Repaired: 9,
		Skipped: []*FileError{{}}, SkippedCount: 10, Lacks: Lacks{true, true, true, true}, unverified: 11,
	}
	for v, i := reflect.ValueOf(one), 0; i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "%s is not part of the test", v.Type().Field(i).Name)
	}
	a := &account{}
	a.add(one)
	require.Equal(t, one, a.total())
	a.add(one) // another stream with the same result
	again := one
	again.Sent, again.Reused, again.Restarted, again.Repaired = 8, 14, 16, 18
	require.Equal(t, again, a.total())
}
