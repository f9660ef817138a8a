package block

import (
	"slices"
	"time"

	"github.com/sdp2p/p2p/proto"
)

const (
	hashingEach  = time.Hour
	hashingBytes = 1 << 30 // of old content, for one sender, in that time
	hashingTimes = 2       // what it has sent, in all
)

// A spending is what a sender has brought, and what was hashed for it of what
// is here already. That costs a sender little, and the receiver much.
type spending struct {
	sent, hashed int64
	recent       []spentAt
}

// A spentAt is how many bytes were hashed, and when.
type spentAt struct {
	at    time.Time
	bytes int64
}

func (s *spending) add(sent, hashed int64, at time.Time) {
	s.sent += max(sent, 0)
	s.hashed += max(hashed, 0)
	if hashed <= 0 {
		return
	}
	if n := len(s.recent); n > 0 && at.Sub(s.recent[n-1].at).Abs() < time.Minute {
		s.recent[n-1].bytes += hashed
		return
	}
	s.recent = append(s.recent, spentAt{at, hashed})
}

// left returns how many bytes may be hashed now. A time to come counts as just
// now; one that is further away than what counts comes of a clock that was
// wrong.
func (s *spending) left(now time.Time) int64 {
	s.recent = slices.DeleteFunc(s.recent, func(p spentAt) bool { return now.Sub(p.at).Abs() >= hashingEach })
	hour := int64(hashingBytes)
	for _, p := range s.recent {
		hour -= p.bytes
	}
	return max(0, min(hour, hashingTimes*s.sent-s.hashed))
}

// appendSpent appends a row.
func appendSpent(b []byte, sent int64, hashed spentAt) []byte {
	content := proto.AppendUint64(proto.AppendUint64(nil, uint64(sent)), uint64(hashed.bytes))
	return appendRow(b, rowSpent, proto.AppendUint64(content, uint64(hashed.at.Unix())))
}
