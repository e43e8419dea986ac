package directorytest

import (
	"strings"
	"testing"

	"waypost/directory"
	"waypost/directory/tree"
)

func testTreeAdd(t *testing.T, w TreeWorld) {
	h := start(t, w)
	sales := "OU=Sales," + base
	ann := h.person("Ann", sales, "givenName: Ann", "sn: Lee", "title: Head", "telephoneNumber: +1 1", "employeeID: 7")
	h.want(ann, "objectClass", "organizationalPerson|person|top|user")
	h.want(ann, "proxyAddresses", "SMTP:ann@example.test")
	h.want(ann, "name", "Ann")
	h.want(ann, "displayName", "Ann")
	h.want(ann, "homeMDB", "CN=default,"+mdbs)
	h.want(ann, "userAccountControl", "512")
	h.want(ann, "sAMAccountType", "805306368")
	h.want(ann, "primaryGroupID", "513")
	h.want(ann, "canonicalName", "example.test/Sales/Ann")
	h.want(ann, "objectCategory", "CN=Person,CN=Schema,CN=Configuration,"+base)
	u, err := h.f.UserByAddress(t.Context(), system, "ann@example.test")
	if err != nil || u.Given != "Ann" || u.Title != "Head" || u.OU != "Sales" || u.Mailbox == 0 || u.HomeMDB != "default" || !u.Enabled {
		t.Errorf("the address list has her as %+v, %v", u, err)
	}
	if r := resolve(t, h.f, "ann@example.test"); r.Standing != directory.Person || r.Target.Mailbox != u.Mailbox {
		t.Errorf("mail for her goes to %+v", r)
	}
	// The other way of writing is seen too.
	bob := addUser(t, h.f, "bob@example.test", "", named("Bob Kay", "Bob", "Kay"))
	h.want("CN=Bob Kay,"+base, "mail", "bob@example.test")
	if id, ok := h.tr.Resolve(bob.ID); !ok || id.String() != "CN=Bob Kay,"+base {
		t.Errorf("Resolve gave %v, %v", id, ok)
	}

	h.add("CN=Plain,"+sales, "objectClass: inetOrgPerson", "cn: Plain", "mail: plain@elsewhere.test", "uid: plain")
	if r := resolve(t, h.f, "plain@elsewhere.test"); r.Standing != directory.Foreign {
		t.Errorf("somebody's outside address resolves to %+v", r)
	}
	h.want("CN=Plain,"+sales, "sAMAccountName", "plain")
	h.add("CN=Con,"+sales, "objectClass: contact", "targetAddress: con@elsewhere.test", "mail: con@elsewhere.test")
	h.want("CN=Con,"+sales, "targetAddress", "SMTP:con@elsewhere.test")
	h.add("CN=PC1,CN=Computers,"+base, "objectClass: computer", "sAMAccountName: PC1$", "dNSHostName: pc1.example.test")
	h.want("CN=PC1,CN=Computers,"+base, "userAccountControl", "4096")
	h.add("CN=Team,"+sales, "objectClass: group")
	h.want("CN=Team,"+sales, "groupType", "-2147483646")
	h.want("CN=Team,"+sales, "sAMAccountType", "268435456")
	h.add(`CN=Smith\, John \+ Co,`+sales, "objectClass: user", "objectClass: ipHost", "uid: js")
	h.want(`CN=Smith\, John \+ Co,`+sales, "cn", "Smith, John + Co")
	h.want(`CN=Smith\, John \+ Co,`+sales, "objectClass", "ipHost|organizationalPerson|person|top|user")

	for _, c := range []struct {
		what  string
		want  tree.Code
		dn    string
		lines []string
	}{
		{"there already", tree.ResultEntryAlreadyExists, "cn=ANN," + sales, []string{"objectClass: user"}},
		{"no parent", tree.ResultNoSuchObject, "CN=X,OU=None," + sales, []string{"objectClass: user"}},
		{"no domain", tree.ResultNoSuchObject, "CN=X,DC=elsewhere,DC=test", []string{"objectClass: user"}},
		{"no class", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"title: x"}},
		{"unknown class", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: nonsense"}},
		{"abstract class", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: top"}},
		{"two classes", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: user", "objectClass: group"}},
		{"auxiliary alone", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: mailRecipient"}},
		{"unknown attribute", tree.ResultUndefinedType, "CN=X," + sales, []string{"objectClass: user", "shoeSize: 9"}},
		{"attribute of another class", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: user", "groupType: 2"}},
		{"missing attribute", tree.ResultObjectClassViolation, "CN=X," + sales, []string{"objectClass: printQueue"}},
		{"syntax", tree.ResultInvalidSyntax, "CN=X," + sales, []string{"objectClass: user", "countryCode: many"}},
		{"too long", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "mailNickname: " + strings.Repeat("x", 65)}},
		{"two values", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "title: a", "title: b"}},
		{"a value twice", tree.ResultValueExists, "CN=X," + sales, []string{"objectClass: user", "otherTelephone: 1", "otherTelephone: 1"}},
		{"kept by the server", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "uSNChanged: 1"}},
		{"back link", tree.ResultUnwillingToPerform, "CN=X," + sales, []string{"objectClass: user", "memberOf: CN=Team," + sales}},
		{"link to nothing", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "manager: CN=None," + sales}},
		{"not a name", tree.ResultInvalidSyntax, "CN=X," + sales, []string{"objectClass: user", "manager: nobody"}},
		{"named by another attribute", tree.ResultNamingViolation, "OU=X," + sales, []string{"objectClass: user"}},
		{"another value of the name", tree.ResultNamingViolation, "CN=X," + sales, []string{"objectClass: user", "cn: Y"}},
		{"a name of two values", tree.ResultNamingViolation, "CN=X+SN=Y," + sales, []string{"objectClass: user"}},
		{"below what cannot have it", tree.ResultNamingViolation, "OU=X," + ann, []string{"objectClass: organizationalUnit"}},
		{"below what was removed", tree.ResultUnwillingToPerform, "CN=X,CN=Deleted Objects," + base, []string{"objectClass: container"}},
		{"address taken", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "mail: ANN@example.test"}},
		{"address taken, secondary", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: contact", "proxyAddresses: smtp:ann@example.test"}},
		{"UPN taken by an address", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "userPrincipalName: ann@example.test"}},
		{"account taken", tree.ResultEntryAlreadyExists, "CN=X," + sales, []string{"objectClass: user", "sAMAccountName: ANN"}},
		{"account with a slash", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "sAMAccountName: a/b"}},
		{"mailbox without an address", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "homeMDB: CN=default," + mdbs}},
		{"mailbox elsewhere", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "mail: x@elsewhere.test", "homeMDB: CN=default," + mdbs}},
		{"a mailbox database that is none", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "mail: x@example.test", "homeMDB: " + sales}},
		{"two primary addresses", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "proxyAddresses: SMTP:x@example.test", "proxyAddresses: SMTP:y@example.test"}},
		{"an address without a type", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "proxyAddresses: x@example.test"}},
		{"group of two scopes", tree.ResultUnwillingToPerform, "CN=X," + sales, []string{"objectClass: group", "groupType: 10"}},
		{"an account of another kind", tree.ResultConstraintViolation, "CN=X," + sales, []string{"objectClass: user", "userAccountControl: 4096"}},
		{"rights nobody understands", tree.ResultConstraintViolation, "OU=X," + sales, []string{"objectClass: organizationalUnit", "accessControlEntry: do as you like"}},
		{"a password for a computer", tree.ResultUnwillingToPerform, "CN=X," + sales, []string{"objectClass: computer", "unicodePwd: " + quoted("x1x1x1x1")}},
		{"a password without quotes", tree.ResultUnwillingToPerform, "CN=X," + sales, []string{"objectClass: user", "unicodePwd: abcd"}},
		{"a hash", tree.ResultUnwillingToPerform, "CN=X," + sales, []string{"objectClass: user", "userPassword: {SSHA}abcd"}},
	} {
		_, err := h.tryAdd(c.dn, c.lines...)
		h.refused("add: "+c.what, err, c.want)
	}
	if got := h.search(base, "(cn=X)", tree.Sub); len(got) != 0 {
		t.Errorf("refused entries are there: %q", got)
	}
	var matched string
	_, err = h.tryAdd("CN=X,OU=None,OU=None,"+sales, "objectClass: user")
	if r := refusal(err); r != nil {
		matched = r.Matched.String()
	}
	if matched != sales {
		t.Errorf("the nearest entry that is there: %q, want %q", matched, sales)
	}
}

func testTreeModify(t *testing.T, w TreeWorld) {
	h := start(t, w)
	ann := h.person("Ann", "OU=Sales,"+base, "title: Clerk", "countryCode: 5")
	bob := h.person("Bob", "OU=Sales,"+base)
	h.modify(ann, "replace title: Head", "add otherTelephone: 1", "add otherTelephone: 2", "delete countryCode")
	h.want(ann, "title", "Head")
	h.want(ann, "otherTelephone", "1|2")
	h.want(ann, "countryCode", "")
	h.modify(ann, "delete otherTelephone: 1", "add otherTelephone: 3", "replace manager: "+bob)
	h.want(ann, "otherTelephone", "2|3")
	h.want(ann, "manager", bob)
	h.want(bob, "directReports", ann)
	h.modify(ann, "add countryCode: 5", "increment countryCode: 3")
	h.want(ann, "countryCode", "8")
	con := "CN=Con,OU=Sales," + base
	h.add(con, "objectClass: contact")
	h.refused("modify: an attribute without its class", h.tryModify(con, "add uidNumber: 5"), tree.ResultObjectClassViolation)
	h.modify(con, "add uidNumber: 5", "add objectClass: posixAccount") // the whole counts, not the order
	h.want(con, "objectClass", "contact|organizationalPerson|person|posixAccount|top")
	h.refused("modify: a class of which an attribute is there", h.tryModify(con, "delete objectClass: posixAccount"), tree.ResultObjectClassViolation)
	h.modify(con, "delete objectClass: posixAccount", "delete uidNumber")
	usn := h.values(ann, "uSNChanged")
	h.modify("CN=Ann,OU=Sales,"+base, "replace description: x")
	if again := h.values(ann, "uSNChanged"); again == usn {
		t.Error("a change has no USN of its own")
	}
	for _, c := range []struct {
		what  string
		want  tree.Code
		lines []string
	}{
		{"add what is there", tree.ResultValueExists, []string{"add otherTelephone: 2"}},
		{"add what is there in other case", tree.ResultValueExists, []string{"add description: X"}},
		{"delete what is not", tree.ResultNoSuchAttribute, []string{"delete otherTelephone: 9"}},
		{"delete an attribute that is not", tree.ResultNoSuchAttribute, []string{"delete pager"}},
		{"a second value", tree.ResultConstraintViolation, []string{"add title: x"}},
		{"syntax", tree.ResultInvalidSyntax, []string{"replace countryCode: x"}},
		{"unknown attribute", tree.ResultUndefinedType, []string{"replace shoeSize: 9"}},
		{"attribute of another class", tree.ResultObjectClassViolation, []string{"replace groupType: 2"}},
		{"kept by the server", tree.ResultConstraintViolation, []string{"replace objectGUID: 1234567890123456"}},
		{"the name", tree.ResultNotAllowedOnRDN, []string{"replace cn: Other"}},
		{"no name", tree.ResultNotAllowedOnRDN, []string{"delete cn"}},
		{"back link", tree.ResultUnwillingToPerform, []string{"add directReports: " + bob}},
		{"another class", tree.ResultObjectClassViolation, []string{"add objectClass: computer"}},
		{"no class", tree.ResultObjectClassViolation, []string{"delete objectClass"}},
		{"link to nothing", tree.ResultConstraintViolation, []string{"replace manager: CN=None," + base}},
		{"two managers", tree.ResultConstraintViolation, []string{"add manager: " + ann}},
		{"increment text", tree.ResultConstraintViolation, []string{"increment title: 1"}},
		{"increment nothing", tree.ResultNoSuchAttribute, []string{"increment codePage: 1"}},
		{"past the bounds", tree.ResultConstraintViolation, []string{"increment countryCode: 2147483647"}},
		{"isDeleted", tree.ResultConstraintViolation, []string{"replace isDeleted: TRUE"}},
		{"distinguishedName", tree.ResultConstraintViolation, []string{"replace distinguishedName: CN=X," + base}},
		{"a good change with a bad one", tree.ResultNoSuchAttribute, []string{"replace title: Lost", "delete pager"}},
	} {
		h.refused("modify: "+c.what, h.tryModify(ann, c.lines...), c.want)
	}
	h.want(ann, "title", "Head")
	printer := "CN=Printer,OU=Sales," + base
	h.add(printer, "objectClass: printQueue", "versionNumber: 1", "uNCName: a", "shortServerName: b", "serverName: c", "printerName: d")
	h.refused("modify: a required one", h.tryModify(printer, "delete uNCName"), tree.ResultObjectClassViolation)
	h.refused("modify nothing", h.tryModify("CN=None,"+base, "replace title: x"), tree.ResultNoSuchObject)

	permissive := tree.Options{Permissive: true}
	_, err := h.tr.ModifyEntry(t.Context(), system, h.dn(ann), mods("add otherTelephone: 2", "delete pager", "delete otherTelephone: 9", "add manager: "+bob), permissive)
	h.refused("permissive modify", err, 0)
	h.want(ann, "otherTelephone", "2|3")
}

func testTreeAddresses(t *testing.T, w TreeWorld) {
	h := start(t, w)
	ann := h.person("Ann", "OU=Sales,"+base, "legacyExchangeDN: /o=Org/cn=ann")
	h.modify(ann, "replace mail: ann.lee@example.test")
	h.want(ann, "proxyAddresses", "SMTP:ann.lee@example.test|smtp:ann@example.test")
	h.modify(ann, "add proxyAddresses: smtp:al@example.test", "add proxyAddresses: X400:c=us;a= ;p=org;s=lee")
	h.want(ann, "mail", "ann.lee@example.test")
	h.modify(ann, "replace mail: AL@example.test")
	h.want(ann, "proxyAddresses", "SMTP:AL@example.test|X400:c=us;a= ;p=org;s=lee|smtp:ann.lee@example.test|smtp:ann@example.test")
	h.modify(ann, "replace proxyAddresses: SMTP:lee@example.test", "replace proxyAddresses: smtp:al@example.test")
	h.want(ann, "mail", "lee@example.test")
	h.modify(ann, "replace legacyExchangeDN: /o=Org/cn=lee")
	h.want(ann, "proxyAddresses", "SMTP:lee@example.test|X500:/o=Org/cn=ann|smtp:al@example.test")
	h.modify(ann, "replace legacyExchangeDN: /o=Org/cn=lee2")
	h.want(ann, "proxyAddresses", "SMTP:lee@example.test|X500:/o=Org/cn=ann|X500:/o=Org/cn=lee|smtp:al@example.test")
	u, err := h.f.UserByAddress(t.Context(), system, "al@example.test")
	if err != nil || u.Address != "lee@example.test" || len(u.Addresses) != 2 {
		t.Errorf("the address list has %+v, %v", u, err)
	}
	// Renamed the other way, seen this way.
	if _, err := h.f.RenameUser(t.Context(), system, u.ID, "anna@example.test"); err != nil {
		t.Fatal(err)
	}
	h.want(ann, "mail", "anna@example.test")
	h.refused("no primary", h.tryModify(ann, "replace proxyAddresses: smtp:a@example.test", "replace proxyAddresses: smtp:b@example.test"), tree.ResultConstraintViolation)
	h.refused("no address for a mailbox", h.tryModify(ann, "delete mail"), tree.ResultConstraintViolation)
	h.refused("an old name of hers", func() error {
		_, err := h.tryAdd("CN=X,"+base, "objectClass: contact", "proxyAddresses: X500:/O=ORG/CN=ANN")
		return err
	}(), tree.ResultConstraintViolation)
	if r := resolve(t, h.f, "ann@example.test"); r.Standing != directory.Unknown {
		t.Errorf("an address taken away resolves to %+v", r)
	}
	// Without a mailbox database the mailbox is kept for later.
	box := u.Mailbox
	h.modify(ann, "delete homeMDB")
	if r := resolve(t, h.f, "anna@example.test"); r.Standing != directory.Unknown {
		t.Errorf("without homeMDB mail goes to %+v", r)
	}
	h.modify(ann, "add homeMDB: CN=default,"+mdbs)
	if r := resolve(t, h.f, "anna@example.test"); r.Target.Mailbox != box {
		t.Errorf("the mailbox was %d, is %+v", box, r)
	}
}

func testTreeAccounts(t *testing.T, w TreeWorld) {
	h := start(t, w)
	ann := h.person("Ann", "OU=Sales,"+base, "unicodePwd: "+quoted(secret), "userPrincipalName: ann@example.test")
	signIn := func(what, password string, want bool) {
		t.Helper()
		if _, err := h.f.SignIn(t.Context(), credentials("ann@example.test", password, "")); (err == nil) != want {
			t.Errorf("%s: sign-in gave %v", what, err)
		}
	}
	signIn("a new account", secret, true)
	if login, ok := h.tr.Who(h.dn(ann)); !ok || login != "ann@example.test" {
		t.Errorf("Who gave %q, %v", login, ok)
	}
	if e := h.entry(ann, "*", "+"); len(e.Get("unicodePwd"))+len(e.Get("userPassword")) > 0 {
		t.Error("a password is shown")
	}
	if got := h.search(base, "(unicodePwd=*)", tree.Sub); len(got) != 0 {
		t.Errorf("a password is found: %q", got)
	}
	h.modify(ann, "replace userAccountControl: 514")
	signIn("disabled", secret, false)
	h.modify(ann, "replace userAccountControl: 66048")
	signIn("enabled again", secret, true)
	h.want(ann, "userAccountControl", "66048")
	if u, err := h.f.UserByAddress(t.Context(), system, "ann@example.test"); err != nil || !u.Enabled {
		t.Errorf("the account is %+v, %v", u, err)
	} else if err := h.f.SetEnabled(t.Context(), system, u.ID, false); err != nil {
		t.Error(err)
	}
	h.want(ann, "userAccountControl", "66050")
	h.modify(ann, "replace userAccountControl: 512")
	h.modify(ann, "replace accountExpires: 132223104000000000") // 2020
	signIn("expired", secret, false)
	h.modify(ann, "replace accountExpires: 9223372036854775807")
	signIn("never expires", secret, true)

	// A reset, a change, a wrong old password.
	h.modify(ann, "replace unicodePwd: "+quoted("reset 1 reset"))
	signIn("after a reset", "reset 1 reset", true)
	h.modify(ann, "delete unicodePwd: "+quoted("reset 1 reset"), "add unicodePwd: "+quoted("changed 1"))
	signIn("after a change", "changed 1", true)
	h.refused("a wrong old password", h.tryModify(ann, "delete unicodePwd: "+quoted("wrong"), "add unicodePwd: "+quoted("x1x1x1x1")), tree.ResultConstraintViolation)
	h.refused("to delete a password", h.tryModify(ann, "delete unicodePwd: "+quoted("changed 1")), tree.ResultUnwillingToPerform)
	h.modify(ann, "replace userPassword: plain 1 plain")
	signIn("after userPassword", "plain 1 plain", true)
	if h.values(ann, "pwdLastSet") == "" {
		t.Error("pwdLastSet is not told")
	}
	h.modify(ann, "replace pwdLastSet: 0")
	h.want(ann, "pwdLastSet", "0")
	h.refused("pwdLastSet of once", h.tryModify(ann, "replace pwdLastSet: 1"), tree.ResultConstraintViolation)
	h.modify(ann, "replace lockoutTime: 0")
	h.refused("lockoutTime of once", h.tryModify(ann, "replace lockoutTime: 1"), tree.ResultConstraintViolation)

	old, wrong := "plain 1 plain", "wrong"
	if _, err := h.tr.ChangePassword(t.Context(), system, h.dn(ann), &wrong, "x1x1x1x1"); codeOf(err) != tree.ResultConstraintViolation {
		t.Errorf("ChangePassword with a wrong old one: %v", err)
	}
	made, err := h.tr.ChangePassword(t.Context(), system, h.dn(ann), &old, "")
	if err != nil || len(made) < 16 {
		t.Errorf("ChangePassword made %q, %v", made, err)
	}
	signIn("with the made one", made, true)
	if _, err := h.tr.ChangePassword(t.Context(), system, h.dn(ann), nil, "reset 2 reset"); err != nil {
		t.Error(err)
	}
	signIn("after ChangePassword", "reset 2 reset", true)
	if _, err := h.tr.ChangePassword(t.Context(), system, h.dn("OU=Sales,"+base), nil, "reset 2 reset"); codeOf(err) != tree.ResultUnwillingToPerform {
		t.Errorf("a password for an organisational unit: %v", err)
	}
}
