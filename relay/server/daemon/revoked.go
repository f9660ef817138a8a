package daemon

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// lookTime is the time between checks of the file of revoked tokens.
const lookTime = 10 * time.Second

// A revocation names a token.
type revocation struct {
	issuer identity.RemoteIdentity
	serial uint32
}

// revoked are the tokens that a file names.
type revoked struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	all    map[revocation]bool
	looked time.Time
	state  os.FileInfo
}

// readRevoked reads a file; "" is none.
func readRevoked(path string, log *slog.Logger) (*revoked, error) {
	r := &revoked{path: path, log: log}
	if path == "" {
		return r, nil
	}
	return r, r.read()
}

// has reports whether a token is revoked. It reads a file that has changed
// again; if that fails, the previous contents hold.
func (r *revoked) has(issuer identity.RemoteIdentity, serial uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.path != "" && time.Since(r.looked) >= lookTime {
		if err := r.read(); err != nil {
			r.log.Error("the file of revoked tokens cannot be read", "cause", err)
		}
	}
	return r.all[revocation{issuer, serial}]
}

func (r *revoked) read() error {
	r.looked = time.Now()
	state, err := os.Stat(r.path)
	if err != nil {
		return err
	}
	if r.state != nil && state.Size() == r.state.Size() && state.ModTime().Equal(r.state.ModTime()) && os.SameFile(state, r.state) {
		return nil
	}
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	all := map[revocation]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return fmt.Errorf("%s: line %d: not ISSUER SERIAL", r.path, n)
		}
		issuer, err := identity.Parse(fields[0])
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", r.path, n, err)
		}
		serial, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", r.path, n, err)
		}
		all[revocation{issuer, uint32(serial)}] = true
	}
	if err := lines.Err(); err != nil {
		return err
	}
	r.all, r.state = all, state
	return nil
}
