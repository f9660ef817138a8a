package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A saved plot is XML, and contains all names; a curve has no points for values
// without a logarithm.
func TestSave(t *testing.T) {
	for name, save := range map[string]func(string) error{
		"chart": Chart{Panels: []Panel{
			{"speed", []string{"ours", "theirs"}, []float64{480, 500}}, {"time", []string{"ours", "theirs"}, []float64{53, 44}},
		}}.Save,
		"plot": Plot{Title: "speed", X: "time", Y: "many", Curves: []*Curve{
			{"ours", []float64{1, 10, 100}, []float64{5, 0, -7}}, {"theirs", []float64{1, 10}, []float64{50, 600}}, {Name: "none"},
		}}.Save,
	} {
		file := filepath.Join(t.TempDir(), name+".svg")
		require.NoError(t, save(file), name)
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		text := map[string]bool{}
		for d := xml.NewDecoder(f); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if chars, ok := token.(xml.CharData); ok {
				text[string(chars)] = true
			}
		}
		for _, want := range []string{"speed", "time", "ours", "theirs"} {
			require.True(t, text[want], "%s: %s", name, want)
		}
		require.False(t, text["none"])
		require.Error(t, save(filepath.Join(t.TempDir(), "missing", "x.svg")), name)
	}
}
