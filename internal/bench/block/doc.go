// Package block measures how the SDK moves files (its package block) against
// copying the same bytes through the same streams, and against the way of the
// SDK's first implementation, which waits for an acknowledgement of each block.
package block
