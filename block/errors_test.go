package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// An app can show any error to its user: it says which of the two devices it is
// about, and what to do if there is something.
func TestTexts(t *testing.T) {
	peer := func(err error, reason string) error { return &PeerError{err, reason} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{canceled(context.Canceled), "canceled"},
		{canceled(context.DeadlineExceeded), "canceled: context deadline exceeded"},
		{canceled(errors.New("the battery is low")), "canceled: the battery is low"},
		{Refuse(""), "refused"},
		{Refuse("too \n large"), `refused: "too \n large"`},
		{&SpaceError{7_000_000, 500}, "the disk is full: 7.0 MB are needed, 500 B are free"},
		{writing(syscall.EDQUOT), "the disk is full: disk quota exceeded"},
		{writing(fs.ErrPermission), "writing failed: permission denied"},
		{violation("message %d", 3), "the other device violated the protocol: message 3"},
		{peer(ErrCanceled, ""), "the other device canceled"},
		{peer(ErrCanceled, "it \x1b is late"), `the other device canceled: "it \x1b is late"`},
		{peer(ErrRefused, ""), "the other device declined"},
		{peer(ErrChanged, ""), "the other device reports: the file was changed while it was sent: send it again"},
		{peer(ErrDiskFull, "7.0 MB are needed, 500 B are free"),
			`the other device has no room on its disk: "7.0 MB are needed, 500 B are free"`},
		{peer(ErrTimeout, ""), "the other device has heard nothing from this one for 30 s"},
		{peer(ErrBusy, ""), "the other device is busy with other transfers: try again later"},
		{peer(ErrUnanswered, ""), "the other device has not answered the offer in time"},
		{peer(code(200).err(), ""), "the other device failed, and does not say why"},
		{peer(list{}, ""), "the other device reports: many"},
	} {
		require.EqualError(t, test.err, "block: "+test.want)
	}
}

// A list is an error that cannot be the key of a map.
type list []error

func (list) Error() string { return "many" }

// A peer is told sizes in the same form as the user.
func TestReason(t *testing.T) {
	space := &SpaceError{7_000_000, 500}
	require.Equal(t, "7.0 MB are needed, 500 B are free", reason(space))
	require.Equal(t, "too large", reason(Refuse("too large")))
	require.Empty(t, reason(ErrDiskFull))
}

// An error of a canceled transfer can be told by its cause, too.
func TestCancellation(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded, fs.ErrClosed} {
		err := canceled(cause)
		require.ErrorIs(t, err, ErrCanceled)
		require.ErrorIs(t, err, cause)
	}
	cause := fmt.Errorf("%w: by the app", ErrCanceled)
	require.Same(t, cause, canceled(cause))
}

func TestCodes(t *testing.T) {
	for c, err := range codes {
		require.Equal(t, code(c), codeOf(&FileError{"x", err}))
		require.Equal(t, err, code(c).err())
	}
	require.Equal(t, errFailed, code(200).err())
	require.Equal(t, code(0), codeOf(errors.New("other")))
}
