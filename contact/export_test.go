package contact

// Turn begins another epoch, as when it is time.
func (c *Contacts) Turn() {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.rotate(true)
}
