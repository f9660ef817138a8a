package circuit

import "fmt"

// A Reason is why a relay refuses, for which it has the same [Status] as for
// other reasons. Only relays of this SDK name one. It is an error.
type Reason uint8

// The reasons. A refusal that has none is due to a limit of the relay as a
// whole, or its status says all.
const (
	NoReason            Reason = iota
	QuotaUsedUp                // the account has not enough bytes left for a circuit
	LedgerAway                 // the ledger does not answer, and what accounts may use meanwhile is used up
	AccountRate                // the account asks for circuits too often
	PairRate                   // the caller asks this callee too often, or in too many attempts at a time
	AccountCircuits            // the account has too many circuits
	AccountReservations        // the account has too many reservations
	RelayLeaves                // the relay is going down
	NoRight                    // the connection has shown no token with the right
)

var reasons = [...]struct{ name, cause, text string }{
	QuotaUsedUp:         {"quota used up", "relay: quota used up", "the quota of this node's account is used up"},
	LedgerAway:          {"ledger away", "relay: ledger away", "the relay cannot reach its ledger, and this node's account has used what it may meanwhile"},
	AccountRate:         {"too many requests", "relay: too many requests", "this node's account asks for circuits too often"},
	PairRate:            {"peer asked too often", "relay: peer asked too often", "this node has asked for the peer only just now"},
	AccountCircuits:     {"too many circuits", "relay: too many circuits", "this node's account has too many circuits"},
	AccountReservations: {"too many reservations", "relay: too many reservations", "this node's account has too many reservations"},
	RelayLeaves:         {"leaving", "relay: leaving", "the relay is going down"},
	NoRight:             {"token", "relay: token refused", "this node has shown no token that allows it"},
}

// known reports whether the reason has a text.
func (r Reason) known() bool { return r != NoReason && int(r) < len(reasons) }

// String names the reason in a word or two; "" for [NoReason].
func (r Reason) String() string {
	switch {
	case r == NoReason:
		return ""
	case r.known():
		return reasons[r].name
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error describes the reason.
func (r Reason) Error() string {
	if r.known() {
		return "relay: " + reasons[r].text
	}
	return "relay: " + r.String()
}

// Cause names the reason for the node's counters.
func (r Reason) Cause() string {
	if r.known() {
		return reasons[r].cause
	}
	return "relay: protocol"
}

// Err returns nil for [OK], otherwise the status, and the reason if the message
// has one that is known.
func (m Hop) Err() error {
	if m.Status == OK || !m.Reason.known() {
		return m.Status.Err()
	}
	return fmt.Errorf("%w: %w", m.Reason, m.Status)
}
