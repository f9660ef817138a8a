package schema

import "testing"

func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"BlockSize": "block size", "ID": "ID", "PeerID": "peer ID", "IDOfPeer": "ID of peer", "X": "x", "N8": "N8",
		"HTTPServer": "HTTP server", "leftOut": "left out", "ColorRed": "color red", "": "",
	} {
		if got := Words(name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
}
