// Package conns tests that code written for net.Listener and net.Conn works
// over streams, tunnels and sessions.
package conns
