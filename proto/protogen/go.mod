module github.com/sdp2p/p2p/proto/protogen

go 1.26.0
