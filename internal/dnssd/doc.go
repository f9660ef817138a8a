// Package dnssd announces and finds service instances on the local network: Multicast DNS (RFC 6762) and DNS-based
// service discovery (RFC 6763), for one service type, such as _sd._udp.local.
//
// An [Engine] is responder and browser in one. It shares port 5353 with whatever else there is on the host, and follows
// the interfaces as they come and go. One goroutine, that of [Engine.Run], owns all its state; sockets have a
// goroutine each that does nothing but hand packets over. Whatever waits is a timer in one queue.
//
// # Links
//
// Each interface in use is a link, and everything below is kept for each link: what is published, what is cached, what is
// asked, which answers are due. A link ends when its interface vanishes or is attached to another network, and all
// of that with it. A network is told by its prefixes, its router, and the router's link-layer address where that is known.
// A link that was down for less than 2 s goes on, announced and browsed anew, if the same router proves that it leads to
// where it did; until then nothing is sent. Where there are more interfaces than the system allows memberships or this
// package uses, those with the default route come first, then devices, then others. IPv4 and IPv6 share a link, its cache included; packets are sent over both where everybody must
// hear them, over one where that will do.
//
// A host name belongs to one link, as its addresses do: an answer has those of the link that the question came by. A node
// that is heard on two of its links, because they are one network or a repeater joins them, has an SRV record for each, and
// neither replaces the other. What a repeater brings back of its own is in conflict with nothing and is not cached.
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
// A switch that has just seen a device come up may forward nothing for 30 s. So
// announcements that nobody seems to have heard are made again: every 8 s for
// two minutes, and once more 64 s later. A second before each, a question goes
// out. They were heard if somebody lists the instance as known or asks for it
// by name, or answered a question of ours before they were made.
//
// A name of ours that somebody else uses is not changed, since it stands for an identity: the engine says so
// ([Engine.Conflict]), and goes on trying.
//
// RFC 6762 has a host give way to anybody who claims its name, since between hosts that made up their names nobody has
// more right to one. Here a name is a public key. So with [Config.Probe], none of the above happens before whoever
// denies a probe, wins a tie or has other data for our name has proved to hold the key: at the addresses that the claim
// comes from and leads to, on the link, which are challenged at a bounded rate. Until then the name is announced,
// answered for, and announced once more for those who have believed the claim. Only while the name is probed for, a
// claim has a second for its proof, once. Nor does an answer of somebody else, whatever it says, take the place of ours.
//
// # Browsing
//
// An instance is found when PTR, SRV, TXT and an address are known on a link; what does not come by itself is asked for.
// If that is a link-local address of IPv6 alone, others are asked for first, for a second.
// It is lost when its records expire (they are asked for again at 80, 85, 90 and 95 % of their time to live), a second
// after its goodbye unless it answers that it is still there, or 10 s after [Engine.Reconfirm] if it does not answer. With
// [Config.Probe], it is 0.85 s and two questions after its goodbye; the same holds for a record that another one replaces,
// and an instance that has proved to be there lately has to fail to prove it again. What is said again with a shorter
// time to live than before lives for 20 s at least.
// Questions for further instances go out after 20 to 120 ms, then after 1, 2, 4 s and so on, up to an hour, each time with a
// little chance, so that two that started together do not stay in step.
//
// An instance that was lost without a goodbye is missing. It is asked for by
// name, and all that are missing at one time share a packet:
//
//	lost               asked for, up to an eighth earlier
//	less than 10 min   after 1, 2, 4, 8, 8 … s
//	less than an hour  every minute
//	less than a day    every 8 minutes
//
// It is asked for at once when anything is heard from its address; if nothing
// comes of that, the next time not before 2, 4 … 64 s have passed. If more are
// missing than fit in a packet, the question for all instances takes its place.
// There is a packet a second at most, and one in 7 s in the long run. So
// whatever is cut off for less than ten minutes is found again within 10 s
// after.
//
// A question for instances from an address that has none here is a reason to
// ask, 2 to 3 s later: whoever asks announces, too, and was not heard. That is
// so every 8 s at most; because of the same address, if nothing comes of it,
// after 16, 32 s and so on up to an hour.
//
// A question that another host asked is not asked again within a second, nor is
// a missing instance asked for (RFC 6762 §7.3): unless the other host may be
// the one to answer, which it does not answer to itself; or it listed answers
// as known that are not known here. What was asked for in vain is asked for by
// each on its own: nobody else need have heard the other's question. The third
// question in vain also has the groups joined again, once a minute at most, since
// switches forget who is a member. Nothing is listed as known that is in
// doubt: what Reconfirm is about, what is not complete, and what did not answer
// to being asked again.
//
// After the computer was suspended, what is published is probed for and announced again, and every instance is reconfirmed.
//
// Questions ask for multicast answers, but for probes: where several processes share port 5353, a unicast answer
// reaches only one of them.
//
// # Trust
//
// Nothing that is received can be trusted, only bounded: instances, instances of one source, new ones in a second, records
// of an instance, instances at one host, those that are missing, questions and answers that wait. What was sent to the group is from the link;
// other packets are dropped if their source is not in a network of the interface. No answer to such a source leaves the
// link. A packet that is about no name of the service type, of ours, or of a host is only looked at; another one costs
// what its bytes are worth, whatever they say, and what it says often is worked on once.
//
// # Files
//
//	engine link timer stats limits                 the loop; a link and its packets; bounds
//	network socket groups membership iface follow  sockets, memberships, interfaces that change
//	publication probe respond record message       what is announced, and answers
//	claim repeated hostname                        our names used by others, and come back
//	query cache instance host reach                what is asked, learned, and reported
//	admit origin fair spelling                     from whom, and how much
//	presence audience                              who is missing; whether we are heard
//	doubt beside                                   what is taken back, or replaced
//	silence                                        what the log says of missing interfaces
package dnssd
