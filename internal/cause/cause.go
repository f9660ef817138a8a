// Package cause makes errors that name their cause in a word or two, under
// which the node counts them: see p2p.Counters.
package cause

// named is an error with a name.
type named struct{ name, text string }

// New returns an error with a cause and a text. It should use a name of package
// p2p if the cause is the same to an operator.
func New(name, text string) error { return &named{name, text} }

// Error returns the text.
func (n *named) Error() string { return n.text }

// Cause returns the name.
func (n *named) Cause() string { return n.name }
