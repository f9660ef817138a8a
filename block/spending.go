package block

import (
	"slices"
	"time"

	"github.com/sdp2p/p2p/proto"
)

const (
	hashingEach  = time.Hour
	hashingBytes = 1 << 30 // bytes of earlier content hashed for one sender in hashingEach
	hashingTimes = 2       // times the bytes that the sender has sent, in total
)

// A spending records how many bytes a sender has sent, and how many bytes of
// earlier content were hashed for it, which costs the receiver more than the
// sender.
type spending struct {
	sent, hashed int64
	recent       []spentAt
}

// A spentAt records how many bytes were hashed, and when.
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

// left returns how many bytes may be hashed now. A recorded time in the future
// counts if it is less than an hour ahead; one further ahead comes from a clock
// that was wrong, and is dropped.
func (s *spending) left(now time.Time) int64 {
	s.recent = slices.DeleteFunc(s.recent, func(p spentAt) bool { return now.Sub(p.at).Abs() >= hashingEach })
	hour := int64(hashingBytes)
	for _, p := range s.recent {
		hour -= p.bytes
	}
	return max(0, min(hour, hashingTimes*s.sent-s.hashed))
}

// appendSpent appends a row of kind rowSpent.
func appendSpent(b []byte, sent int64, hashed spentAt) []byte {
	content := proto.AppendUint64(proto.AppendUint64(nil, uint64(sent)), uint64(hashed.bytes))
	return appendRow(b, rowSpent, proto.AppendUint64(content, uint64(hashed.at.Unix())))
}
