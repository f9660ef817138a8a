package tags

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// The number of instances is 1, 2, 4 or 8. Each has 123 tags in strings of the
// same length, whatever the number of contacts; all tags are among them.
func TestLayout(t *testing.T) {
	key := contactsOf(t, 1)[0].Remote()
	for _, test := range []struct{ tags, instances int }{
		{0, 1}, {1, 1}, {123, 1}, {124, 2}, {246, 2}, {247, 4}, {492, 4}, {493, 8}, {984, 8},
	} {
		all := make([]Tag, test.tags)
		for i := range all {
			all[i] = Tag{0xff, 0, '"', '\\', byte(i >> 8), byte(i)}
		}
		instances, err := Layout(key, all)
		require.NoError(t, err)
		require.Len(t, instances, test.instances, test.tags)
		got := map[Tag]int{}
		for _, txt := range instances {
			require.Len(t, txt, 6)
			require.Equal(t, []string{"v=1", "m=c", "k=" + key.String()}, txt[:3])
			for i, s := range txt[3:] {
				require.Len(t, s, 3+246)
				require.True(t, strings.HasPrefix(s, fmt.Sprintf("t%d=", i)))
			}
			k, list, err := Parse(txt)
			require.NoError(t, err)
			require.Equal(t, key, k)
			require.Len(t, list, PerInstance)
			for _, tag := range list {
				got[tag]++
			}
		}
		require.Len(t, got, test.instances*PerInstance)
		for _, tag := range all {
			require.Equal(t, 1, got[tag])
		}
	}
	_, err := Layout(key, make([]Tag, MaxContacts+1))
	require.ErrorIs(t, err, ErrTooMany)
}

// Strings that are cut, malformed or of another mode are no announcement;
// strings without some of the tags are, and unknown strings are ignored.
func TestParse(t *testing.T) {
	k := "k=" + contactsOf(t, 1)[0].String()
	six := "123456"
	for _, good := range []struct {
		txt  []string
		tags int
	}{
		{[]string{"v=1", "m=c", k}, 0},
		{[]string{"m=c", k, "v=1", "t0=" + six}, 1},
		{[]string{"V=1", "M=c", "K" + k[1:], "T2=" + six + six}, 2},
		{[]string{"v=1", "m=c", k, "t1=" + six, "t1=" + six + six}, 1},
		{[]string{"v=1", "m=c", k, "t0=" + six, "t1=" + six, "t2=" + six, "t3=" + six, "name=x", "="}, 3},
		{[]string{"v=1", "m=c", k, "t0", "t1="}, 0},
		{[]string{"v=1", "m=c", k, "t0==\x00\xff\"\\="}, 1},
	} {
		key, all, err := Parse(good.txt)
		require.NoError(t, err, good.txt)
		require.Len(t, all, good.tags, good.txt)
		require.False(t, key.IsZero())
	}
	for _, bad := range [][]string{
		nil, {"v=1", "m=c"}, {"v=2", "m=c", k}, {"v=1", k}, {"v=1", "m=d", k}, {"m=c", k},
		{"v=1", "m=c", k + "A"}, {"v=1", "m=c", k[:len(k)-1]}, {"v=1", "m=c", "k=" + strings.Repeat("A", 43)}, {"v=1", "m=c", "k="},
		{"v=1", "m=c", k, "t0=12345"}, {"v=1", "m=c", k, "t2=1234567"}, {"v=1", "m=c", k, "t0=" + strings.Repeat("x", 252)},
		{"v=1", "m=", "m=c", k},
	} {
		_, all, err := Parse(bad)
		require.ErrorIs(t, err, ErrLayout, bad)
		require.Empty(t, all)
	}
}

// FuzzParse: for any strings, Parse returns a key and no more tags than
// allowed, or an error; and the tags have the bytes of the strings.
func FuzzParse(f *testing.F) {
	key := identity.New().Remote()
	instances, err := Layout(key, []Tag{{1}, {2}})
	require.NoError(f, err)
	f.Add([]byte(strings.Join(instances[0], "\n")))
	f.Add([]byte("v=1\nm=c\nk=" + key.String() + "\nt0=123456\nt0=1\nT1=\n=\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var txt []string
		for _, s := range bytes.Split(b, []byte("\n")) {
			txt = append(txt, string(s))
		}
		key, all, err := Parse(txt)
		if err != nil {
			require.ErrorIs(t, err, ErrLayout)
			require.Empty(t, all)
			return
		}
		require.False(t, key.IsZero())
		require.LessOrEqual(t, len(all), PerInstance)
		for _, tag := range all {
			require.Contains(t, string(b), string(tag[:]))
		}
	})
}

// samples is the number of layouts for the statistics.
const samples = 1000

// chiSquare returns by how many standard deviations counts differ from a
// uniform distribution.
func chiSquare(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	expected, sum := float64(n)/float64(len(counts)), 0.0
	for _, c := range counts {
		d := float64(c) - expected
		sum += d * d / expected
	}
	free := float64(len(counts) - 1)
	return (sum - free) / math.Sqrt(2*free)
}

// Tags and padding cannot be distinguished: each position has a tag as often as
// any other, neighbors are in order as often as not, and the bytes of tags and
// of padding are uniform at each place of a tag, and alike. The seeds are
// fixed, so that the test always has the same result.
func TestPaddingIndistinguishable(t *testing.T) {
	for _, n := range []int{1, 7, 122} {
		t.Run(fmt.Sprint(n, " contacts"), func(t *testing.T) {
			all := contactsOf(t, n+1)
			set := newSet(t, all[0], remotes(all[1:])...)
			random := rand.NewChaCha8([32]byte{1, byte(n)})
			const classes = 2 // padding and tags
			position := make([]int, PerInstance)
			first := make([]int, PerInstance) // positions of the first contact's tag
			var bytesAt [classes][Size][256]int
			ascending := make([]int, 2)
			for sample := range samples {
				key := all[sample%len(all)].Remote() // an arbitrary key
				tags := set.Tags(uint64(sample), key)
				instances, err := layout(key, tags, random)
				require.NoError(t, err)
				_, got, err := Parse(instances[0])
				require.NoError(t, err)
				real := map[Tag]bool{}
				for _, tag := range tags {
					real[tag] = true
				}
				for i, tag := range got {
					class := 0
					if real[tag] {
						class = 1
						position[i]++
					}
					if tag == tags[0] {
						first[i]++
					}
					for j, b := range tag {
						bytesAt[class][j][b]++
					}
					if i > 0 {
						up := bytes.Compare(got[i-1][:], tag[:]) < 0
						ascending[map[bool]int{false: 0, true: 1}[up]]++
					}
				}
			}
			const sigmas = 4.5
			require.Less(t, math.Abs(chiSquare(first)), sigmas, "the place of the first contact's tag")
			// No two tags share a place: with many of them, the counts are more
			// even than by chance.
			require.Less(t, chiSquare(position), sigmas, "the places of tags")
			require.Less(t, math.Abs(chiSquare(ascending)), sigmas, "the order")
			for class := range classes {
				for j := range Size {
					require.Less(t, math.Abs(chiSquare(bytesAt[class][j][:])), sigmas, "bytes: class %d, place %d", class, j)
				}
			}
		})
	}
}
