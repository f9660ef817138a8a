package call

// Known returns the number of peers whose version is remembered.
func (v *Versioned) Known() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.known)
}
