package tunnel

import (
	"io"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// A credential for another purpose opens another kind of tunnel: neither side
// mistakes the one for the other, whatever else they share.
func TestPurpose(t *testing.T) {
	w := newWorld(t)
	w.library, w.secret = [16]byte{}, [32]byte{}
	other := NewCredentialFor([16]byte([]byte("another purpose!")), w.rInstance, w.secret)
	w.dir.members = map[uuid.UUID]map[[32]byte]Member{}
	w.dir.add(t, w.library, Member{w.iInstance.Remote(), w.iNode.Remote()})
	for _, responder := range []*Credential{w.credential(w.rInstance), other} {
		for _, initiator := range []*Credential{
			w.credential(w.iInstance), NewCredentialFor(other.purpose, w.iInstance, w.secret),
		} {
			w.dir.credentials = []*Credential{responder}
			a, b := link(1 << 10)
			done := make(chan error, 1)
			go func() {
				c, err := w.responder.Accept(t.Context(), w.accepting(b))
				if err == nil {
					c.Abort(io.EOF)
				}
				done <- err
			}()
			c, err := Open(t.Context(), w.session(a), initiator, w.to())
			if responder.purpose == initiator.purpose {
				require.NoError(t, err)
				require.NoError(t, c.confirmNow())
				require.NoError(t, <-done)
				continue
			}
			require.ErrorIs(t, err, ErrHandshake)
			require.ErrorIs(t, <-done, ErrHandshake)
		}
	}
}
