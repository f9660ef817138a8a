// Package netmon tells when the computer's network changes, and when the
// computer was asleep. A process has one [Monitor], [Shared], which runs while
// somebody subscribes to it: one goroutine, and one or two of the system's
// source of events.
//
//	sub := netmon.Shared().Subscribe()
//	defer sub.Close()
//	state, err := netmon.Shared().Snapshot() // after Subscribe: nothing is missed
//	for change := range sub.C { … }
//
// # What is a change
//
// A change is a difference between the fingerprints of two states. A
// fingerprint consists of
//
//   - the interfaces that are up and have addresses: index, name, prefixes, and
//     how often the link came up; without temporary addresses of IPv6 (RFC
//     8981), ports of bridges, and what [Monitor.Ignore] names;
//   - the default routes: of the system and through each interface, for each
//     family: router, and its link-layer address. An address that was unknown
//     and becomes known is no change; another one is, also if it was unknown in
//     between.
//
// # How it is noticed
//
//	system     source                                     delay
//	Linux      netlink: links, addresses, routes,         20 ms after the first
//	           neighbors that are routers                 event, 250 ms if they
//	BSD, macOS routing socket                             go on
//	Windows    notifications of addresses and routes
//	others     the interfaces are read every 2 s          2 s
//
// Where a source fails, the interfaces are read every 2 s. In the long run,
// reading takes at most a twentieth of the time, but it is not put off for more
// than 2 s: other programs, such as those that run containers, can cause any
// number of events.
//
// # Sleep
//
// The wall clock goes on while the computer sleeps, and the monotonic clock
// stands still (on Linux and macOS): if they are more than 3 s apart, the
// computer was asleep. A tick that is more than 6 s late means so, too
// (Windows, a process that was stopped). Both are looked at every 10 s, after
// every event, and on Linux when the kernel says that the wall clock was set,
// which it does when the computer resumes; elsewhere every 2 s while a
// subscriber asks for that. A clock that somebody sets forward looks the same; one that is set
// back does not.
//
// Android (11 and later) and iOS tell an app little or nothing. There, the app
// says so itself: [Monitor.Poke].
package netmon
