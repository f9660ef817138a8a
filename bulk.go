package p2p

import "context"

// Bulk returns a context for opening a stream that is going to carry much data:
// a file, a backup, a video. A listener made for that, such as package tcp's,
// then carries the stream where it does so better than the others; without such
// a listener, Bulk has no effect. Send urgent messages over a stream of their
// own.
func Bulk(ctx context.Context) context.Context { return context.WithValue(ctx, bulkKey{}, true) }

type bulkKey struct{}

// IsBulk reports whether ctx comes from [Bulk]. It is for listeners.
func IsBulk(ctx context.Context) bool { return ctx.Value(bulkKey{}) != nil }
