//go:build !sdp2p_uncounted

package p2p

// counting is false in programs that measure what counters, notes and labels of
// goroutines cost: nothing of that kind is kept then.
const counting = true
