module github.com/sdp2p/p2p/internal/bench

go 1.26.0

replace github.com/sdp2p/p2p => ../..

tool github.com/tinylib/msgp

require (
	github.com/sdp2p/p2p v0.0.0
	github.com/tinylib/msgp v1.6.5
)

require (
	github.com/philhofer/fwd v1.2.0 // indirect
	golang.org/x/mod v0.18.0 // indirect
	golang.org/x/tools v0.22.0 // indirect
)
