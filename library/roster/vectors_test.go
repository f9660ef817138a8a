package roster

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

var writeVectors = flag.Bool("vectors", false, "write testdata anew")

// vectors requires that a file in testdata equals made, or writes it, and
// returns its content.
func vectors[T any](t *testing.T, name string, made []T) (read []T) {
	path := filepath.Join("testdata", name)
	b, err := json.MarshalIndent(made, "", "  ")
	require.NoError(t, err)
	if *writeVectors {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, append(b, '\n'), 0o644))
	}
	stored, err := os.ReadFile(path)
	require.NoError(t, err)
	require.JSONEq(t, string(stored), string(b))
	require.NoError(t, json.Unmarshal(stored, &read))
	return read
}

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// A statementVector is a statement, field by field, with the values that are
// derived from it.
type statementVector struct {
	What         string    `json:"what"`
	Founder      hexBytes  `json:"founder_seed"`
	Signer       hexBytes  `json:"signer_seed"`
	Node         hexBytes  `json:"node_seed,omitempty"` // only of a move
	Kind         uint8     `json:"kind"`
	Library      uuid.UUID `json:"library"`
	Counter      uint32    `json:"counter"`
	Previous     hexBytes  `json:"previous"`
	Time         int64     `json:"time"`
	Body         hexBytes  `json:"body"`
	Bytes        hexBytes  `json:"bytes"`
	Text         string    `json:"text"`
	Hash         hexBytes  `json:"hash"`
	UnsignedHash hexBytes  `json:"unsigned_hash"`
}

func (w *world) seed(name string) hexBytes { return w.key(name).PrivateKey().Seed() }

// kinds returns a statement of each kind.
func kinds(t *testing.T) (all []statementVector) {
	w := newWorld(t)
	add := func(what, signer, node string, body Body) {
		s, err := w.r.Draft(w.id(signer), body, epoch)
		require.NoError(t, err)
		if body == nil {
			s.Kind, s.Body = 200, []byte("later")
		}
		v := statementVector{What: what, Founder: w.seed("founder"), Signer: w.seed(signer)}
		if node != "" {
			v.Node = w.seed(node)
		}
		w.sign(signer, s)
		s, _ = w.r.Statement(w.last(signer))
		v.Kind, v.Library, v.Counter, v.Time, v.Body = uint8(s.Kind), s.Library, s.Counter, s.Time, s.Body
		v.Previous = s.Previous[:]
		b, err := s.AppendBinary(nil)
		require.NoError(t, err)
		text, err := s.MarshalText()
		require.NoError(t, err)
		h, u := s.Hash(), s.UnsignedHash()
		v.Bytes, v.Text, v.Hash, v.UnsignedHash = b, string(text), h[:], u[:]
		all = append(all, v)
	}
	add("an add as admin", "founder", "", Add{Instance: w.id("ann"), Role: RoleAdmin, Name: "Ann’s laptop"})
	add("number 1: a move", "ann", "ann node", w.move("ann"))
	add("an add as member, without a name", "ann", "", Add{Instance: w.id("bob"), Role: RoleMember})
	add("number 1 of a member", "bob", "bob node", w.move("bob"))
	add("a move to another node", "bob", "bob new", w.home("bob", "bob new", 2))
	add("the founder's move to the zero node", "founder", "", Move{})
	draft := w.draft("ann", Remove{Instance: w.id("bob"), Last: w.last("bob")})
	add("an endorsement, before what it endorses", "founder", "", Endorse{draft.UnsignedHash()})
	add("a removal", "ann", "", Remove{Instance: w.id("bob"), Last: w.last("bob")})
	add("a removal that leaves nothing", "founder", "", Remove{Instance: w.id("cid")})
	add("a secret", "ann", "", Secret{Number: 1, Hash: HashSecret([32]byte{1, 2, 3})})
	return all
}

// TestStatementVectors makes each kind of statement from its seeds, and once
// more from the documented layout alone.
func TestStatementVectors(t *testing.T) {
	for _, v := range vectors(t, "statements.json", kinds(t)) {
		t.Run(v.What, func(t *testing.T) {
			founder, signer := ed25519.NewKeyFromSeed(v.Founder), ed25519.NewKeyFromSeed(v.Signer)
			founderKey, signerKey := founder[32:], signer[32:]
			if v.Node != nil {
				node := ed25519.NewKeyFromSeed(v.Node)
				b := append([]byte("sdp2p-roster-move\x00"), founderKey...)
				b = append(append(b, v.Library[:]...), signerKey...)
				b = append(binary.LittleEndian.AppendUint32(b, v.Counter), node[32:]...)
				require.Equal(t, []byte(v.Body), append([]byte(node[32:]), ed25519.Sign(node, b)...))
			}
			b := append([]byte{v.Kind}, v.Library[:]...)
			b = binary.LittleEndian.AppendUint32(append(b, signerKey...), v.Counter)
			b = binary.LittleEndian.AppendUint64(append(b, v.Previous...), uint64(v.Time))
			b = append(binary.LittleEndian.AppendUint16(b, uint16(len(v.Body))), v.Body...)
			unsigned := sha256.Sum256(b)
			require.Equal(t, []byte(v.UnsignedHash), unsigned[:])
			b = append(b, ed25519.Sign(signer, append(append([]byte("sdp2p-roster-v1\x00"), founderKey...), b...))...)
			require.Equal(t, []byte(v.Bytes), b)
			hash := sha256.Sum256(b)
			require.Equal(t, []byte(v.Hash), hash[:])

			var s, o Statement
			require.NoError(t, s.DecodeFrom(proto.NewDecoder(bytes.NewReader(v.Bytes))))
			require.NoError(t, o.UnmarshalText([]byte(v.Text)))
			require.Equal(t, s, o)
			id, err := identity.FromBytes(founderKey)
			require.NoError(t, err)
			require.NoError(t, s.Verify(id))
			require.NotNil(t, s.Parse(id))
			require.Equal(t, Hash(v.Hash), s.Hash())
		})
	}
}

// A refusalSet is a roster, and statements that it refuses, or that have no
// effect on it.
type refusalSet struct {
	Library    uuid.UUID               `json:"library"`
	Founder    identity.RemoteIdentity `json:"founder"`
	Known      Statements              `json:"known"`
	Statements []refusal               `json:"statements"`
}

type refusal struct {
	What  string   `json:"what"`
	Bytes hexBytes `json:"bytes,omitempty"`
	Text  string   `json:"text,omitempty"`
	Error string   `json:"error"` // empty: the statement is kept, and has no effect
}

// result returns how the roster treats the statement.
func (v *refusal) result(t *testing.T, set *refusalSet) string {
	r := New(set.Library, set.Founder)
	_, err := r.Add(set.Known...)
	require.NoError(t, err)
	require.Equal(t, len(set.Known), r.Len())
	var s Statement
	if v.Text != "" {
		err = s.UnmarshalText([]byte(v.Text))
	} else {
		err = s.DecodeFrom(proto.NewDecoder(bytes.NewReader(v.Bytes)))
	}
	if err == nil {
		_, err = r.Add(s)
	}
	switch {
	case errors.Is(err, ErrInvalid):
		return "invalid"
	case errors.Is(err, ErrOtherLibrary):
		return "another library"
	case errors.Is(err, ErrNoPredecessor):
		return "no predecessor"
	case err != nil:
		require.Nil(t, r.known.nodes[s.Hash()])
		return "cut short"
	}
	require.NotNil(t, r.known.nodes[s.Hash()], "the statement is kept")
	require.Nil(t, r.known.nodes[s.Hash()].body, "the statement has no effect")
	return ""
}

// signed returns a statement of a signer, altered before it is signed.
func (w *world) signed(signer string, alter func(*Statement)) []byte {
	s := w.draft(signer, Remove{Instance: w.id("cid")})
	alter(&s)
	return w.signedBy(signer, s, s.signed(w.founder.Remote()))
}

// signedBy returns a statement whose signature is by a given name, over given
// bytes.
func (w *world) signedBy(signer string, s Statement, over []byte) []byte {
	copy(s.Signature[:], ed25519.Sign(w.key(signer).PrivateKey(), over))
	return append(s.appendUnsigned(nil), s.Signature[:]...)
}

// refusals returns statements that are refused, and others that have no effect.
func refusals(t *testing.T) refusalSet {
	w := newWorld(t)
	w.join("founder", "ann", RoleAdmin)
	w.say("founder", Add{Instance: w.id("bob"), Role: RoleMember})
	w.join("ann", "cid", RoleMember)
	all := refused(w)
	for _, v := range nothings(w) {
		all = append(all, refusal{What: v.what, Bytes: w.signed(cmp.Or(v.signer, "ann"), func(s *Statement) { s.Kind, s.Body = v.kind, v.body(s) })})
	}
	set := refusalSet{w.r.Library(), w.founder.Remote(), w.r.All(), all}
	for i := range all {
		all[i].Error = all[i].result(t, &set)
	}
	return set
}

// refused returns statements that are refused.
func refused(w *world) []refusal {
	sign, founder := w.signed, w.founder.Remote()
	draft := w.draft("ann", Remove{Instance: w.id("cid")})
	good := sign("ann", func(*Statement) {})
	large, weak := bytes.Clone(good), bytes.Clone(good)
	large[len(large)-1] ^= 0x40 // S is not below the group's order any more
	copy(weak[17:], make([]byte, identity.Size))
	b, err := w.r.known.order[0].MarshalText()
	require.NoError(w.t, err)
	text := string(b)
	return []refusal{
		{What: "the last byte is missing", Bytes: good[:len(good)-1]},
		{What: "nothing", Bytes: []byte{}},
		{What: "the library is another one", Bytes: sign("ann", func(s *Statement) { s.Library[0]++ })},
		{What: "its predecessor is not known", Bytes: sign("ann", func(s *Statement) { s.Previous[0]++ })},
		{What: "its predecessor is somebody else's", Bytes: sign("ann", func(s *Statement) {
			s.Counter, s.Previous = 2, w.r.known.order[0].hash
		})},
		{What: "its predecessor has another number", Bytes: sign("ann", func(s *Statement) { s.Counter++ })},
		{What: "number 1 has a predecessor", Bytes: sign("ann", func(s *Statement) { s.Counter = 1 })},
		{What: "number 2 has none", Bytes: sign("ann", func(s *Statement) { s.Counter, s.Previous = 2, Hash{} })},
		{What: "number 0", Bytes: sign("ann", func(s *Statement) { s.Counter, s.Previous = 0, Hash{} })},
		{What: "kind 0", Bytes: sign("ann", func(s *Statement) { s.Kind = 0 })},
		{What: "a body of 513 bytes", Bytes: sign("ann", func(s *Statement) { s.Body = make([]byte, MaxBody+1) })},
		{What: "signed by somebody else", Bytes: w.signedBy("cid", draft, draft.signed(founder))},
		{What: "signed for another founder", Bytes: w.signedBy("ann", draft, draft.signed(w.id("zoe")))},
		{What: "signed for another use", Bytes: w.signedBy("ann", draft, draft.appendUnsigned(nil))},
		{What: "a signature that is not canonical", Bytes: large},
		{What: "a signer of small order", Bytes: weak},
		{What: "padded base64", Text: text + "="},
		{What: "a line break", Text: text[:8] + "\n" + text[8:]},
		{What: "a byte behind it", Text: text + "AA"},
	}
}

type nothing struct {
	what, signer string
	kind         Kind
	body         func(s *Statement) []byte
}

// nothings returns bodies that have no effect.
func nothings(w *world) []nothing {
	is := func(b []byte, err error) func(*Statement) []byte {
		require.NoError(w.t, err)
		return func(*Statement) []byte { return b }
	}
	key := func(name string) []byte { return appendKey(nil, w.id(name)) }
	zero := make([]byte, 32)
	add := func(role byte, name string) []byte {
		b, err := proto.AppendString(append(key("dan"), role), name)
		require.NoError(w.t, err)
		return b
	}
	home := func(s *Statement) []byte {
		b, err := w.home("ann", "ann new", s.Counter).appendTo(nil)
		require.NoError(w.t, err)
		return b
	}
	return []nothing{
		{"a kind that is not known", "", 6, is([]byte("later"), nil)},
		{"number 1 that is no move", "bob", KindRemove, is(Remove{Instance: w.id("bob")}.appendTo(nil))},
		{"an add without a role", "", KindAdd, is(add(0, ""), nil)},
		{"an add with role 3", "", KindAdd, is(add(3, ""), nil)},
		{"an add with a name of 256 bytes", "", KindAdd, is(add(1, string(make([]byte, 256))), nil)},
		{"an add with a name that is not UTF-8", "", KindAdd, is(append(add(1, "abcd")[:35], "ab\xffd"...), nil)},
		{"an add with a byte behind it", "", KindAdd, is(append(add(1, "dan"), 0), nil)},
		{"an add of a key of small order", "", KindAdd, is(append(append(bytes.Clone(zero), 1), 0, 0), nil)},
		{"an add that is cut short", "", KindAdd, is(add(1, "dan")[:36], nil)},
		{"a move that the node has not signed", "", KindMove, func(s *Statement) []byte { b := home(s); b[40]++; return b }},
		{"a move with another number", "", KindMove, func(s *Statement) []byte { s2 := *s; s2.Counter++; return home(&s2) }},
		{"a member's move to the zero node", "", KindMove, is(zero, nil)},
		{"a move to the zero node with a signature", "founder", KindMove, is(make([]byte, 96), nil)},
		{"a move to a node of small order", "", KindMove, is(append(append([]byte{1}, zero[1:]...), make([]byte, 64)...), nil)},
		{"a move without a signature", "", KindMove, is(key("ann new"), nil)},
		{"a removal that is cut short", "", KindRemove, is(key("cid"), nil)},
		{"a removal with a byte behind it", "", KindRemove, is(append(key("cid"), make([]byte, 33)...), nil)},
		{"a removal of a key of small order", "", KindRemove, is(make([]byte, 64), nil)},
		{"an endorsement that is cut short", "", KindEndorse, is(zero[:31], nil)},
		{"an endorsement with a byte behind it", "", KindEndorse, is(make([]byte, 33), nil)},
		{"a secret that is cut short", "", KindSecret, is(make([]byte, 39), nil)},
		{"a secret with a byte behind it", "", KindSecret, is(make([]byte, 41), nil)},
	}
}

// TestRefusals: the statements that are refused, with their errors, and those
// that are kept and have no effect.
func TestRefusals(t *testing.T) {
	results := map[string]int{}
	for _, set := range vectors(t, "refusals.json", []refusalSet{refusals(t)}) {
		for _, v := range set.Statements {
			require.Equal(t, v.Error, v.result(t, &set), v.What)
			results[v.Error]++
		}
	}
	require.Equal(t, map[string]int{"invalid": 12, "another library": 1, "no predecessor": 4, "cut short": 2, "": 22}, results)
}

// A rosterVector is a set of statements and their outcome.
type rosterVector struct {
	What       string                    `json:"what"`
	Library    uuid.UUID                 `json:"library"`
	Founder    identity.RemoteIdentity   `json:"founder"`
	Statements Statements                `json:"statements"`
	Members    []memberVector            `json:"members"`
	Former     []memberVector            `json:"former"`
	Removals   []removalVector           `json:"removals"` // in the order in which they were taken
	Secrets    []secretVector            `json:"secrets"`  // the present one last
	Forked     []identity.RemoteIdentity `json:"forked"`
}

type memberVector struct {
	Instance identity.RemoteIdentity `json:"instance"`
	Node     identity.RemoteIdentity `json:"node"`
	Role     Role                    `json:"role"`
	Name     string                  `json:"name"`
	Added    int64                   `json:"added"`
	By       identity.RemoteIdentity `json:"by"`
}

type removalVector struct {
	Instance identity.RemoteIdentity `json:"instance"`
	By       identity.RemoteIdentity `json:"by"`
	Last     hexBytes                `json:"last"`
	At       int64                   `json:"at"`
	Hash     hexBytes                `json:"hash"`
}

type secretVector struct {
	Number uint64   `json:"number"`
	Hash   hexBytes `json:"hash"`
}

// vectorOf returns the outcome of a roster's statements.
func vectorOf(what string, r *Roster) rosterVector {
	v := r.View()
	vector := rosterVector{What: what, Library: r.Library(), Founder: r.Founder(), Statements: r.All(), Forked: v.Forked}
	for _, m := range v.Members {
		vector.Members = append(vector.Members, memberVector{m.Instance, m.Node, m.Role, m.Name, m.Added.Unix(), m.By})
	}
	for _, m := range v.Former {
		vector.Former = append(vector.Former, memberVector{m.Instance, m.Node, m.Role, m.Name, m.Added.Unix(), m.By})
	}
	for _, m := range v.Removals {
		vector.Removals = append(vector.Removals, removalVector{m.Instance, m.By, m.Last[:], m.At.Unix(), m.Hash[:]})
	}
	for _, s := range v.Secrets {
		vector.Secrets = append(vector.Secrets, secretVector{s.Number, s.Hash[:]})
	}
	return vector
}

// TestRosterVectors: the outcomes of whole rosters.
func TestRosterVectors(t *testing.T) {
	var made []rosterVector
	for _, story := range stories {
		w := newWorld(t)
		story.tell(w)
		made = append(made, vectorOf(story.what, w.r))
	}
	for _, v := range vectors(t, "rosters.json", made) {
		r := New(v.Library, v.Founder)
		_, err := r.Add(v.Statements...)
		require.NoError(t, err, v.What)
		require.Equal(t, v, vectorOf(v.What, r))
	}
}
