// Package netlab is a laboratory for tests among several hosts: each is a
// network namespace of this computer, all are on one link without a router, and
// nothing that is sent there leaves it. It needs Linux, root and iproute2, and
// its tests run only if the environment variable SDP2P_NETTEST is set.
//
//	lab := netlab.New(t, 2)
//	a := lab.Hosts[0].Start(t, config{Name: "a"})       // runs TestNode of this test binary on the host
//	e := a.Await(time.Time{}, "available", id)          // waits until it tells that
//	r, err := netlab.Call[reply](a, "echo", args{…})    // has it do something
//	lab.Hosts[1].LinkDown()
//
// The program's side of that is a test which is skipped unless it was started
// so:
//
//	func TestNode(t *testing.T) {
//		var cfg config
//		console := netlab.Program(t, &cfg)
//		…
//		netlab.Handle(console, "echo", func(a args) (reply, error) { … })
//		console.Serve() // until the test stops it
//	}
package netlab
