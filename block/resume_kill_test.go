//go:build unix

package block_test

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process is killed at a random moment, on a random side, and both are
// started again, until everything has arrived: as an ordinary user, with files
// whose permissions forbid that user to open them, and on file systems that
// lack features, that can name a file only by replacing another, or whose quota
// is used up now and then. BLOCK_KILLS is the number of kills (make kill).
func TestKill(t *testing.T) {
	t.Parallel()
	source := killTree(t)
	for _, test := range []struct {
		faults string
		kills  int
	}{{"", 8}, {"lacks", 4}, {"nothing", 3}, {"quota", 3}} {
		t.Run(test.faults, func(t *testing.T) {
			t.Parallel()
			killMany(t, source, test.faults, setting("BLOCK_KILLS", test.kills))
		})
	}
}

func killMany(t *testing.T, source, faults string, times int) {
	longest, transfers, most := 400*time.Millisecond, 0, 0
	dest, kills := newDest(t), 0
	whole := func() {
		honest(t, source, dest, false)
		files := 0
		require.NoError(t, filepath.WalkDir(filepath.Join(dest, "source"), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files++
			}
			return err
		}))
		require.Equal(t, 202, files)
	}
	last := func() { // that is not interrupted: what earlier ones have left is gone
		lasting := faults
		if faults == "quota" {
			lasting = ""
		}
		_, complete := attempt{source: source, dest: dest, faults: lasting}.run(t)
		require.True(t, complete)
		whole()
		cleared(t, dest, faults)
	}
	for range times {
		kills++
		a := attempt{source: source, dest: dest, faults: faults, victim: rand.IntN(2)}
		a.after = time.Duration(rand.Int64N(int64(longest)))>>rand.IntN(6) + 1
		_, complete := a.run(t)
		honest(t, source, dest, faults == "nothing")
		if complete {
			transfers++
			most, kills = max(most, kills), 0
			whole()
			last()
			dest = newDest(t)
		}
	}
	last()
	t.Logf("%d transfers, up to %d kills in one", transfers+1, max(most, kills))
}

// cleared checks that complete transfers have left nothing but their indexes.
func cleared(t *testing.T, dest, faults string) {
	left, err := filepath.Glob(filepath.Join(dest, ".sdp2p-partial", "*"))
	require.NoError(t, err)
	for _, path := range left {
		if strings.HasSuffix(path, ".index") {
			continue
		}
		// Without locks, nobody knows whether a journal that is not complete yet,
		// or is being taken over, still has an owner.
		info, err := os.Stat(path)
		require.NoError(t, err)
		unfinished := strings.HasSuffix(path, ".new") || strings.HasSuffix(path, ".journal") && info.Size() == 0
		require.True(t, unfinished && faults != "", "%s of %d bytes was left behind", path, info.Size())
	}
}

// BLOCK_KILL_SIZE is the size in MiB of a file, of which at most 1 % may be
// sent again after a kill (make kill).
func TestKillLarge(t *testing.T) {
	size := int64(setting("BLOCK_KILL_SIZE", 0)) << 20
	if size == 0 {
		t.Skip("BLOCK_KILL_SIZE is not set: make kill")
	}
	source := put(t, filepath.Join(t.TempDir(), "large"), nil, 0o600)
	f, err := os.OpenFile(source, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	dest := newDest(t)
	said, kills, complete := int64(0), int64(0), false
	for n := 0; n < 20 && !complete; n++ {
		var b int64
		b, complete = attempt{source: source, dest: dest, after: time.Duration(rand.Int64N(int64(1500*time.Millisecond))) + 1, victim: n % 2}.run(t)
		said += b
		if kills++; complete {
			kills--
		}
		honest(t, source, dest, false)
	}
	if !complete {
		b, ok := attempt{source: source, dest: dest}.run(t)
		said += b
		require.True(t, ok)
	}
	require.NoError(t, os.Chmod(filepath.Join(dest, "large"), 0o600))
	require.NoError(t, same(filepath.Join(dest, "large"), source))
	again := said - size
	t.Logf("%d kills, %d bytes more than the file: %.2f %% of it for each kill", kills, again, 100*float64(again)/float64(size)/float64(max(kills, 1)))
	require.LessOrEqual(t, again, (kills+1)*size/100)
}
