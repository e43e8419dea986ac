package postgres_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// version1 is an installation of the first release: a domain with an
// organisational unit, an administrator who signed in, a room in another
// mailbox database, a list, and a second domain.
const version1 = `
UPDATE directory.forest SET usn = 20, object = 8, mailbox = 2;
INSERT INTO directory.object (id, guid, parent, class, rdn, rdn_key, attributes, mailbox, usn_created, usn_changed, kind, address, name, home_mdb, quota, hidden, roles, terms) VALUES
(2, gen_random_uuid(), 1, 'domainDNS', 'example.test', 'dc=example.test', '{"dc": ["example"]}', 0, 2, 2, 0, '', '', '', 0, false, 0, ''),
(3, gen_random_uuid(), 2, 'organizationalUnit', 'Sales', 'ou=sales', '{"ou": ["Sales"]}', 0, 3, 3, 0, '', '', '', 0, false, 0, ''),
(4, gen_random_uuid(), 3, 'user', 'Ann  Lee', 'cn=ann  lee', '{"cn": ["Ann  Lee"], "displayName": ["Ann Lee"], "homeMDB": ["default"], "sAMAccountName": ["ann"], "mail": ["ann@example.test"], "mailNickname": ["ann"], "proxyAddresses": ["SMTP:ann@example.test"], "userPrincipalName": ["ann@example.test"], "waypostRoles": ["admin"], "userAccountControl": ["512"]}', 1, 4, 7, 1, 'ann@example.test', 'Ann Lee', 'default', 0, false, 1, 'ann ann@example.test lee'),
(5, gen_random_uuid(), 2, 'user', 'Room 1', 'cn=room 1', '{"cn": ["Room 1"], "displayName": ["Room 1"], "homeMDB": ["Attic"], "sAMAccountName": ["room1"], "mail": ["room1@example.test"], "mailNickname": ["room1"], "proxyAddresses": ["SMTP:room1@example.test"], "msExchResourceMetaData": ["ResourceType:Room"], "userAccountControl": ["514"]}', 2, 5, 5, 2, 'room1@example.test', 'Room 1', 'Attic', 0, false, 0, '1 room room1 room1@example.test'),
(6, gen_random_uuid(), 2, 'group', 'Staff', 'cn=staff', '{"cn": ["Staff"], "displayName": ["Staff"], "groupType": ["8"], "sAMAccountName": ["staff"], "mail": ["staff@example.test"], "mailNickname": ["staff"], "proxyAddresses": ["SMTP:staff@example.test"]}', 0, 6, 6, 3, 'staff@example.test', 'Staff', '', 0, false, 0, 'staff staff@example.test'),
(8, gen_random_uuid(), 1, 'domainDNS', 'eu.example.test', 'dc=eu.example.test', '{"dc": ["eu"]}', 0, 9, 9, 0, '', '', '', 0, false, 0, '');
INSERT INTO directory.name (kind, key, object) VALUES
(5, 'example.test', 2), (5, 'eu.example.test', 8), (1, 'ann@example.test', 4), (2, 'ann@example.test', 4), (3, 'ann', 4),
(1, 'room1@example.test', 5), (3, 'room1', 5), (1, 'staff@example.test', 6), (3, 'staff', 6);
INSERT INTO directory.link (attribute, source, target, usn) VALUES (2, 6, 4, 6);
INSERT INTO directory.account (object, hash, epoch) VALUES (4, '$argon2id$v=19$m=1024,t=1,p=1$AAAA$AAAA', 3);
INSERT INTO directory.change (object, usn, kind, gone, epoch, enabled) VALUES
(2, 2, 0, false, 0, false), (3, 3, 0, false, 0, false), (4, 7, 1, false, 3, true), (5, 5, 2, false, 0, false), (6, 6, 3, false, 0, false),
(7, 8, 1, true, 2, false), (8, 9, 0, false, 0, false);
`

// TestMigrateVersion1: what an installation of the first release holds is there
// and sound afterwards, and its mailbox databases are objects.
func TestMigrateVersion1(t *testing.T) {
	url := pgtest.Empty(t)
	ctx := t.Context()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	run := func(name, sql string) {
		t.Helper()
		if _, err := c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	run("schema", "CREATE SCHEMA directory; SET search_path = directory")
	names, err := fs.Glob(migrations.Directory.Files(), "*.sql")
	if err != nil || len(names) < 2 {
		t.Fatalf("migrations: %v, %v", names, err)
	}
	for i, name := range names {
		sql, err := fs.ReadFile(migrations.Directory.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		up, _, _ := strings.Cut(string(sql), "-- +goose Down")
		run(name, up)
		if i == 0 {
			run("version 1", version1)
		}
	}

	s, _ := process(t, url, authn.NewHasher(cheap))
	checkSound(t, s)
	ann, err := s.UserByAddress(ctx, system, "ann@example.test")
	if err != nil || ann.HomeMDB != "default" || ann.Mailbox != 1 || ann.OU != "Sales" || ann.Epoch != 3 || ann.Roles != directory.RoleAdmin {
		t.Errorf("the administrator became %+v, %v", ann, err)
	}
	room, err := s.UserByAddress(ctx, system, "room1@example.test")
	if err != nil || room.HomeMDB != "Attic" || room.Mailbox != 2 || room.Kind != directory.KindRoom {
		t.Errorf("the room became %+v, %v", room, err)
	}
	if g, err := s.Group(ctx, system, "staff@example.test"); err != nil || len(g.Members) != 1 || g.Members[0].ID != ann.ID {
		t.Errorf("the list became %+v, %v", g, err)
	}
	if r, err := s.Resolve(ctx, "ann@example.test"); err != nil || r.Target.HomeMDB != "default" || r.Target.Mailbox != 1 {
		t.Errorf("mail for the administrator goes to %+v, %v", r, err)
	}
	if ds, err := s.Domains(ctx, system); err != nil || len(ds) != 2 {
		t.Errorf("the domains became %+v, %v", ds, err)
	}
	// Everything goes on: a new user beside the old ones, in the old database.
	u, err := s.AddUser(ctx, system, directory.NewUser{User: directory.User{Address: "bob@eu.example.test", HomeMDB: "Attic"}})
	if err != nil || u.HomeMDB != "Attic" || u.Mailbox != 3 {
		t.Errorf("a new user became %+v, %v", u, err)
	}
	checkSound(t, s)
}
