package directorytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"waypost/directory"
	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/internal/fault"
)

func refusal(err error) *tree.Refusal {
	var r *tree.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

func testTreeLinks(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales := "OU=Sales," + base
	ann, bob := h.person("Ann", sales), h.person("Bob", sales)
	h.add("CN=A,"+sales, "objectClass: group", "member: "+ann)
	h.add("CN=B,"+sales, "objectClass: group", "member: CN=A,"+sales)
	h.want(ann, "memberOf", "CN=A,"+sales)
	h.modify("CN=A,"+sales, "add member: "+bob, "add member: CN=B,"+sales) // a circle is tolerated
	h.want("CN=A,"+sales, "member", ann+"|CN=B,"+sales+"|"+bob)
	if got := h.search(base, "(memberOf:1.2.840.113556.1.4.1941:=CN=B,"+sales+")", tree.Sub); !slices.Equal(got, []string{"CN=A," + sales, ann, "CN=B," + sales, bob}) {
		t.Errorf("in the circle are %q", got)
	}
	h.refused("a member again", h.tryModify("CN=A,"+sales, "add member: "+ann), tree.ResultValueExists)
	h.refused("no member", h.tryModify("CN=B,"+sales, "delete member: "+ann), tree.ResultNoSuchAttribute)
	h.refused("no such object", h.tryModify("CN=B,"+sales, "add member: CN=None,"+sales), tree.ResultConstraintViolation)
	h.modify("CN=A,"+sales, "delete member: CN=B,"+sales, "add member: CN=B,"+sales)
	// Names follow.
	h.refused("rename", h.tryMove(bob, "CN=Robert", "OU=North,"+sales), 0)
	robert := "CN=Robert,OU=North," + sales
	h.want("CN=A,"+sales, "member", ann+"|CN=B,"+sales+"|"+robert)
	h.refused("delete", h.tryDelete(robert, false), 0)
	h.want("CN=A,"+sales, "member", ann+"|CN=B,"+sales)
	h.modify("CN=A,"+sales, "replace member: "+ann)
	h.want("CN=A,"+sales, "member", ann)
	h.modify("CN=A,"+sales, "delete member")
	h.want("CN=A,"+sales, "member", "")
	h.refused("delete no members", h.tryModify("CN=A,"+sales, "delete member"), tree.ResultNoSuchAttribute)

	// The primary group is apart.
	users := "CN=Domain Users,CN=Users," + base
	h.refused("a member by its primary group", h.tryModify(users, "add member: "+ann), tree.ResultEntryAlreadyExists)
	h.add("CN=Core,"+sales, "objectClass: group", "groupType: -2147483646")
	sid := h.values("CN=Core,"+sales, "objectSid")
	rid := fmt.Sprint(int(sid[24]) | int(sid[25])<<8 | int(sid[26])<<16)
	h.refused("the primary group of one who is no member", h.tryModify(ann, "replace primaryGroupID: "+rid), tree.ResultUnwillingToPerform)
	h.modify("CN=Core,"+sales, "add member: "+ann)
	h.modify(ann, "replace primaryGroupID: "+rid)
	h.want("CN=Core,"+sales, "member", "")
	h.want(users, "member", ann)
	h.want(ann, "memberOf", users)
	h.refused("delete a primary group", h.tryDelete("CN=Core,"+sales, false), tree.ResultUnwillingToPerform)
	// References without a link id follow too.
	h.modify(ann, "add seeAlso: CN=A,"+sales)
	h.refused("rename the group", h.tryMove("CN=A,"+sales, "CN=AA", ""), 0)
	h.want(ann, "seeAlso", "CN=AA,"+sales)
	h.refused("delete the group", h.tryDelete("CN=AA,"+sales, false), 0)
	h.want(ann, "seeAlso", "")
}

func testTreeMove(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, north := "OU=Sales,"+base, "OU=North,OU=Sales,"+base
	ann := h.person("Ann", north)
	guid := h.values(ann, "objectGUID")
	h.refused("rename", h.tryMove(ann, "CN=Anna", ""), 0)
	h.want("CN=Anna,"+north, "cn", "Anna")
	h.want("CN=Anna,"+north, "name", "Anna")
	h.refused("in other case", h.tryMove("CN=Anna,"+north, "CN=ANNA", ""), 0)
	h.want("CN=ANNA,"+north, "cn", "ANNA")
	h.add("OU=South,"+base, "objectClass: organizationalUnit")
	h.refused("move a subtree", h.tryMove(north, "OU=Nord", "OU=South,"+base), 0)
	moved := "CN=ANNA,OU=Nord,OU=South," + base
	h.want(moved, "objectGUID", guid)
	if got := h.search(sales, "(objectClass=user)", tree.Sub); len(got) != 0 {
		t.Errorf("what moved away is found: %q", got)
	}
	if u, err := h.f.UserByAddress(t.Context(), system, "ann@example.test"); err != nil || u.OU != "South/Nord" {
		t.Errorf("the address list has %+v, %v", u, err)
	}
	for _, c := range []struct {
		what         string
		want         tree.Code
		dn, rdn, sup string
	}{
		{"below itself", tree.ResultUnwillingToPerform, "OU=South," + base, "OU=South", "OU=Nord,OU=South," + base},
		{"to nowhere", tree.ResultNoSuchObject, moved, "CN=Anna", "OU=None," + base},
		{"what is not there", tree.ResultNoSuchObject, "CN=None," + base, "CN=X", ""},
		{"named by another attribute", tree.ResultNamingViolation, moved, "OU=Anna", ""},
		{"to a name that is taken", tree.ResultEntryAlreadyExists, "OU=South," + base, "OU=Sales", ""},
		{"below what cannot have it", tree.ResultNamingViolation, "OU=Sales," + base, "OU=Sales", moved},
		{"into the configuration", tree.ResultAffectsMultipleDSAs, moved, "CN=Anna", "CN=Services,CN=Configuration," + base},
		{"among what was removed", tree.ResultUnwillingToPerform, moved, "CN=Anna", "CN=Deleted Objects," + base},
		{"a domain", tree.ResultUnwillingToPerform, base, "DC=other", ""},
		{"a mailbox database with mailboxes", tree.ResultUnwillingToPerform, "CN=default," + mdbs, "CN=other", ""},
		{"a long name", tree.ResultConstraintViolation, moved, "CN=" + strings.Repeat("x", 65), ""},
	} {
		h.refused("move "+c.what, h.tryMove(c.dn, c.rdn, c.sup), c.want)
	}
	// More than one value of the name: the old one may stay.
	rdn, _ := tree.ParseRDN("OU=Vertrieb")
	if _, err := h.tr.MoveEntry(t.Context(), system, h.dn(sales), rdn, false, nil, tree.Options{}); err != nil {
		t.Error(err)
	}
	h.want("OU=Vertrieb,"+base, "ou", "Sales|Vertrieb")
	rdn, _ = tree.ParseRDN("CN=Zoe")
	_, err := h.tr.MoveEntry(t.Context(), system, h.dn(moved), rdn, false, nil, tree.Options{})
	h.refused("the old value of a single one stays", err, tree.ResultConstraintViolation)
}

func testTreeOtherDomain(t *testing.T, w TreeWorld) {
	h := start(t, w)
	addDomain(t, h.f, "eu.example.test")
	sales := "OU=Sales," + base
	ann := h.person("Ann", "OU=North,"+sales, "unicodePwd: "+quoted(secret))
	h.add("CN=Team,"+sales, "objectClass: group", "mail: team@example.test", "member: "+ann)
	sid := h.values(ann, "objectSid")
	before, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	h.refused("move a subtree to another domain", h.tryMove(sales, "OU=Sales", "DC=eu,"+base), 0)
	there := "CN=Ann,OU=North,OU=Sales,DC=eu," + base
	now := h.values(there, "objectSid")
	if now[:24] != h.values("DC=eu,"+base, "objectSid")[:1]+"\x05"+h.values("DC=eu,"+base, "objectSid")[2:] {
		t.Errorf("her SID %s is not of the domain", schema.FormatSid(now))
	}
	h.want(there, "sIDHistory", sid)
	h.want(there, "memberOf", "CN=Team,OU=Sales,DC=eu,"+base)
	after, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil || after.Mailbox != before.Mailbox || after.ID != before.ID || after.Address != before.Address {
		t.Errorf("after the move she is %+v, %v", after, err)
	}
	if _, err := h.f.SignIn(t.Context(), credentials("ann@example.test", secret, "")); err != nil {
		t.Error(err)
	}
	h.modify(there, "replace mail: ann@eu.example.test")
	h.want(there, "proxyAddresses", "SMTP:ann@eu.example.test|smtp:ann@example.test")
	// The emptied domain cannot go while it has her old address.
	wantKind(t, "RemoveDomain", h.f.RemoveDomain(t.Context(), system, "example.test"), fault.Conflict)
}

func testTreeDelete(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales, north := "OU=Sales,"+base, "OU=North,OU=Sales,"+base
	ann := h.person("Ann", north, "title: Head", "unicodePwd: "+quoted(secret))
	guid := schema.FormatGUID([16]byte([]byte(h.values(ann, "objectGUID"))))
	h.refused("delete what has something below", h.tryDelete(north, false), tree.ResultNotAllowedOnNonLeaf)
	h.refused("delete what is not there", h.tryDelete("CN=None,"+base, false), tree.ResultNoSuchObject)
	h.refused("delete a leaf", h.tryDelete(ann, false), 0)
	if h.entry(ann) != nil {
		t.Error("a deleted entry is there")
	}
	if _, err := h.f.SignIn(t.Context(), credentials("ann@example.test", secret, "")); err == nil {
		t.Error("who was deleted signs in")
	}
	grave := h.entry("<GUID="+guid+">", "*", "+")
	switch {
	case grave == nil:
		t.Fatal("there is no tombstone")
	case !grave.Deleted || !strings.HasPrefix(grave.DN, `CN=Ann\0ADEL:`+guid+",CN=Deleted Objects,"):
		t.Errorf("the tombstone is %s", grave.DN)
	}
	for name, want := range map[string]string{
		"isDeleted": "TRUE", "lastKnownParent": north, "msDS-LastKnownRDN": "Ann", "sAMAccountName": "ann", "title": "", "mail": "", "homeMDB": "",
	} {
		if got := strings.Join(grave.Get(name), "|"); got != want {
			t.Errorf("%s of the tombstone is %q, want %q", name, got, want)
		}
	}
	if got := h.search(base, "(sAMAccountName=ann)", tree.Sub); len(got) != 0 {
		t.Errorf("a search finds the tombstone: %q", got)
	}
	if got := h.search(base, "(sAMAccountName=ann)", tree.Sub, func(q *tree.Query) { q.Deleted = true }); len(got) != 1 {
		t.Errorf("a search for what was deleted finds %q", got)
	}
	h.person("Ann", north) // every name is free

	// A subtree of more than one transaction.
	for i := range 250 {
		h.add(fmt.Sprintf("CN=C%d,%s", i, north), "objectClass: contact")
	}
	h.refused("delete a subtree", h.tryDelete(sales, true), 0)
	if got := h.search(base, "(|(ou=Sales)(ou=North)(objectClass=contact))", tree.Sub); len(got) != 0 {
		t.Errorf("after the delete of a subtree there are %d entries", len(got))
	}
	h.refused("delete a mailbox database", h.tryDelete("CN=default,"+mdbs, false), 0)
}

func testTreeUndelete(t *testing.T, w TreeWorld) {
	h := start(t, w)
	ann := h.person("Ann", "OU=North,OU=Sales,"+base, "unicodePwd: "+quoted(secret), "mailNickname: annie")
	before, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil {
		t.Fatal(err)
	}
	e := h.entry(ann, "objectGUID", "objectSid")
	guid := "<GUID=" + schema.FormatGUID(e.GUID) + ">"
	sid := e.Get("objectSid")[0]
	h.refused("undelete what is there", h.tryModify(guid, "delete isDeleted", "replace distinguishedName: CN=Ann,"+base), tree.ResultNoSuchObject)
	h.refused("delete", h.tryDelete(ann, false), 0)
	h.refused("delete the container", h.tryDelete("OU=North,OU=Sales,"+base, false), 0)
	h.refused("undelete to where nothing is", h.tryModify(guid, "delete isDeleted", "replace distinguishedName: "+ann), tree.ResultNoSuchObject)
	h.refused("change a tombstone", h.tryModify(guid, "replace title: x"), tree.ResultNoSuchObject)
	back := "CN=Ann Again,OU=Sales," + base
	h.modify(guid, "delete isDeleted", "replace distinguishedName: "+back, "add homeMDB: CN=default,"+mdbs, "replace title: Back")
	h.want(back, "objectSid", sid)
	h.want(back, "mail", "ann@example.test")
	h.want(back, "title", "Back")
	h.want(back, "userAccountControl", "514")
	h.want(back, "lastKnownParent", "")
	after, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil || after.ID != before.ID || after.Mailbox != before.Mailbox || after.Enabled || after.Epoch <= before.Epoch {
		t.Errorf("brought back she is %+v, was %+v, %v", after, before, err)
	}
	if _, err := h.f.SignIn(t.Context(), credentials("ann@example.test", secret, "")); err == nil {
		t.Error("the old password of one who was brought back is good")
	}
	h.modify(back, "replace unicodePwd: "+quoted("new 1 new 1"), "replace userAccountControl: 512")
	if _, err := h.f.SignIn(t.Context(), credentials("ann@example.test", "new 1 new 1", "")); err != nil {
		t.Error(err)
	}
	// Names that somebody else has meanwhile stay his.
	h.refused("delete again", h.tryDelete(back, false), 0)
	h.person("Ann", "OU=Sales,"+base)
	h.modify(guid, "delete isDeleted", "replace distinguishedName: "+back)
	h.want(back, "mail", "")
	if got := h.values(back, "sAMAccountName"); got == "ann" || got == "" {
		t.Errorf("the account name of one who was brought back is %q", got)
	}
	if r := resolve(t, h.f, "ann@example.test"); r.Standing != directory.Person || r.Target.ID == before.ID {
		t.Errorf("mail goes to %+v", r)
	}
}
