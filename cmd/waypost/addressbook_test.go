package main

import (
	"strings"
	"testing"

	"waypost/directory"
)

// Groups, contacts, rooms and address lists by the commands, each as somebody
// types it; want is part of what is printed, or of the fault after "!".
func TestAddressBook(t *testing.T) {
	a, out := newApp(t)
	a.out.json = false
	do := func(line string) (string, error) {
		t.Helper()
		var c cli
		k, err := grammar(&c).Parse(words(t, "waypost "+line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out.Reset()
		err = commands[pathOf(k.Selected())].run(a, t.Context(), &c)
		return out.String(), err
	}
	for _, tt := range []struct{ line, want string }{
		{"domain add example.test", "now receives mail"},
		{"user add ann@example.test --name 'Ann Lee'", "Added ann@example.test"},
		{"user add bob@example.test --name Bob", "Added bob@example.test"},
		{"user set ann@example.test --department Sales", "Changed"},

		{"contact add joe@partner.test --name 'Joe Doe' --alias joe@example.test --company Partner", "Added joe@partner.test."},
		{"contact add ann@example.test --name X", "!ann@example.test is an address of ours"},
		{"contact add joe@partner.test --name Other", "!taken"},
		{"contact add hid@partner.test --name Hid --hidden", "Added"},
		{"contact list", "joe@partner.test  Joe Doe  joe@example.test"},

		{"user set ann@example.test --forward joe@partner.test --copy", "Changed ann@example.test."},
		{"user show ann@example.test", "Mail goes to       joe@partner.test, and a copy here"},
		{"user set ann@example.test --no-copy --forward bob@example.test", "Changed"},
		{"user show ann@example.test", "Mail goes to       bob@example.test\n"},
		{"user set ann@example.test --forward nobody@example.test", "!nobody is called nobody@example.test"},
		{"user set ann@example.test --forward none", "Changed"},

		{"room add hall@example.test --name Hall --capacity 40 --feature projector --feature video", "Added the room hall@example.test."},
		{"room add car@example.test --name Car --equipment", "Added the equipment car@example.test."},
		{"room list", "hall@example.test  Hall       room  40        projector, video"},
		{"room list --capacity 10 --feature Video", "hall@example.test"},
		{"room set hall@example.test --capacity 50", "Changed hall@example.test."},
		{"room set ann@example.test --capacity 5", "!neither a room nor equipment"},

		{"group add staff@example.test --name Staff --member bob@example.test --member joe@partner.test --owner ann@example.test --restrict ann@example.test --hidden-members --security", "staff@example.test has 2 members."},
		{"group show staff@example.test", "Only from      ann@example.test"},
		{"group show staff@example.test", "Members        hidden from others"},
		{"group show staff@example.test", "contact joe@partner.test"},
		{"group show staff@example.test", "Rights         can be given to it"},
		{"group add bad@example.test --owner nobody@example.test", "!nobody is called nobody@example.test"},
		{"group show bad@example.test", "!no such group"},
		{"group add sales@example.test --name 'Sales by filter' --dynamic '(department=Sales)'", "sales@example.test finds 1 member now."},
		{"group add sales2@example.test --dynamic '(department=Sales'", "!"},
		{"group add sales2@example.test --dynamic '(a=b)' --member ann@example.test", "!or finds them by --dynamic"},
		{"group show sales@example.test", "Members by     (department=Sales)"},
		{"group set sales@example.test --dynamic '(displayName=Bob)' --moderator ann@example.test --internal", "Changed sales@example.test."},
		{"group show sales@example.test", "Moderated by   ann@example.test"},
		{"group show sales@example.test", "bob@example.test"},
		{"group set staff@example.test --restrict none --no-hidden-members --refuse sales@example.test", "Changed"},
		{"group show staff@example.test", "Not from       sales@example.test"},
		{"group set staff@example.test", "!nothing to change was named"},

		{"addresslist add 'Sales people' --filter '(department=Sales)'", "Added the address list Sales people, with 1 entry in it."},
		{"addresslist add Rooms --filter '(msExchResourceMetaData=*)'", "with 2 entries in it."},
		{"addresslist add Bad --filter '(x'", "!"},
		{"addresslist list", "(department=Sales)"},
		{"addresslist list", "Default Global Address List"},
		{"addresslist show rooms", "room      hall@example.test                Hall"},
		{"addresslist show 'sales people' --text an", "user      ann@example.test"},
		{"addresslist remove 'Sales people'", "Removed the address list Sales people."},
		{"addresslist show 'Sales people'", "!no address list Sales people"},

		{"contact remove joe@example.test", "Removed"},
		{"contact remove bob@example.test", "!is no contact"},
		{"group show staff@example.test", "(1 member)"},
		{"group remove sales@example.test", "Removed sales@example.test."},
	} {
		got, err := do(tt.line)
		if want, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, %v, want a fault with %q", tt.line, got, err, want)
			}
		} else if err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, %v, want %q in it", tt.line, got, err, want)
		}
	}
	if got, err := do("group show staff@example.test"); strings.Contains(got, "Only from") || err != nil {
		t.Errorf("the restriction is still there: %s", got)
	}
	g, err := a.dir.Group(t.Context(), operator(), "staff@example.test")
	if err != nil || len(g.Owners) != 1 || g.Owners[0].Kind != directory.KindUser || !g.Security {
		t.Errorf("the group is %+v, %v", g, err)
	}
	sound(t, a)
}
