// Package block moves files over a stream: they arrive complete and verified or
// not at all, and after any interruption the next attempt resumes where the
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
// The stream is a *p2p.Stream between strangers, a *tunnel.Conn inside a
// library, or any other [net.Conn]. Each stream carries one transfer, and the
// side that opened it may send or receive.
//
// # Guarantees to a receiver
//
// A file gets its final name only when each of its chunks, and the whole file,
// have the hashes (BLAKE3) that the sender computed while reading, and its
// bytes are on the disk. Hashes find faults of disks, memory and transports;
// the stream keeps strangers out. A corrupted chunk alone is fetched again, at
// most three times. A file that changes while it is sent fails, for both sides,
// with [ErrChanged].
//
// Nothing is overwritten: if a name is taken, a file gets another, such as "a
// (2).txt", unless [ReceiveOptions].Existing says otherwise. After a crash a
// final name has the complete file or none (without hard links, such as on FAT,
// an empty file may be left on systems other than Linux; the next attempt
// removes it).
//
// A file that fails for a reason of its own, such as one that is too large for
// the file system, does not end the transfer. Only a fault of the whole
// destination does: no space, no quota, a disk that has become read-only. In
// either case, complete files are put in their places.
//
// A transfer takes 4 MiB of memory at the sender and 6 at the receiver,
// whatever the size of files, plus some bytes for each entry of an offer. Most
// of it is held by QUIC, or garbage: on a busy processor, up to 10 MiB were
// observed.
//
// # What is sent
//
// Files and folders, with their names, permissions and times of modification.
// Holes in sparse files stay holes. A file with several names (hard links) is
// sent once for each name, and arrives as several files. Symbolic links, pipes,
// sockets and devices are left out. Extended attributes, access control lists,
// owners and resource forks are not sent.
//
// # Left out
//
// Files that one side leaves out are reported to the other, with name and
// reason: they are in the [Result]'s Skipped on both sides. If files are
// missing that the receiver did not refuse, Send and Receive return an
// [*IncompleteError], unless AllowIncomplete is set.
//
// # Names
//
// Names come from the network. The following are refused everywhere, each
// individually ([File].Err): absolute paths and "..", separators (including the
// backslash), control characters (including bidirectional ones), invalid UTF-8,
// more than 255 bytes (a path: 4096 bytes, 64 components), this package's own
// folder, and a name that a file system may take for another one of the same
// offer. On Windows, and on file systems that refuse the same names, characters
// such as the colon, a dot or a space at the end, and names of devices are
// replaced: "10:30" becomes "10_30". A dot at the beginning becomes "_" unless
// [ReceiveOptions].Trusted is set. Symbolic links in the destination cannot
// lead out of it ([os.Root]).
//
// # Interruptions
//
// Incomplete files are kept in the folder .sdp2p-partial of the destination,
// with a journal for each offer. The next offer with the same ID by the same
// sender (known from the stream, or named by [ReceiveOptions].From) resumes
// from there: files in their places are not sent again if their ID, size and
// time of modification are the same, and others continue after the last chunk
// that both sides have, which both hash again. No other sender can see or use
// them. They are removed after 7 days.
//
// An app need not handle interruptions: a [Transfer] sends or receives over one
// stream after another until everything has arrived, with one progress and one
// result, and [Transfers] serve the other side, without asking again:
//
//	// one side
//	transfer := block.Transfer{Open: block.To(peer, "files")}
//	result, err := transfer.Send(ctx, block.Paths("photos"), block.SendOptions{})
//
//	// the other side
//	var transfers block.Transfers
//	mux.HandleFunc("files", p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
//		result, err := transfers.Receive(ctx, s, decide, root, block.ReceiveOptions{})
//		if err == block.ErrContinued {
//			return nil // an earlier stream's call reports the transfer
//		}
//		…
//	})
//
// Once the sender has acknowledged that the receiver has everything, the
// receiver deletes its journal. If the sender is lost just before, the next
// attempt finds everything in its place and ends at once.
//
// The destination may lack file locks, hard links and fsync: see
// [Result].Lacks. Without locks, a transfer takes over the partial files of an
// earlier one even if that still runs in another process, where it then fails;
// within one process it does not.
//
// # Nothing twice
//
// For a sender that is known and trusted (From, Trusted), the receiver records
// the files that it has placed, in an index next to the partial files. A file
// that this sender offers again with the same size and time of modification,
// and that still has the size, time and number in the file system with which it
// was placed, is not sent again, and counts as [Result].Unchanged.
// [ReceiveOptions].Existing decides on files that have changed: for a file of
// more than one chunk (128 KiB, or more for large files), the sender sends the
// hashes of its chunks, and the receiver copies and verifies chunks that it
// has, in the earlier version or in any other file of that sender
// ([Result].Reused). To find them, it hashes these files, at most twice the
// bytes that the sender has sent and 1 GiB per hour; chunks beyond that are
// sent again. Bytes that move within a file are found if they move by whole
// chunks. Other files are never used: those that the user has made or edited,
// or that another sender has sent, are treated as absent, and no answer reveals
// them. If the index is lost, everything is sent again, under other names.
//
// # Parts of files
//
// The receiver may want a part ([Offer.Part]). A program that serves parts of
// files by ID reads a request of its own format, and sends that file; the
// requesting side selects the part in decide. In a library:
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
// The messages are described in docs/protocol.md. Two state machines, one for
// each side, define their order. A message without a row in its side's state is
// a violation, and ends the transfer; every order that the rows allow is legal,
// with any pause anywhere.
//
// The sender begins with its hello, in the state offering:
//
//	state      message                       next state
//	offering   folder, file, left out, packed
//	                                         offering
//	           offered                       waiting
//	waiting    (the receiver's answer)       sending
//	sending    begin                         file
//	           hashes                        told
//	           failed                        sending
//	           repair                        again, then back
//	           sent                          sent
//	told       (the receiver's claims)       file
//	           failed of this file           sending
//	file       data, hole, old               chunk
//	           end (after the last chunk)    sending
//	           failed of this file           sending
//	           failed of an earlier file     file
//	           repair                        again, then back
//	chunk      data, hole, old               chunk
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
//	           claims (after the sender's hashes)
//	                                         taking
//	           done (after the sender's sent, with no repair to come)
//	                                         listening, or ended after the last offer
//	ended      (the sender's done)           over
//
// In each state except over, each side may send keep, and abort, which is its
// last message; the receiver may report progress. Either side may send failed
// once for each wanted entry, and the sender does not begin a file that it has
// failed. If the receiver fails a file in transit, the sender soon ends that
// file with its own failed. For a file that it does not begin, the sender sends
// failed in that file's turn. The receiver may ask for a chunk of a file that
// was begun, at most three times. The sender answers each request with a
// repair, or with failed for that file if it has not sent that yet; so the
// receiver knows whether a repair is coming, even for a file that it has failed
// itself.
package block
