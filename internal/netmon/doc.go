// Package netmon reports changes of the computer's network, and that the
// computer was asleep. A process has one [Monitor], [Shared], which runs while
// it has subscriptions. It takes one goroutine, and one or two more for the
// system's source of events.
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
//     8981), ports of bridges, and interfaces named to [Monitor.Ignore];
//   - the default routes, those of the system and those through each interface,
//     for each family: the router and its link-layer address. It is not a
//     change if an unknown address becomes known; it is one if the address
//     becomes another, even if it was unknown in between.
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
// If a source fails, the interfaces are read every 2 s. Since other programs,
// such as those that run containers, can cause any number of events, reading
// takes at most a twentieth of the time in the long run; but it is never put
// off for more than 2 s.
//
// # Sleep
//
// While the computer sleeps, the wall clock goes on and the monotonic clock
// stands still (on Linux and macOS): if they have drifted apart by more than 3
// s, the computer was asleep. The same holds if a tick is more than 6 s late
// (on Windows, or because the process was stopped). The monitor compares the
// clocks every 10 s and after every event. On Linux it also does so when the
// kernel reports that the wall clock was set, which includes resuming, and
// therefore only every minute while no subscriber attends; elsewhere it does so
// every 2 s while a subscriber attends. Setting the clock forward looks like
// sleep; setting it back does not.
//
// Android (11 and later) and iOS report little or nothing to an app. There, the
// app itself has to call [Monitor.Poke].
package netmon
