// Package dnssd announces and finds service instances on the local network:
// Multicast DNS (RFC 6762) and DNS-based service discovery (RFC 6763), for one
// service type, such as _sd._udp.local.
//
// An [Engine] is responder and browser in one. It shares port 5353 with other
// programs on the host, and follows the interfaces as they come and go. One
// goroutine, that of [Engine.Run], owns all its state; each socket has a
// goroutine that only hands packets over. All waiting is done by timers in one
// queue.
//
// # Links
//
// Each interface in use is a link, and everything below is kept for each link
// separately: publications, cache, questions, and pending answers. A link ends,
// with all of that, when its interface vanishes or is attached to another
// network. A network is recognized by its prefixes, its router, and the
// router's link-layer address if that is known. A link that was down for less
// than 2 s continues, and is announced and browsed anew, if the same router
// proves that the network is the same; until then nothing is sent. If there are
// more interfaces than the system allows memberships or this package uses,
// those with the default route come first, then devices, then others. IPv4 and
// IPv6 share a link, including its cache; packets are sent over both if
// everybody must hear them, and otherwise over one.
//
// A host name belongs to one link, as its addresses do: an answer contains
// those of the link on which the question arrived. A node that is heard on two
// of its links, because they are one network or a repeater joins them, has an
// SRV record for each, and neither replaces the other. Its own records that a
// repeater brings back cause no conflict and are not cached.
//
// # Publishing
//
// On each link a service goes through these states:
//
//	state      begins                      does                            ends
//	probing    with Publish, after         asks three times, 250 ms apart  undisputed after 750 ms: announced
//	           0 to 250 ms                 (RFC 6762 §8.1)                 denied: conflict
//	                                                                       tie lost (§8.2): probing, 1 s later
//	announced  after probing               announces twice, 1 s apart      other data seen for our name (§9): probing
//	                                       (§8.3), and again 50 ms after   Withdraw, end of Run: with a goodbye
//	                                       a change, at most once a
//	                                       second; answers questions
//	conflict   after a denied probe        nothing                         after 5 s, doubled up to 1 min, or 1 s after
//	                                                                       the other's goodbye: probing
//
// A switch may forward nothing for 30 s after a device has come up. So
// announcements that nobody seems to have heard are repeated: every 8 s for two
// minutes, and once more 64 s later. A question is sent a second before each.
// An announcement was heard if somebody lists the instance as known or asks for
// it by name, or had answered a question of ours before.
//
// With [Config.Private], names are random: a service is announced without
// probing, and announced again if somebody else uses its name. It is not
// announced in any other network than before, where it would show that the host
// has come from there. The service type is not listed, and only addresses that
// reveal little about the host are announced.
//
// If somebody else uses a name of ours, the name is not changed, since it
// stands for an identity: the engine reports the conflict ([Engine.Conflict]),
// and keeps trying.
//
// In RFC 6762, a host gives way to anybody who claims its name, since no host
// has a greater right to a name that it made up. Here a name is a public key.
// So with [Config.Probe], none of the above happens until the host that denies
// a probe, wins a tie or has other data for our name has proved that it holds
// the key. It is challenged, at a bounded rate, at the addresses on the link
// that the claim comes from and leads to. Until it has proved the key, the name
// is announced and answered for, and announced once more for hosts that have
// believed the claim. Only while the name is probed for, a claim has a second
// for its proof, once. Nor does another host's answer, whatever it says,
// replace ours.
//
// # Browsing
//
// An instance is found when PTR, SRV, TXT and an address are known on a link;
// missing records are asked for. If the only address is an IPv6 link-local one,
// others are asked for first, for a second. An instance is lost when its
// records expire (they are asked for again at 80, 85, 90 and 95 % of their time
// to live), a second after its goodbye unless it answers that it is still
// there, or 10 s after [Engine.Reconfirm] if it does not answer. With
// [Config.Probe], it is lost 0.85 s and two questions after its goodbye. The
// same holds for a record that another one replaces, and an instance that has
// proved its presence recently must also fail to prove it again. A record that
// is repeated with a shorter time to live than before lives for at least 20 s.
// Questions for further instances are sent after 20 to 120 ms, then after 1, 2,
// 4 s and so on, up to an hour, with a little randomness, so that two nodes
// that started together do not stay in step.
//
// An instance that was lost without a goodbye is missing. It is asked for by
// name, and all that are missing at one time share a packet:
//
//	lost               asked for, up to an eighth earlier
//	less than 10 min   after 1, 2, 4, 8, 8 … s
//	less than an hour  every minute
//	less than a day    every 8 minutes
//
// It is asked for at once when anything is heard from its address; if that is
// in vain, the next time not before 2, 4 … 64 s have passed. If more are
// missing than fit in a packet, the question for all instances is asked
// instead. At most a packet is sent per second, and one in 7 s in the long run.
// So an instance that was cut off for less than ten minutes is found again
// within 10 s.
//
// A question for instances from an address without a known instance is a reason
// to ask, 2 to 3 s later: a host that asks usually also announces, and was not
// heard. That happens every 8 s at most; for the same address, if it is in
// vain, after 16, 32 s and so on up to an hour.
//
// A question that another host has asked, including one for a missing instance,
// is not asked again within a second (RFC 6762 §7.3), unless the other host may
// be the one to answer, since it does not answer itself, or it listed answers
// as known that are not known here. After a question in vain, each host asks on
// its own, since others need not have heard its question. The third question in
// vain also makes the engine join the groups again, at most once a minute,
// since switches forget members. Instances in doubt are not listed as known:
// those that Reconfirm is about, incomplete ones, and those that did not answer
// when asked again.
//
// Where many nodes start together, more instances may be announced in a moment
// than are admitted: 400, and then 50 a second. Announcements of up to 512
// others wait for their turn, and count as known in questions, so that nobody
// has to announce again. 500 nodes that start together all know each other 3 s
// later: a second until they are announced, and 2 s for the last hundred. What
// finds no room is asked for again after 1 to 2, 2 to 4 s and so on while that
// lasts; from 40 instances on, a node relies on the question of another one.
//
// After the computer was suspended, publications are probed for and announced
// again, and every instance is reconfirmed.
//
// Questions other than probes ask for multicast answers: if several processes
// share port 5353, a unicast answer reaches only one of them.
//
// # Trust
//
// Nothing that is received can be trusted, so everything is bounded: instances
// in all, instances of one source, new ones per second, those that wait to be
// admitted, records of an instance, instances at one host, missing ones, and
// waiting questions and answers. A packet to the group comes from the link;
// other packets are dropped if their source is not in a network of the
// interface. No answer to such a source leaves the link. A packet that is not
// about the service type, a name of ours, or a known host is only inspected,
// and so is a probe for a name of others; any other costs time proportional to
// its size, whatever it contains, and repetitions in it are processed once.
//
// # Files
//
//	engine link timer stats limits                 the loop; a link and its packets; bounds
//	network socket groups membership iface follow  sockets, memberships, interfaces that change
//	publication probe respond record message       what is announced, and answers
//	claim repeated hostname                        our names used by others, and come back
//	query cache instance host reach                what is asked, learned, and reported
//	admit origin queue fair spelling               from whom, how much, and when
//	presence audience                              who is missing; whether we are heard
//	private                                        what Config.Private announces, and where
//	doubt beside                                   what is taken back, or replaced
//	silence                                        what the log says of missing interfaces
package dnssd
