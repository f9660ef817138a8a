// Package qlog writes down what happens on the QUIC connections of a node,
// packet by packet, for tools such as qvis: in qlog's format
// (draft-ietf-quic-qlog-main-schema, -quic-events), as JSON text sequences (RFC
// 7464).
//
//	listener := quic.New(quic.Config{QLog: qlog.New(func(peer identity.RemoteIdentity) io.WriteCloser {
//		f, err := os.CreateTemp(dir, peer.Host()+"-*.sqlog")
//		if err != nil {
//			return nil // no qlog of this connection
//		}
//		return f
//	})})
//
// It is for developers: each packet costs about a kilobyte, and some
// microseconds. What streams carry is not in it, and no key; addresses, sizes
// and times are. A program that does not import the package links nothing of
// it.
package qlog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/quic-go/quic-go/qlogwriter"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/qlogged"
)

const (
	maxEarly   = 64 << 10 // bytes of a trace while the peer is not known
	maxWaiting = 1 << 20  // and later, while the writer is slow
)

// New returns what is to be [quic.Config].QLog. open is called for each
// connection that the node takes, by a goroutine of its own, and says where its
// qlog is to be written; nil means that there is none. The peer is named in the
// second record. Connections whose handshake fails, those that are refused, and
// those with relays have no qlog.
//
// The writer is used by one goroutine, is given whole records, and closed after
// the connection: [p2p.P2P.Shutdown] waits for that, one second at most. A
// writer that is slow holds up nothing: of what it does not take, one MiB
// waits, and what is more is left out, which the next record says. One that
// fails, and a panic, end the qlog of that connection, and are logged.
func New(open func(peer identity.RemoteIdentity) io.WriteCloser) qlogged.Log { return maker(open) }

type maker func(identity.RemoteIdentity) io.WriteCloser

// Begin implements [qlogged.Log].
func (m maker) Begin(dialed bool, id qlogwriter.ConnectionID) qlogged.Trace {
	q := &queue{open: m, most: maxEarly, more: make(chan struct{}, 1), done: make(chan struct{})}
	t := qlogwriter.NewConnectionFileSeq(q, dialed, id)
	go t.Run() // it ends with the last producer, which the connection closes
	return &trace{t, q}
}

// A trace is one whose records go through a queue.
type trace struct {
	*qlogwriter.FileSeq
	*queue
}

// A queue takes the records of a trace, and gives them to a writer that may be
// slow. It implements [io.WriteCloser] for the encoder, which must not wait.
type queue struct {
	open maker
	more chan struct{} // of size 1: there is something to do
	done chan struct{}

	mu      sync.Mutex
	record  []byte   // that is being encoded
	waiting [][]byte // records
	size    int      // their bytes
	most    int
	lost    int  // records that did not fit
	named   bool // Open was called
	ended   bool // the connection is over
	broken  bool // nothing is wanted any more
}

// Write takes a part of a record. Each begins with the separator, which comes
// by itself.
func (q *queue) Write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b) > 0 && b[0] == qlogwriter.RecordSeparator {
		q.complete()
	}
	if !q.broken {
		q.record = append(q.record, b...)
	}
	return len(b), nil
}

// complete puts the record that is being encoded into the queue. The caller
// holds mu.
func (q *queue) complete() {
	record := q.record
	q.record = nil
	if len(record) == 0 || q.broken {
		return
	}
	if record[len(record)-1] != '\n' {
		record = append(record, '\n')
	}
	if q.size+len(record) > q.most {
		q.lost++
		return
	}
	if q.lost > 0 {
		q.put(said(fmt.Sprintf("%d records were left out: the writer is slow", q.lost)))
		q.lost = 0
	}
	q.put(record)
}

// put adds a record. The caller holds mu.
func (q *queue) put(record []byte) {
	q.waiting = append(q.waiting, record)
	q.size += len(record)
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// said returns a record with a message.
func said(message string) []byte {
	return fmt.Appendf(nil, "%c{\"time\":0,\"name\":\"loglevel:info\",\"data\":{\"message\":%q}}\n", qlogwriter.RecordSeparator, message)
}

// Close says that the connection is over.
func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.complete()
	if q.ended = true; !q.named {
		q.broken, q.waiting = true, nil
		close(q.done)
	}
	select {
	case q.more <- struct{}{}:
	default:
	}
	return nil
}

// Done implements [qlogged.Trace].
func (q *queue) Done() <-chan struct{} { return q.done }

// Open implements [qlogged.Trace].
func (q *queue) Open(peer identity.RemoteIdentity, failed func(error)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.named || q.broken {
		return
	}
	q.named, q.most = true, maxWaiting
	if len(q.waiting) == 0 {
		q.complete() // the header, which comes as a whole
	}
	name := said("peer " + peer.String())
	q.waiting = slices.Insert(q.waiting, min(1, len(q.waiting)), name)
	q.size += len(name)
	go q.write(peer, failed)
}

// write opens the writer, and gives it what there is until the connection is
// over, or the writer fails.
func (q *queue) write(peer identity.RemoteIdentity, failed func(error)) {
	defer close(q.done)
	err := errExited
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("qlog: the app's function has panicked: %v", v)
		}
		q.mu.Lock()
		q.broken, q.waiting, q.record = true, nil, nil
		q.mu.Unlock()
		if err != nil {
			failed(err)
		}
	}()
	err = q.serve(peer)
}

var errExited = errors.New("qlog: the app's function has ended its goroutine")

func (q *queue) serve(peer identity.RemoteIdentity) (err error) {
	w := q.open(peer)
	if w == nil {
		return nil
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for {
		records, ended := q.take()
		for _, r := range records {
			if _, err := w.Write(r); err != nil {
				return err
			}
			q.mu.Lock()
			q.size -= len(r)
			q.mu.Unlock()
		}
		switch {
		case len(records) > 0:
		case ended:
			return nil
		default:
			<-q.more
		}
	}
}

// take returns the records that wait, and whether there will be no more.
func (q *queue) take() (records [][]byte, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	records, q.waiting = q.waiting, nil
	return records, q.ended
}
