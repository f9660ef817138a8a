package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	membersRoute = reserved + "members"
	maxName      = 255 // bytes of a member's name that are passed on

	clockSkew = 24 * time.Hour // by how much another device's clock may be ahead
)

// AddMember adds a member, which must have been given a record ([Library.RecordFor]), or replaces the one that has the same
// instance or lives on the same node. All are told of it as they come by, and add it too, unless they have removed it.
func (l *Library) AddMember(m Member) error {
	return l.change(func(r *Record) error {
		if m.Since == 0 {
			m.Since = time.Now().Unix()
		}
		for _, o := range r.Members {
			if o.Node == m.Node && o.Instance != m.Instance {
				m.Since = max(m.Since, o.Since+1) // whatever the clock says
				r.remove(o.Instance)
			}
		}
		r.Members = slices.DeleteFunc(r.Members, func(o Member) bool { return o.Instance == m.Instance })
		r.Removed = slices.DeleteFunc(r.Removed, func(o identity.RemoteIdentity) bool { return o == m.Instance })
		r.Members = append(r.Members, m)
		r.tellAll(identity.RemoteIdentity{})
		return nil
	})
}

// RemoveMember removes a member, which loses its tunnels at once. It still knows the library's secret, which lets it in
// nowhere; [Library.Rotate] makes a new one. That is so on this node: whoever is removed has to be removed on each.
func (l *Library) RemoveMember(instance identity.RemoteIdentity) error {
	return l.change(func(r *Record) error {
		if _, ok := r.Member(instance); !ok {
			return fmt.Errorf("%w: %v", ErrNoMember, instance)
		}
		r.remove(instance)
		return nil
	})
}

// remove removes a member for good.
func (r *Record) remove(instance identity.RemoteIdentity) {
	r.Members = slices.DeleteFunc(r.Members, func(o Member) bool { return o.Instance == instance })
	r.Removed = slices.DeleteFunc(r.Removed, func(o identity.RemoteIdentity) bool { return o == instance })
	r.Removed = append(r.Removed, instance)
	r.Removed = r.Removed[max(0, len(r.Removed)-MaxRemoved):]
}

// keepRemoved notes who was removed before, or is now.
func (r *Record) keepRemoved(before *Record) {
	members, noted := map[identity.RemoteIdentity]bool{}, map[identity.RemoteIdentity]bool{}
	for _, m := range r.Members {
		members[m.Instance] = true
	}
	gone := slices.Concat(before.Removed, r.Removed)
	for _, m := range before.Members {
		gone = append(gone, m.Instance)
	}
	r.Removed = nil
	for _, instance := range gone {
		if !members[instance] && !noted[instance] {
			noted[instance] = true
			r.Removed = append(r.Removed, instance)
		}
	}
	r.Removed = r.Removed[max(0, len(r.Removed)-MaxRemoved):]
}

// untold reports whether a member may not know all the others.
func (r *Record) untold(instance identity.RemoteIdentity) bool {
	return slices.Contains(r.Untold, instance)
}

// tellAll notes that nobody knows the list as it is now, except maybe one.
func (r *Record) tellAll(except identity.RemoteIdentity) {
	for _, m := range r.Members {
		if m.Instance != except && !r.untold(m.Instance) {
			r.Untold = append(r.Untold, m.Instance)
		}
	}
}

// RecordFor returns the record that a new member starts with: it has the secret, and for members those of this one, and
// this instance.
func (l *Library) RecordFor(m Member) Record {
	r := l.Record()
	r.Members, r.Since = l.list(), m.Since
	r.Members = slices.DeleteFunc(r.Members, func(o Member) bool { return o.Instance == m.Instance || o.Node == m.Node })
	r.Removed, r.Untold, r.Former = nil, nil, nil
	return r
}

// list returns all members, the own instance included, for others.
func (l *Library) list() []Member {
	r := l.Record()
	own := Member{Instance: l.instance.Remote(), Since: r.Since}
	if node := l.hook.running(); node != nil {
		own.Node, own.Name = node.Identity(), node.Metadata()["name"]
	}
	list := append([]Member{own}, r.Members...)
	for i := range list {
		list[i].Name = proto.CutString(list[i].Name, maxName)
	}
	return list
}

// hear takes in what a member says of who else is one.
func (l *Library) hear(from identity.RemoteIdentity, said []Member) error {
	return l.change(func(r *Record) error {
		if _, ok := r.Member(from); !ok {
			return ErrNoMember // it was removed meanwhile
		}
		if !r.merge(said, l.instance.Remote(), l.hook.identity()) {
			return errUnchanged
		}
		r.tellAll(from)
		return nil
	})
}

// told notes that a member knows all that we do, if that is so: what it said, and what it was told.
func (l *Library) told(member identity.RemoteIdentity, said, told []Member) error {
	knows := map[Member]bool{}
	for _, m := range slices.Concat(said, told) {
		m.Name = ""
		knows[m] = true
	}
	return l.change(func(r *Record) error {
		for _, m := range r.Members {
			if m.Name = ""; m.Instance != member && !knows[m] {
				return errUnchanged // we have heard of it in the meantime
			}
		}
		if !r.untold(member) {
			return errUnchanged
		}
		r.Untold = slices.DeleteFunc(r.Untold, func(o identity.RemoteIdentity) bool { return o == member })
		return nil
	})
}

// merge adds the members of a list that are new. What we know of a member already stays, and so does who was removed; of two
// instances on one node the later counts, if it can be true that it is later. A list cannot have us forget who was removed.
func (r *Record) merge(list []Member, own, node identity.RemoteIdentity) (news bool) {
	known := map[identity.RemoteIdentity]bool{own: true}
	keys := map[[32]byte]bool{} // what the tunnel knows them by
	note := func(instance identity.RemoteIdentity) (news bool) {
		u, err := instance.X25519()
		if err != nil || known[instance] || keys[[32]byte(u.Bytes())] {
			return false
		}
		known[instance], keys[[32]byte(u.Bytes())] = true, true
		return true
	}
	if u, err := own.X25519(); err == nil {
		keys[[32]byte(u.Bytes())] = true
	}
	on := map[identity.RemoteIdentity]Member{} // by node
	for _, m := range r.Members {
		note(m.Instance)
		on[m.Node] = m
	}
	if slices.ContainsFunc(list, func(m Member) bool { return !known[m.Instance] }) {
		for _, instance := range r.Removed {
			note(instance)
		}
	}
	latest := time.Now().Add(clockSkew).Unix()
	for _, m := range list {
		before, taken := on[m.Node]
		switch {
		case m.Node == node, m.Node.IsZero():
		case taken && (before.Since >= m.Since || m.Since > latest || len(r.Removed) >= MaxRemoved):
		case !taken && len(r.Members) >= MaxMembers:
		case note(m.Instance):
			if taken {
				r.remove(before.Instance)
			}
			r.Members = append(r.Members, m)
			on[m.Node], news = m, true
		}
	}
	return news
}

// serveMembers is the handler of the route for lists.
func (l *Library) serveMembers(_ context.Context, c *tunnel.Conn) error {
	var said MemberList
	d := proto.NewDecoder(c)
	if err := said.DecodeFrom(d); err != nil {
		return err
	}
	if err := l.hear(c.Instance(), said); err != nil {
		return err
	}
	list := l.list()
	if err := MemberList(list).write(c); err != nil {
		return err
	}
	if d.Uint8() != heard { // or else it may not have our answer
		return errors.Join(errNotHeard, d.Err())
	}
	return l.told(c.Instance(), said, list)
}

// exchangeMembers tells a member who the others are, and hears who else is, over a tunnel for that.
func (l *Library) exchangeMembers(c *tunnel.Conn) error {
	list := l.list()
	if err := MemberList(list).write(c); err != nil {
		return err
	}
	var said MemberList
	if err := said.DecodeFrom(proto.NewDecoder(c)); err != nil {
		return err
	}
	if err := l.hear(c.Instance(), said); err != nil {
		return err
	}
	if err := l.told(c.Instance(), said, list); err != nil {
		return err
	}
	if _, err := c.Write([]byte{heard}); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(c, 1)) // until the other side is done
	return err
}

var errNotHeard = errors.New("library: the member did not say that it knows our list now")

const heard = 1 // ends an exchange of lists

// A MemberList is what a member says of who the members are, itself included. Of names, as much is passed on as fits.
//
//	size  field
//	2     count, at most 1025
//	      count times:
//	32    instance
//	32    node
//	8     since: seconds since 1970, or 0
//	2+n   name, at most 255 bytes
type MemberList []Member

// AppendBinary appends the list.
func (m MemberList) AppendBinary(b []byte) (_ []byte, err error) {
	if b, err = proto.AppendCount16(b, len(m), MaxMembers+1); err != nil {
		return nil, err
	}
	for _, o := range m {
		instance, node := o.Instance.Bytes(), o.Node.Bytes()
		b = append(append(b, instance[:]...), node[:]...)
		b = proto.AppendUint64(b, uint64(o.Since))
		if b, err = proto.AppendStringMax(b, o.Name, maxName); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// DecodeFrom reads a list. Of valid keys, anything is accepted: what [Record.Validate] says of a list is not looked at.
func (m *MemberList) DecodeFrom(d *proto.Decoder) error {
	list := proto.DecodeList(d, d.Count16(MaxMembers+1), func(o *Member, d *proto.Decoder) (err error) {
		var instance, node [identity.Size]byte
		d.Fixed(instance[:])
		d.Fixed(node[:])
		o.Since = int64(d.Uint64())
		o.Name = d.String(maxName)
		if err := d.Err(); err != nil {
			return err
		}
		if o.Instance, err = identity.FromBytes(instance[:]); err != nil {
			return err
		}
		o.Node, err = identity.FromBytes(node[:])
		return err
	})
	if err := d.Err(); err != nil {
		return fmt.Errorf("library: a list of members: %w", err)
	}
	*m = list
	return nil
}

func (m MemberList) write(w io.Writer) error {
	b, err := m.AppendBinary(nil)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}
