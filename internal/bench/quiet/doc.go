// Package quiet measures what an idle node does: how often it wakes, and what
// CPU that takes.
package quiet
