// Package relay makes two ends distant that talk over UDP on loopback.
package relay
