package block

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Offers, progress, results and lacks describe themselves, for logs as well.
func TestString(t *testing.T) {
	offer := &Offer{Files: 812, Folders: 1, Bytes: 9_400_000}
	require.Equal(t, "812 files and 1 folder, 9.4 MB", fmt.Sprint(offer))
	offer = &Offer{Files: 1, Bytes: 5, LeftOut: 2}
	require.Equal(t, "1 file and 0 folders, 5 B, and 2 that cannot be sent", fmt.Sprint(offer))

	p := Progress{Files: 1, TotalFiles: 2, Bytes: 7_000_000, TotalBytes: 10_000_000, Verified: 7, Rate: 3.4}
	require.Equal(t, "1 of 2 files, 7.0 MB of 10.0 MB", fmt.Sprint(p))

	r := Result{Files: 812, Folders: 3, Bytes: 9_400_000, Sent: 4_000_000}
	require.Equal(t, "812 files, 9.4 MB", fmt.Sprint(r))
	r.Resumed, r.Unchanged, r.Reused, r.SkippedCount = 5_400_000, 7, 3_000_000, 2
	require.Equal(t, "812 files, 9.4 MB; 5.4 MB were there already; 7 unchanged since last time; "+
		"3.0 MB reused of earlier files; 2 left out", fmt.Sprint(r))
	require.Equal(t, "0 files, 0 B", fmt.Sprint(Result{}))

	require.Empty(t, fmt.Sprint(Lacks{}))
	require.Equal(t, "a power cut may lose files that have just arrived; a crash may leave an empty file; "+
		"two programs must not receive the same files at a time; "+
		"changed files cannot be replaced, and come in addition", fmt.Sprint(Lacks{true, true, true, true}))
}
