// Package browsertest tests the page of package debugpage in a browser. It is a
// module of its own, so that apps need no browser's driver. Its tests run with
// SDP2P_NETTEST=1, as root, in a network namespace that has nothing but
// loopback, and need the program chromium (Debian's package of that name).
package browsertest
