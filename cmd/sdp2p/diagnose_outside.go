package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

// outsideChecks returns the checks of the world beyond the local network.
func (f *facts) outsideChecks() (checks []check) {
	o := f.outside
	if o == nil {
		return nil
	}
	for _, t := range o.tokens {
		checks = append(checks, o.tokenCheck(&t))
	}
	if o.startErr != nil {
		return append(checks, check{"relay", "", fail, codeRefused, fmt.Sprintf("no relay was tried: %v", o.startErr), "The system refuses a socket: see the lines about the port."})
	}
	for _, s := range o.relays {
		checks = append(checks, f.relayCheck(&s))
	}
	if len(o.relays) > 0 {
		checks = append(checks, f.natCheck())
	}
	if o.far != nil {
		checks = append(checks, f.pathCheck(o.far))
	}
	return checks
}

// tokenCheck says what a token allows, according to its contents.
func (o *outsideFacts) tokenCheck(t *tokenFacts) check {
	c := check{"token", t.file, fail, codeNoToken, "", ""}
	if t.err != nil {
		c.Value = t.err.Error()
		c.Advice = "A token is one line that begins with sdp2pr1:. The operator of the relay issues it for this node."
		return c
	}
	node := o.node
	if !o.known {
		node = t.token.Node // there is nothing to compare it with
	}
	var status token.Status
	for _, s := range o.relays {
		rules := token.Rules{Relay: s.Server.Identity, Trusted: func(identity.RemoteIdentity) bool { return true }}
		if status = rules.Verify(t.token, node, o.now); status == token.OK {
			break
		}
	}
	if status != token.OK {
		o.explainToken(status, &t.token, &c)
		return c
	}
	c.Verdict, c.Code = fine, codeOK
	whose := "for this node"
	if !o.known {
		c.Verdict, c.Code = warn, codeTokenNode
		whose = fmt.Sprintf("for the node %v, whose key the doctor does not have", t.token.Node)
		c.Advice = "It was shown to no relay. To show it, use --key with the app's key file."
	}
	c.Value = fmt.Sprintf("valid until %s (%v more), %s, which %s, at %s of the issuer %v",
		t.token.Expiry.UTC().Format(time.RFC3339), t.token.Expiry.Sub(o.now).Truncate(time.Minute), whose, mayDo(t.token.Rights), whichRelays(t.token.Relay), t.token.Issuer)
	return c
}

// mayDo describes rights.
func mayDo(r token.Rights) string {
	switch r {
	case token.Reserve:
		return "may be called but not call"
	case token.Connect:
		return "may call but not be called"
	}
	return "may be called and call"
}

func whichRelays(id identity.RemoteIdentity) string {
	if id.IsZero() {
		return "each relay"
	}
	return fmt.Sprintf("the relay %v", id)
}

// explainToken says why a token is not accepted, and what to do. t is nil if it
// is unknown which token it was.
func (o *outsideFacts) explainToken(status token.Status, t *token.Token, c *check) {
	say := func(code code, value, advice string) { c.Code, c.Value, c.Advice = code, value, advice }
	another := fmt.Sprintf("Have the issuer make another one: sdp2p relay token --node %v …", o.node)
	switch status {
	case token.AnotherNode:
		say(codeTokenNode, fmt.Sprintf("it is another node's: this one is %v", o.node), another+" Or is --key the file of another app?")
	case token.AnotherRelay:
		say(codeTokenRelay, "it is for another relay", another+" Without --relay it is for all relays that trust the issuer.")
	case token.Expired:
		say(codeTokenTime, "it has expired, or is not yet valid", another+" It is valid for a day at most: the app's server makes one each day. Or a clock is wrong, this host's, the issuer's or the relay's.")
	case token.UnknownIssuer:
		say(codeTokenIssuer, "the relay does not know the issuer", "The relay's configuration needs a line \"issuer = KEY\". Or the token is for other relays.")
	case token.Revoked:
		say(codeTokenRevoked, "the issuer has revoked it", another+" Its serial number must not be in the relay's list.")
	case token.QuotaExhausted:
		say(codeQuota, "the account has used up its quota", "Wait for the next period, or give the account more. \"sdp2p relay usage\" at the relay shows its use.")
	default:
		say(codeTokenAltered, status.String(), "It was altered or truncated: copy it again.")
	}
	if t == nil {
		return
	}
	switch status {
	case token.AnotherNode:
		c.Value = fmt.Sprintf("it is for the node %v, but this one is %v", t.Node, o.node)
	case token.AnotherRelay:
		c.Value = fmt.Sprintf("it is for the relay %v, which is not among those of --relay", t.Relay)
	case token.Expired:
		c.Value = fmt.Sprintf("it was valid from %s to %s", t.NotBefore.UTC().Format(time.RFC3339), t.Expiry.UTC().Format(time.RFC3339))
		if o.now.Before(t.NotBefore) {
			c.Value = fmt.Sprintf("it is valid from %s on, but this host's clock says %s", t.NotBefore.UTC().Format(time.RFC3339), o.now.UTC().Format(time.RFC3339))
		}
	}
}

// lacks reports whether tokens were shown, none of which gives a right.
func (o *outsideFacts) lacks(right token.Rights) bool {
	given := func(t tokenFacts) bool { return t.err == nil && t.token.Rights&right != 0 }
	return o.known && len(o.tokens) > 0 && !slices.ContainsFunc(o.tokens, given)
}

// relayCheck says whether a relay accepts this node.
func (f *facts) relayCheck(s *relay.Status) check {
	o := f.outside
	c := check{"relay", s.Server.Addrs[0].String(), fail, codeRelayFails, "", ""}
	var status token.Status
	var refusal circuit.Status
	switch {
	case s.State == relay.Ready:
		c.Verdict, c.Code = fine, codeOK
		c.Value = fmt.Sprintf("this node can be called through it: reserved, round trip %v", round(s.RTT))
	case errors.Is(s.Err, relay.ErrNoToken) && !o.known:
		c.Verdict, c.Code, c.Value = warn, codeTokenWanted, "it answers, but requires a token"
		c.Advice = "To show it the app's token, use --token and --key, the app's key file."
	case errors.Is(s.Err, relay.ErrNoToken):
		c.Code, c.Value = codeTokenWanted, "it answers, but requires a token"
		c.Advice = fmt.Sprintf("Its operator makes one for this node: sdp2p relay token --node %v …; the app shows it with relay.Config.Tokens, the doctor with --token.", o.node)
	case errors.As(s.Err, &status):
		o.explainToken(status, nil, &c)
		c.Value = "it answers, but refuses the token: " + c.Value
	case errors.As(s.Err, &refusal) && o.lacks(token.Reserve):
		c.Verdict, c.Code, c.Value = warn, codeTokenRights, "this node can call through it, but not be called: the token does not have that right"
		c.Advice = "For devices that are called: sdp2p relay token --rights reserve,connect …"
	case errors.As(s.Err, &refusal):
		c.Code, c.Value = codeRelayRefuses, fmt.Sprintf("it answers, but refuses a reservation: %v", refusal)
		c.Advice = "Its limits are reached, in total or for this account or address, or it accepts nobody: its log and metrics say which."
	case s.Err == nil, isSilence(s.Err):
		c.Code, c.Value = codeRelaySilent, fmt.Sprintf("no answer (%v)", s.State)
		c.Advice = fmt.Sprintf("Does the relay run, and is that its address? The firewalls there and here have to let UDP port %d through: sdp2p doctor %v tells more.", s.Server.Addrs[0].Port(), s.Server.Addrs[0])
	case errors.Is(s.Err, quic.ErrOtherPeer):
		c.Value = "another relay or node is there"
		c.Advice = "Is the KEY right? \"sdp2p id relay-state/relay.pem\" at the relay shows it."
	default:
		c.Value = s.Err.Error()
		c.Advice = fmt.Sprintf("Is it a relay, and is that its key? sdp2p doctor %v tells more of the way there.", s.Server.Addrs[0])
	}
	if s.Observed.IsValid() {
		c.Value += fmt.Sprintf("; it sees this host at %v", s.Observed)
	}
	if s.BytesLeft >= 0 && s.State == relay.Ready {
		c.Value += fmt.Sprintf("; %d bytes are left in this period", s.BytesLeft)
	}
	return c
}

// natCheck says how the router maps ports.
func (f *facts) natCheck() check {
	c := check{"nat", "", fine, codeOK, "", ""}
	kind, seen := f.nat()
	switch {
	case kind == noNAT:
		c.Value = fmt.Sprintf("none: relays see this host's own address, %v", seen[0].Addr())
	case kind == coneNAT:
		c.Value = fmt.Sprintf("cone: two relays see %v, the same port", seen[0])
	case kind == symmetricNAT:
		c.Verdict, c.Code = warn, codeSymmetric
		c.Value = "symmetric: the router uses another port for each destination: " + joined(seen)
		c.Advice = fmt.Sprintf("Peers whose router does so, too, or lets nobody in, are reached only through relays. "+
			"relay.Config.MapPorts asks the router for a port, if it has PCP or NAT-PMP; or have it forward UDP port %d.", f.port)
	case len(seen) == 0:
		c.Value, c.Advice = "unknown: no relay says where it sees this host", "libp2p's relays do not. Name two of this module, with --relay."
	default:
		c.Value = fmt.Sprintf("unknown: only one relay sees %v", seen[0])
		c.Advice = "A second one, at another IP address, is needed to tell whether the router uses another port for each destination: name it with --relay."
	}
	return c
}

func joined(addrs []netip.AddrPort) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}

// pathCheck says how a peer is reached from outside its network, and why not
// directly.
func (f *facts) pathCheck(p *farFacts) check {
	c := check{"path", p.peer.String(), fail, codeUncalled, "", ""}
	if p.err != nil {
		f.explainUncalled(p, &c)
		return c
	}
	c.Verdict, c.Code = fine, codeOK
	c.Value = fmt.Sprintf("reached through a relay in %v", round(p.took))
	if p.path.Kind != p2p.Relay {
		c.Value += fmt.Sprintf(", then directly, at %v", p.path.Remote)
		return c
	}
	c.Verdict, c.Code = warn, codeRelayed
	c.Value += fmt.Sprintf(", %v, but not directly: ", p.path.Remote)
	f.explainRelayed(&p.upgrade, &c)
	return c
}

// explainUncalled says why a peer is not reached through relays.
func (f *facts) explainUncalled(p *farFacts, c *check) {
	var refusal circuit.Status
	o := f.outside
	ready := slices.ContainsFunc(o.relays, func(s relay.Status) bool { return s.State == relay.Ready || s.State == relay.Connected })
	switch {
	case errors.Is(p.err, p2p.ErrSelf):
		c.Value, c.Advice = "this is the node of --key", "Name the other one."
	case o.lacks(token.Connect):
		c.Code, c.Value = codeTokenRights, "not called: the token does not let this node call"
		c.Advice = "sdp2p relay token --rights reserve,connect …"
	case errors.Is(p.err, circuit.QuotaUsedUp):
		o.explainToken(token.QuotaExhausted, nil, c)
	case errors.As(p.err, &refusal) && (refusal == circuit.NoReservation || refusal == circuit.ConnectionFailed || refusal == circuit.PermissionDenied):
		c.Value = "it has no reservation at the relays, or does not accept this node's calls"
		c.Advice = "Is it on, and does it use one of these relays? It has to have the same account as this node. Run the doctor there, with --relay."
	case !ready:
		c.Value, c.Advice = "no relay works", "See the lines about relays."
	case isSilence(p.err), errors.Is(p.err, context.DeadlineExceeded):
		c.Value = "it was called, but does not answer"
		c.Advice = "It may have just gone. Run the doctor there, with --relay."
	default:
		c.Value, c.Advice = p.err.Error(), "Run the doctor there, with --relay."
	}
}

// explainRelayed says why a connection stays relayed.
func (f *facts) explainRelayed(u *relay.Upgrade, c *check) {
	kind, _ := f.nat()
	switch {
	case errors.Is(u.Err, relay.ErrNotBegun) && !f.outside.known:
		c.Value += "the peer tells its addresses only to nodes that it knows, and it does not know the doctor's"
		c.Advice = "With --key, the app's key file, the doctor is the app, which the peer knows."
	case errors.Is(u.Err, relay.ErrNotBegun):
		c.Value += "the peer has not begun to look for another path"
		c.Advice = "It does not track this node (are both members of one library?), or it has relay.Config.Only, or waits after failed attempts, in the end for an hour."
	case errors.Is(u.Err, relay.ErrOneSided):
		c.Value += "the peer keeps its addresses to itself"
		c.Advice = "It has relay.Config.Only, or runs other software."
	case len(u.Answered) > 0:
		c.Value += fmt.Sprintf("%s answers, but the connection did not move there", joined(u.Answered))
		c.Advice = "Does a firewall pass small packets, but not those of 1200 bytes? Try again."
	case errors.Is(u.Err, relay.ErrNoDirectPath) && len(u.Tried) == 0:
		c.Value += "the peer has named no address that could be reached from here"
		c.Advice = "It is in a private network, and no relay has told it its address outside: run the doctor there, with --relay."
	case errors.Is(u.Err, relay.ErrNoDirectPath):
		c.Value += fmt.Sprintf("none of its %s answers: %s", text.Count(len(u.Tried), "address", "addresses"), joined(u.Tried))
		c.Advice = "One of the two routers, or firewalls, lets nobody in and uses another port for each destination. Run the doctor there, with two relays, to see its NAT; relay.Config.MapPorts on one side is enough."
		if kind == symmetricNAT {
			c.Advice = "This host's router uses another port for each destination: see the line about it."
		}
	case u.Err == nil:
		c.Value += "an attempt has not ended yet"
		c.Advice = "Try again, with more --time."
	default:
		c.Value += u.Err.Error()
		c.Advice = "Try again, with more --time."
	}
}
