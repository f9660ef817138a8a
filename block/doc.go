// Package block moves files over a stream: they arrive whole and verified or not at all, and after an interruption of
// any kind the next attempt goes on where the last one ended.
//
//	result, err := block.Send(ctx, stream, block.Paths("photos", "notes.txt"), block.SendOptions{})   // one side
//
//	root, err := os.OpenRoot("Downloads")                                                              // the other one
//	ask := func(ctx context.Context, o *block.Offer) error { … }                                       // nil, or block.Refuse("no")
//	result, err := block.Receive(ctx, stream, ask, root, block.ReceiveOptions{})
//
// The stream is a *p2p.Stream between strangers, a *tunnel.Conn inside a library, or any other [net.Conn]. Each stream carries
// one transfer, and whoever opened it may be the one that sends or the one that receives.
//
// # What a receiver can rely on
//
// A file gets its final name once each of its chunks, and all of them together, have the hashes (BLAKE3) that the sender
// computed of what it read, and once its bytes are on the disk. Hashes find what disks, memory and transports do to bytes; that
// they are the sender's own is the stream's affair. A chunk that arrives otherwise is fetched again, alone, three times at most.
// A file that changes while it is sent fails, for both sides, with [ErrChanged].
//
// Nothing is overwritten: where a name is taken, a file gets another, as "a (2).txt". A crash leaves a final name with the whole
// file or none (where there are no hard links, such as on FAT, an empty file may be left; the next attempt removes it).
//
// A transfer takes 4 MiB of memory at the sender and 6 at the receiver, whatever the size of files is, plus some bytes for each
// entry of the offer. Most of it is what QUIC keeps, and garbage: where the processor is busy, up to 10 MiB were seen.
//
// # Names
//
// Names come from the network. Refused, each by itself ([File].Err), are: absolute paths and "..", colons, backslashes,
// control characters, those that turn the direction of writing, what is not UTF-8, a dot or a space at the end, devices of
// Windows, more than 255 bytes (a path: 4096 bytes, 64 components), our own folder, and what a file system may take for another
// name of the same offer. A dot at the beginning becomes "_" unless [ReceiveOptions].Trusted. Symbolic links are not sent,
// and those in the destination lead nowhere out of it ([os.Root]).
//
// # Interruptions
//
// What is not whole lies in the folder .sdp2p-partial of the destination, with a journal for each offer. The next offer with the
// same ID by the same sender (who that is, the stream knows, or [ReceiveOptions].From says) goes on from there: files that
// are in their place are not sent again if their ID, size and time of modification are the same, and others continue behind the
// last chunk that both sides have, which both hash again. No other sender can see or use it. It is removed after 7 days.
//
// A receiver that has all is told by the sender that this is known, and forgets. If the sender is lost just before it
// says so, the next attempt finds everything in its place and ends at once.
//
// # Parts of files
//
// The receiver may want a part ([Offer.Part]). A program that serves parts of files by ID reads a request of its own, and
// sends that file; whoever asked decides for the part. In a library:
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
// Messages are those of docs/protocol.md. The sender streams the offer; the receiver answers for each entry, with the
// hashes of the chunks that it has; then files follow one another without waiting, each chunk with its hash behind it, while the
// receiver tells how far it is and which chunks have to come again. It has the last word but one: all is in its place.
package block
