package roaming

const note = `
Hosts are network namespaces of this machine, and nodes are processes of their own (internal/nettest). On a stream a byte goes
there and back, and 10 ms later again. A figure is the time from before the program is started that sets the new address, or
changes the route, until an echo is back that was not before: some 3 ms of it are that program's, and 20 ms our node's, which
waits for all that belongs to one change. Where a row has several moves, it is the worst of them. One stream that ends is a run that
failed; it is not in the figure beside.

The dialer is the side that had made the connection: it alone can move it (RFC 9000 §9). The listener tells its peer where it is, or
discovery does. Away means without any address for so long. After 14 s, one more than a connection lives without hearing anything,
streams have to end; the figure is the time until the peer is found and answers on a new stream. A process is stopped by SIGSTOP: after
3 s its stream goes on; after 30 s and 90 s the peer has given up, and the figure is the time until the woken side knows that its old
streams are dead and has exchanged bytes on a new one. A restarted peer is killed, and starts anew: from its first announcement until
it answers.

Silence: the network on which the connection runs drops everything, and nobody is told; the peer has an address on another one. The
first second is what silence takes to be suspect. Silent gateway: the same, and then the route leads over the other network, while
the interface of the first keeps its address. Bulk: 128 MiB in each direction at once, compared byte by byte, and four moves
200 ms apart, without an address for 200 ms each; the stream with the echoes is a second one of the same connection.

The others are one stream of a connection of quic-go, and of a host of go-libp2p with its QUIC transport, as their documentation makes them; the
same echoes and the same change of address, five times. Ends means that reading or writing fails, so long after the address went
away; both can connect anew then, and the application has to resume.

The socket: 16 MiB over a connection of quic-go, in turns with Sockets of internal/carrier and with bare ones at both ends,
BenchmarkBulk of that package.
`

// A row is one of the table.
type row struct {
	what, name string  // name is the test's
	goal       float64 // milliseconds, if not zero; of each run
}

// rows are those of the tests, in the order of the table.
var rows = []row{
	{"dialer's address changes, away for 0 s", "address, dialer, 0s", 100},
	{"… 1 s", "address, dialer, 1s", 100},
	{"… 6 s", "address, dialer, 6s", 100},
	{"… 12 s", "address, dialer, 12s", 0},
	{"… 14 s: until the peer answers again", "address, dialer, 14s", 0},
	{"listener's address changes, away for 0 s", "address, listener, 0s", 1000},
	{"… 1 s", "address, listener, 1s", 1000},
	{"… 6 s", "address, listener, 6s", 1000},
	{"… 12 s", "address, listener, 12s", 0},
	{"… 14 s: until the peer answers again", "address, listener, 14s", 0},
	{"both addresses change at once", "both at once", 0},
	{"dialer's interface changes, the first goes", "interface, the first goes", 100},
	{"… the first stays", "interface, the first stays", 100},
	{"silent gateway, dialer's", "silent gateway, dialer", 100},
	{"… listener's", "silent gateway, listener", 1000},
	{"silence, the peer has another address", "silence", 2000},
	{"20 moves in a row, dialer: the worst", "20 moves, dialer", 0},
	{"… listener", "20 moves, listener", 0},
	{"50 connections, dialer of all: the last of them", "50 connections, dialer", 0},
	{"… listener of all", "50 connections, listener", 0},
	{"… 50 listeners on one host", "50 connections, 50 listeners", 0},
	{"bulk both ways, dialer: the worst of 4 moves", "bulk, dialer", 0},
	{"… listener", "bulk, listener", 0},
	{"process stopped for 3 s, dialer", "stopped, dialer, 3s", 3000},
	{"… listener", "stopped, listener, 3s", 3000},
	{"… 30 s, dialer", "stopped, dialer, 30s", 3000},
	{"… 30 s, listener", "stopped, listener, 30s", 3000},
	{"… 90 s, dialer", "stopped, dialer, 1m30s", 3000},
	{"… 90 s, listener", "stopped, listener, 1m30s", 3000},
	{"peer restarted, same port", "restarted, same port", 1000},
	{"… another port", "restarted, another port", 1000},
	{"… same port, it had dialed", "restarted, same port, it had dialed", 1000},
	{"… another port, it had dialed", "restarted, another port, it had dialed", 1000},
}

// peers are the others.
var peers = []string{quicGo, goLibp2p}

const (
	quicGo   = "quic-go"
	goLibp2p = "go-libp2p"
)

// nameOf returns the name of a row of a peer.
func nameOf(row, peer string) string { return row + "; " + peer }
