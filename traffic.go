package p2p

// Bytes are the bytes of connections, including everything that their transport
// adds.
type Bytes struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}

// traffic counts the bytes sent and received, by the kind of path.
type traffic [Relay + 1]Bytes

func (t *traffic) add(kind CandidateKind, b Bytes) {
	if int(kind) >= len(t) {
		kind = 0
	}
	t[kind].Sent += b.Sent
	t[kind].Received += b.Received
}
