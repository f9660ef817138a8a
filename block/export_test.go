package block

// SetFaults has the destination of a transfer fail: see newVolume.
func (o *ReceiveOptions) SetFaults(f func(op, name string) error) { o.faults = f }
