package block

import "time"

// SetFaults has the destination of a transfer fail: see newVolume.
func (o *ReceiveOptions) SetFaults(f func(op, name string) error) { o.faults = f }

// On a busy machine the sender's last word takes its time, and many tests look at
// what is left afterwards. Where it does not come, the stream has ended.
func init() { farewellOfSender = time.Minute }
