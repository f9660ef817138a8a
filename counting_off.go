//go:build sdp2p_uncounted

package p2p

const counting = false
