package p2p

// NetworkChanged tells the node that this computer's network may have changed,
// or that the app was suspended. On most systems the node notices by itself. On
// iOS and Android the app has to call NetworkChanged: whenever the system
// reports a change of the network, and each time the app returns to the
// foreground. It returns at once. A needless call costs each connection a
// packet or two.
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
