package hidden

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValue(t *testing.T) {
	secret := [4]byte{0xde, 0xad, 0xbe, 0xef}
	v := Of(secret)
	require.Equal(t, secret, v.Get())
	require.True(t, v == Of(secret))
	require.False(t, v == Of([4]byte{1}))
	require.Zero(t, Value[[4]byte]{}.Get())
	require.True(t, Of([4]byte{}) == Value[[4]byte]{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, holder := range []any{v, &v, struct{ V Value[[4]byte] }{v}, struct{ v Value[[4]byte] }{v}, &struct{ v []Value[[4]byte] }{[]Value[[4]byte]{v}}} {
			text := fmt.Sprintf(verb, holder)
			for _, trace := range []string{"222 173", "deadbeef", "0xde, 0xad", "\xde\xad"} {
				require.NotContains(t, text, trace)
			}
		}
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, `"hidden"`, string(b))
}
