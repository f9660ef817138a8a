package call

// Known returns of how many peers the version is remembered.
func (v *Versioned) Known() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.known)
}
