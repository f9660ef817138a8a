package roster

// stories are libraries whose statements, and the outcome of these, are in
// testdata/rosters.json.
var stories = []struct {
	what string
	tell func(w *world)
}{
	{"a recovery key, two admins, a member", func(w *world) {
		w.join("founder", "ann", RoleAdmin)
		w.join("founder", "bob", RoleAdmin)
		w.join("ann", "cid", RoleMember)
		w.say("bob", Secret{Number: 1, Hash: HashSecret([32]byte{1})})
	}},
	{"a founder with a node, a member that has not said where it lives", func(w *world) {
		w.after("founder", Hash{}, w.home("founder", "founder node", 1))
		w.say("founder", Add{Instance: w.id("ann"), Role: RoleMember, Name: "ann"})
	}},
	{"one admin makes a member of whom two make an admin", func(w *world) {
		w.join("founder", "ann", RoleAdmin)
		w.join("founder", "bob", RoleAdmin)
		w.join("ann", "cid", RoleAdmin)
		w.join("ann", "dan", RoleMember)
		w.both("bob", "ann", Add{Instance: w.id("dan"), Role: RoleAdmin, Name: "dan, an admin"})
	}},
	{"one admin removes a member and not an admin; a member nobody", func(w *world) {
		w.join("founder", "ann", RoleAdmin)
		w.join("founder", "bob", RoleAdmin)
		w.join("ann", "cid", RoleMember)
		w.join("ann", "dan", RoleMember)
		w.say("bob", Remove{w.id("cid"), w.last("cid")})
		w.say("bob", Remove{w.id("ann"), w.last("ann")})
		w.say("dan", Remove{w.id("bob"), w.last("bob")})
	}},
	{"two admins remove a stolen key, naming its last honest statement", func(w *world) {
		for _, name := range []string{"ann", "bob", "cid"} {
			w.join("founder", name, RoleAdmin)
		}
		w.join("cid", "dan", RoleMember)
		good := w.last("cid")
		w.join("cid", "eve", RoleAdmin)
		w.say("cid", Remove{w.id("dan"), w.last("dan")})
		w.after("cid", Hash{}, w.home("cid", "thief's node", 1))
		w.both("ann", "bob", Remove{w.id("cid"), good})
	}},
	{"the founder's removal is not narrowed; leaving cuts off what follows", func(w *world) {
		for _, name := range []string{"ann", "bob", "cid"} {
			w.join("founder", name, RoleAdmin)
		}
		w.join("cid", "dan", RoleMember)
		w.both("ann", "bob", Remove{w.id("cid"), Hash{}})
		w.say("founder", Remove{w.id("cid"), w.last("cid")})
		w.say("bob", Remove{w.id("bob"), Hash{}})
		w.join("bob", "eve", RoleMember)
	}},
	{"secrets: a gap, equal numbers, one that falls with its signer", func(w *world) {
		for _, name := range []string{"ann", "bob", "cid"} {
			w.join("founder", name, RoleAdmin)
		}
		w.say("ann", Secret{Number: 1, Hash: Hash{1}})
		w.say("bob", Secret{Number: 2, Hash: Hash{2}})
		w.say("ann", Secret{Number: 2, Hash: Hash{3}})
		w.say("ann", Secret{Number: 4, Hash: Hash{4}})
		good := w.last("cid")
		w.say("cid", Secret{Number: 3, Hash: Hash{5}})
		w.say("founder", Remove{w.id("cid"), good})
	}},
	{"the founder has agreed to what a key beyond its limit signs", func(w *world) {
		w.join("founder", "ann", RoleAdmin)
		w.join("founder", "bob", RoleMember)
		asked := w.draft("ann", Add{Instance: w.id("bob"), Role: RoleAdmin, Name: "bob"})
		w.say("founder", Endorse{asked.UnsignedHash()})
		w.say("founder", Remove{w.id("ann"), w.last("ann")})
		w.sign("ann", asked)
	}},
}
