package contact

// Turn begins another epoch, as if it were time for it.
func (c *Contacts) Turn() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.rotate(true)
}
