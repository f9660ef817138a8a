package p2p

// NetworkChanged tells the node that this computer's network may be another one, or
// that the app was suspended. Where the system tells a process such things, the
// node knows by itself. On iOS and Android the app calls it, when the system tells
// the app of another network and each time the app comes to the foreground again.
// It returns at once. Calling it without need costs each connection a packet or
// two.
func (n *P2P) NetworkChanged() {
	var tell []NetworkWatcher
	n.mu.Lock()
	for _, r := range n.state.hooks.running {
		if w, ok := r.hook.(NetworkWatcher); ok {
			tell = append(tell, w)
		}
	}
	n.mu.Unlock()
	for _, w := range tell {
		w.NetworkChanged()
	}
}
