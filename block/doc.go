// Package block moves files over a stream: they arrive whole and verified or not
// at all, and after an interruption of any kind the next attempt goes on where the
// last one ended.
//
//	// one side
//	result, err := block.Send(ctx, stream, block.Paths("photos", "notes.txt"), block.SendOptions{})
//
//	// the other side
//	root, err := os.OpenRoot("Downloads")
//	decide := func(ctx context.Context, o *block.Offer) error { … } // nil, or block.Refuse("no")
//	result, err := block.Receive(ctx, stream, decide, root, block.ReceiveOptions{})
//
// The stream is a *p2p.Stream between strangers, a *tunnel.Conn inside a library,
// or any other [net.Conn]. Each stream carries one transfer, and the side that
// opened it may send or receive.
//
// # Guarantees to a receiver
//
// A file gets its final name once each of its chunks, and all of them together,
// have the hashes (BLAKE3) that the sender computed while it read them, and once
// its bytes are on the disk. Hashes find faults of disks, memory and transports;
// the stream keeps strangers out. A corrupted chunk is fetched again, alone, three
// times at most. A file that changes while it is sent fails, for both sides, with
// [ErrChanged].
//
// Nothing is overwritten: where a name is taken, a file gets another, as
// "a (2).txt". A crash leaves a final name with the whole file or none (where
// there are no hard links, such as on FAT, an empty file may be left on systems
// other than Linux; the next attempt removes it).
//
// A file that fails for a reason of its own, such as one that is larger than the
// file system takes, does not end the transfer. Only a fault of the destination as
// a whole does: no space, no quota, a disk that has become read-only. In either
// case, files that are whole get their places.
//
// A transfer takes 4 MiB of memory at the sender and 6 at the receiver, whatever
// the size of files is, plus some bytes for each entry of an offer. Most of it is
// kept by QUIC, or garbage: on a busy processor, up to 10 MiB were seen.
//
// # What is sent
//
// Files and folders, with their names, permissions and times of modification.
// Holes in sparse files stay holes. A file with several names (hard links) is sent
// once for each name, and arrives as several files. Symbolic links, pipes, sockets
// and devices are left out. Extended attributes, access control lists, owners and
// resource forks are not sent.
//
// # Left out
//
// What one side leaves out, the other is told, by name and reason: it is in the
// Result's Skipped on both sides. If anything is missing that the receiver did not
// refuse itself, Send and Receive return an [*IncompleteError], unless
// AllowIncomplete is set.
//
// # Names
//
// Names come from the network. Refused everywhere, each by itself ([File].Err),
// are: absolute paths and "..", separators (also the backslash), control
// characters, those that change the direction of writing, invalid UTF-8, more than
// 255 bytes (a path: 4096 bytes, 64 components), this package's own folder, and a
// name that a file system may take for another one of the same offer. On Windows,
// and on file systems that refuse the same names, characters such as the colon, a
// dot or a space at the end, and names of devices are changed: "10:30" becomes
// "10_30". A dot at the beginning becomes "_" unless [ReceiveOptions].Trusted.
// Symbolic links in the destination lead nowhere out of it ([os.Root]).
//
// # Interruptions
//
// Files that are not whole lie in the folder .sdp2p-partial of the destination,
// with a journal for each offer. The next offer with the same ID by the same sender
// (the stream knows it, or [ReceiveOptions].From names it) goes on from there:
// files in their places are not sent again if their ID, size and time of
// modification are the same, and others continue behind the last chunk that both
// sides have, which both hash again. No other sender can see or use it. It is
// removed after 7 days.
//
// Once the sender has acknowledged that the receiver has everything, the receiver
// deletes its journal. If the sender is lost just before, the next attempt finds
// everything in its place and ends at once.
//
// The destination may lack file locks, hard links and fsync: [Result].Lacks tells.
// Without locks, a transfer takes over what an earlier one has left, even if that
// still runs in another process, where it then fails; within a process it does not.
//
// # Parts of files
//
// The receiver may want a part ([Offer.Part]). A program that serves parts of
// files by ID reads a request of its own, and sends that file; the side that asked
// decides for the part. In a library:
//
//	photos.Handle("fetch", func(ctx context.Context, c *tunnel.Conn) error {
//		d := proto.NewDecoder(c)
//		id := d.UUID()
//		path, ok := files[id]
//		if d.Err() != nil || !ok {
//			return p2p.FirstAppCode // the app's own: there is no such file
//		}
//		source := block.Path(path)
//		source.ID = id
//		_, err := block.Send(ctx, c, []block.Source{source}, block.SendOptions{})
//		return err
//	})
//
//	c, err := photos.Open(ctx, member, "fetch")
//	c.Write(id[:])
//	_, err = block.Receive(ctx, c, func(ctx context.Context, o *block.Offer) error {
//		o.Part(0, start, end, buffer) // an io.WriterAt; without this line: the whole file, into root
//		return nil
//	}, root, block.ReceiveOptions{Trusted: true})
//
// # On the wire
//
// The messages are those of docs/protocol.md. Their order is that of two state
// machines, one for each side. A message that is in no row of its side's state is a
// violation, and ends the transfer; every order that the rows allow is legal, with
// any pause anywhere.
//
// The sender begins with its hello, in the state offering:
//
//	state      message                       next state
//	offering   folder, file, left out        offering
//	           offered                       waiting
//	waiting    (the receiver's answer)       sending
//	sending    begin                         file
//	           failed                        sending
//	           repair                        again, then back
//	           sent                          sent
//	file       data, hole                    chunk
//	           end (after the last chunk)    sending
//	           failed of this file           sending
//	           failed of an earlier file     file
//	           repair                        again, then back
//	chunk      data, hole                    chunk
//	           chunk (at the chunk's end)    file
//	           failed of this file           sending
//	again      data, hole                    again
//	           chunk (at the chunk's end)    the state before
//	           failed of the repaired file   the state before, or sending if that
//	                                         was the file in transit
//	sent       failed                        sent
//	           repair                        again, then back
//	           (the receiver's done)         offering, or ended after the last offer
//	ended      done                          over
//
// The receiver begins in the state listening:
//
//	state      message                       next state
//	listening  (the sender's offered)        deciding
//	deciding   answer                        taking
//	taking     repair, failed                taking
//	           done (after the sender's sent, with no repair to come)
//	                                         listening, or ended after the last offer
//	ended      (the sender's done)           over
//
// In each state but over, each side may say keep, and abort, which is the last
// thing it says; the receiver may report progress. Either side may say failed once
// for each entry, of those that are wanted, and the sender does not begin a file
// that it has failed. If the receiver says it of a file in transit, the sender soon
// ends that file with its own failed. It says failed of a file that it does not
// begin in that file's turn. The receiver asks for a chunk of a file that
// was begun, three times at most. The sender answers each request with a repair, or
// with failed of that file if it has not said that; so the receiver knows whether a
// repair is to come, also of a file that it has failed.
package block
