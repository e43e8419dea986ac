package ldap

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/internal/pgdb"
	"waypost/internal/pgtest"
	"waypost/internal/tlsconf"
	"waypost/migrations"
	"waypost/services/ldap/ber"
)

var system = directory.System("test")

// real is a server over the real directory: PostgreSQL, the index in memory,
// sign-in by the gate.
type real struct {
	store *postgres.Store
	dir   directory.Directory
	world
}

func startReal(t testing.TB, change ...func(*Config)) *real {
	t.Helper()
	h := authn.NewHasher(authn.Params{Memory: 1 << 10, Time: 1, Threads: 1})
	ctx, cancel := context.WithCancel(context.Background())
	db, err := pgdb.Open(ctx, pgtest.New(t, migrations.Directory), pgdb.Options{Log: quiet(), MaxConns: 4})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	r := &real{}
	if r.store, err = postgres.Open(ctx, db, postgres.Options{Hash: h.Hash, Log: quiet()}); err != nil {
		cancel()
		t.Fatal(err)
	}
	r.dir = authn.Near(r.store, authn.New(r.store, h, authn.Options{Log: quiet()}))
	gate := authn.NewGate(r.dir, authn.GateOptions{Log: quiet()})
	cert, err := tlsconf.Open(tlsconf.Options{Dir: t.TempDir(), Names: []string{"ldap.example.test"}, Log: quiet()})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	cfg := Config{Host: "ldap.example.test", TLS: cert.Server(), FailureDelay: time.Millisecond, Log: quiet()}
	for _, f := range change {
		f(&cfg)
	}
	if r.server, err = New(cfg, r.store.Tree(), gate); err != nil {
		cancel()
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.store.Run(ctx) })
	wg.Go(func() { _ = gate.Run(ctx) })
	serve := func(door Door) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := r.server.ServeDoor(ctx, l, door); err != nil {
				t.Errorf("ServeDoor: %v", err)
			}
		})
		return l.Addr().String()
	}
	r.addr, r.global, r.secure = serve(Door{}), serve(Door{Global: true}), serve(Door{TLS: true})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		db.Close()
	})
	for _, d := range []string{"example.test", "eu.example.test"} {
		if _, err := r.store.AddDomain(ctx, system, d); err != nil {
			t.Fatal(err)
		}
	}
	r.user(t, "ann", "People", directory.RoleAdmin)
	r.user(t, "bob", "People", 0)
	return r
}

func (r *real) user(t testing.TB, name, ou string, roles directory.Role) {
	t.Helper()
	_, err := r.store.AddUser(t.Context(), system, directory.NewUser{
		User:     directory.User{Address: name + "@example.test", Account: name, Name: strings.ToUpper(name[:1]) + name[1:], Surname: name, OU: ou, Roles: roles, Enabled: true},
		Password: passwordOf(name),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// passwordOf is what the tools sign in with; bob's is another.
func passwordOf(name string) string {
	if name == "ann" {
		return "secret"
	}
	return "hidden-" + name
}

// dnOf finds the entry of an account.
func (r *real) dnOf(t testing.TB, c *goldap.Conn, account string) string {
	t.Helper()
	res, err := c.Search(find("(sAMAccountName="+account+")", "1.1"))
	if err != nil || len(res.Entries) != 1 {
		t.Fatalf("%s: %v, %v", account, res, err)
	}
	return res.Entries[0].DN
}

// TestLdapUtilsWithPostgres lets the real clients work on the real directory.
func TestLdapUtilsWithPostgres(t *testing.T) {
	w := startReal(t)
	c := w.in(t)
	var users []directory.NewUser
	for i := range 2300 {
		users = append(users, directory.NewUser{User: directory.User{
			Address: fmt.Sprintf("p%04d@example.test", i), Account: fmt.Sprintf("p%04d", i), Name: fmt.Sprintf("Person %04d", i), Surname: fmt.Sprintf("s%04d", 2300-i), OU: "Many", Enabled: true,
		}})
	}
	if _, err := w.store.AddUsers(t.Context(), system, users); err != nil {
		t.Fatal(err)
	}
	if err := w.awaitEntries(t, c, "(sAMAccountName=p2299)"); err != nil {
		t.Fatal(err)
	}
	ann, bob := w.dnOf(t, c, "ann"), w.dnOf(t, c, "bob")
	const base, people = "DC=example,DC=test", "OU=People,DC=example,DC=test"
	person := func(cn, account string) string {
		return "dn: CN=" + cn + "," + people + "\nobjectClass: user\nsn: " + cn + "\nsAMAccountName: " + account + "\n"
	}
	group := "dn: CN=Staff,DC=example,DC=test\nobjectClass: group\nsAMAccountName: Staff\nmember: " + ann + "\nmember: " + bob + "\n"
	change := func(dn, lines string) string { return "dn: " + dn + "\nchangetype: modify\n" + lines }
	for _, tt := range []struct {
		what, in, name string
		args           []string
		code           int
		want           string
		count          int
	}{
		{"rootDSE", "", "ldapsearch", []string{"-b", "", "-s", "base"}, 0, `(?s)namingContexts: DC=example,DC=test.*defaultNamingContext: DC=example,DC=test`, 0},
		{"by mail", "", "ldapsearch", []string{"-LLL", "-b", base, "(mail=ann@example.test)"}, 0, `sAMAccountName: ann`, 1},
		{"by DN", "", "ldapsearch", []string{"-LLL", "-b", ann, "-s", "base"}, 0, `sAMAccountName: ann`, 1},
		{"the domain elsewhere", "", "ldapsearch", []string{"-b", base, "(mail=ann@example.test)", "1.1"}, 0, `ref: ldap://ldap.example.test/DC=eu,DC=example,DC=test`, 1},
		{"size limit", "", "ldapsearch", []string{"-b", base, "(sAMAccountName=p*)", "1.1"}, 4, `Size limit`, 1000},
		{"pages", "", "ldapsearch", []string{"-E", "pr=1000/noprompt", "-b", base, "(sAMAccountName=p*)", "1.1"}, 0, `numEntries: 2300`, 2300},
		{"sort", "", "ldapsearch", []string{"-E", "sss=sn", "-LLL", "-b", base, "(sAMAccountName=p00*)", "cn"}, 0, `(?s)^dn: CN=Person 0099,.*dn: CN=Person 0000,`, 100},
		{"sorted pages", "", "ldapsearch", []string{"-E", "sss=-sAMAccountName", "-E", "pr=70/noprompt", "-LLL", "-b", base, "(sAMAccountName=p0*)", "cn"}, 0, `(?s)^dn: CN=Person 0999,`, 1000},
		{"ANR", "", "ldapsearch", []string{"-LLL", "-b", base, "(anr=Person 0042)", "mail"}, 0, `mail: p0042@example.test`, 1},
		{"schema", "", "ldapsearch", []string{"-LLL", "-b", "CN=Aggregate,CN=Schema,CN=Configuration,DC=example,DC=test", "-s", "base", "(objectClass=subschema)", "attributeTypes"}, 0, `NAME 'sAMAccountName'`, 1},
		{"the schema's container", "", "ldapsearch", []string{"-LLL", "-b", "CN=Schema,CN=Configuration,DC=example,DC=test", "-s", "one", "(lDAPDisplayName=mail)", "attributeID"}, 0, `attributeID: `, 1},
		{"add", person("New One", "new1") + "description:: w6R1w58=\n\n" + person("New Two", "new2"), "ldapadd", nil, 0, `adding new entry "CN=New Two`, 0},
		{"add again", person("New One", "new1"), "ldapadd", nil, 68, `Already exists`, 0},
		{"add the account again", person("New Three", "new1"), "ldapadd", nil, -1, `(?i)(exists|constraint)`, 0},
		{"add with an unknown class", "dn: CN=x," + people + "\nobjectClass: noSuchThing\ncn: x\n", "ldapadd", nil, -1, `(?i)(class|undefined|syntax)`, 0},
		{"add below nothing", "dn: CN=x,OU=None,DC=example,DC=test\nobjectClass: container\ncn: x\n", "ldapadd", nil, 32, `No such object`, 0},
		{"what was added", "", "ldapsearch", []string{"-LLL", "-b", people, "(sAMAccountName=new1)"}, 0, `description:: w6R1w58=`, 1},
		{"a group", group, "ldapadd", nil, 0, `adding`, 0},
		{"back links", "", "ldapsearch", []string{"-LLL", "-b", base, "(memberOf=CN=Staff,DC=example,DC=test)", "sAMAccountName"}, 0, `sAMAccountName: bob`, 2},
		{"in chain", "", "ldapsearch", []string{"-LLL", "-b", base, "(memberOf:1.2.840.113556.1.4.1941:=CN=Staff,DC=example,DC=test)", "1.1"}, 0, ``, 2},
		{"bits", "", "ldapsearch", []string{"-LLL", "-b", people, "(userAccountControl:1.2.840.113556.1.4.803:=2)", "sAMAccountName"}, 0, ``, -1},
		{"modify", change("CN=New One,"+people, "add: mail\nmail: one@example.test\n-\nreplace: sn\nsn: Uno\n-\ndelete: description\n"), "ldapmodify", nil, 0, `modifying entry`, 0},
		{"modify what is not there", change("CN=New One,"+people, "delete: description\n"), "ldapmodify", nil, 16, ``, 0},
		{"a wrong value", change("CN=New One,"+people, "replace: userAccountControl\nuserAccountControl: x\n"), "ldapmodify", nil, -1, `(?i)(syntax|constraint)`, 0},
		{"pre-read and post-read", change("CN=New One,"+people, "replace: sn\nsn: Eins\n"), "ldapmodify", []string{"-e", "!preread=sn", "-e", "!postread=sn"}, 0, `(?s)==> preread.*sn: Uno.*==> postread.*sn: Eins`, 0},
		{"a wrong assertion", change("CN=New One,"+people, "replace: sn\nsn: x\n"), "ldapmodify", []string{"-e", "!assert=(sn=Uno)"}, 122, `Assertion Failed`, 0},
		{"compare", "", "ldapcompare", []string{"CN=New One," + people, "sn:eins"}, 6, `TRUE`, 0},
		{"compare with another", "", "ldapcompare", []string{"CN=New One," + people, "sn:Uno"}, 5, `FALSE`, 0},
		{"rename", "", "ldapmodrdn", []string{"-r", bob, "CN=Robert"}, 0, ``, 0},
		{"a link follows", "", "ldapsearch", []string{"-LLL", "-b", base, "(sAMAccountName=Staff)", "member"}, 0, `member: CN=Robert,` + people, 1},
		{"move", "", "ldapmodrdn", []string{"-r", "-s", "OU=Many,DC=example,DC=test", "CN=New One," + people, "CN=Moved"}, 0, ``, 0},
		{"where it is", "", "ldapsearch", []string{"-LLL", "-b", "OU=Many,DC=example,DC=test", "(sAMAccountName=new1)", "1.1"}, 0, `dn: CN=Moved,OU=Many`, 1},
		{"move the tree", "", "ldapmodrdn", []string{"-r", "-s", people, "OU=Many,DC=example,DC=test", "OU=Much"}, 0, ``, 0},
		{"all of it", "", "ldapsearch", []string{"-E", "pr=500/noprompt", "-LLL", "-b", "OU=Much," + people, "(sAMAccountName=p*)", "1.1"}, 0, ``, 2300},
		{"a password", "", "ldappasswd", []string{"-s", "by-tool-1", "CN=Robert," + people}, 0, ``, 0},
		{"a made-up one", "", "ldappasswd", []string{"CN=Moved,OU=Much," + people}, 0, `New password: \S+`, 0},
		{"delete", "", "ldapdelete", []string{"CN=New Two," + people}, 0, ``, 0},
		{"it is a tombstone", "", "ldapsearch", []string{"-LLL", "-E", "!1.2.840.113556.1.4.417", "-b", base, "(&(isDeleted=TRUE)(sAMAccountName=new2))", "isDeleted"}, -1, ``, -1},
		{"delete what is full", "", "ldapdelete", []string{"OU=Much," + people}, 66, `not allowed on non-leaf`, 0},
		{"who am I", "", "ldapwhoami", nil, 0, `u:\w+\\ann`, 0},
	} {
		out, exit := w.tool(t, tt.in, tt.name, tt.args...)
		if tt.code >= 0 && exit != tt.code {
			t.Errorf("%s: code %d, want %d\n%s", tt.what, exit, tt.code, clip(out))
			continue
		}
		if !regexp.MustCompile(tt.want).MatchString(out) {
			t.Errorf("%s: no %q in\n%s", tt.what, tt.want, clip(out))
		}
		if n := len(regexp.MustCompile(`(?m)^dn: `).FindAllString(out, -1)); tt.count > 0 && n != tt.count {
			t.Errorf("%s: %d entries, want %d", tt.what, n, tt.count)
		}
	}
	wantCode(t, "with the tool's password", dial(t, w.addr).Bind("bob@example.test", "by-tool-1"), codeSuccess)
	if findings, err := w.store.Check(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("unsound: %v, %v", findings, err)
	}
}

func (r *real) awaitEntries(t testing.TB, c *goldap.Conn, filter string) error {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		res, err := c.Search(find(filter, "1.1"))
		if err != nil || len(res.Entries) > 0 || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestPythonLdap3WithPostgres is the same script as for the tree in memory.
func TestPythonLdap3WithPostgres(t *testing.T) {
	python := ldap3Python(t)
	w := startReal(t)
	var users []directory.NewUser
	for i := range 1300 {
		users = append(users, directory.NewUser{User: directory.User{
			Address: fmt.Sprintf("p%04d@example.test", i), Account: fmt.Sprintf("p%04d", i), Name: fmt.Sprintf("p%04d", i), Surname: "P", OU: "People", Enabled: true,
		}})
	}
	if _, err := w.store.AddUsers(t.Context(), system, users); err != nil {
		t.Fatal(err)
	}
	c := w.in(t)
	if err := w.awaitEntries(t, c, "(sAMAccountName=p1299)"); err != nil {
		t.Fatal(err)
	}
	r := dialRaw(t, w.addr)
	r.bind()
	for i, tt := range []struct {
		reverse  string
		value    string
		position int64
	}{{"", "p0042", 43}, {"", "p0042x", 44}, {"\x81\x01\xff", "p0042", 1258}} {
		sorted := controlOf(oidSortRequest, true, element(ber.Sequence, element(ber.Sequence, octets("cn"), tt.reverse)))
		r.send(message(int64(2+i), searchOp("OU=People,DC=example,DC=test", 1, equal("sn", "P"), "cn"), sorted, controlOf(oidVLVRequest, true, vlvValue(0, 2, 0, 0, tt.value, ""))))
		done, entries := r.results(int64(2 + i))
		if done.code != codeSuccess || len(entries) != 3 {
			t.Fatalf("list view at %s: %v (%s), %d entries", tt.value, done.code, done.text, len(entries))
		}
		d := ber.NewDecoder(controlIn(t, done.controls, oidVLVResponse))
		in := d.Inside(ber.Sequence)
		if position, count := in.Int(), in.Int(); position != tt.position || count != 1300 {
			t.Errorf("list view at %s: position %d of %d, want %d", tt.value, position, count, tt.position)
		}
	}
	out, exit := w.runTool(t, "", python, filepath.Join("testdata", "ldap3_client.py"), w.addr, w.secure)
	if exit != 0 {
		t.Errorf("code %d\n%s", exit, out)
	}
}

// TestSessionsEndWithTheAccount: what is changed by another way in ends what
// was granted here.
func TestSessionsEndWithTheAccount(t *testing.T) {
	w := startReal(t)
	admin := w.in(t)
	r := dialRaw(t, w.addr)
	r.send(message(1, bindOp("bob@example.test", passwordOf("bob"))))
	r.want(1, codeSuccess)
	mod := goldap.NewModifyRequest(w.dnOf(t, admin, "bob"), nil)
	mod.Replace("userAccountControl", []string{"514"})
	wantCode(t, "disable", admin.Modify(mod), codeSuccess)
	r.wantNotice("a disabled account's connection", codeStrongerAuth)
	wantCode(t, "sign in", dial(t, w.addr).Bind("bob@example.test", passwordOf("bob")), codeInvalidCredentials)
}

// TestOwnPassword: a person changes the password by every way there is.
func TestOwnPassword(t *testing.T) {
	w := startReal(t)
	current := passwordOf("bob")
	sign := func() *goldap.Conn {
		c, err := goldap.DialURL("ldaps://"+w.secure, goldap.DialWithTLSConfig(clientTLS))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		wantCode(t, "sign in with "+current, c.Bind("bob@example.test", current), codeSuccess)
		return c
	}
	bob := w.dnOf(t, w.in(t), "bob")
	_, err := sign().PasswordModify(goldap.NewPasswordModifyRequest("", current, "by-rfc3062-1"))
	wantCode(t, "RFC 3062", err, codeSuccess)
	current = "by-rfc3062-1"
	m := goldap.NewModifyRequest(bob, nil)
	m.Delete("unicodePwd", []string{unicodePwd("wrong-one")})
	m.Add("unicodePwd", []string{unicodePwd("by-unicode-1")})
	wantCode(t, "unicodePwd with a wrong old one", sign().Modify(m), codeConstraintViolation)
	m = goldap.NewModifyRequest(bob, nil)
	m.Delete("unicodePwd", []string{unicodePwd(current)})
	m.Add("unicodePwd", []string{unicodePwd("by-unicode-1")})
	wantCode(t, "unicodePwd", sign().Modify(m), codeSuccess)
	current = "by-unicode-1"
	m = goldap.NewModifyRequest(bob, nil)
	m.Replace("unicodePwd", []string{unicodePwd("by-reset-1")})
	wantCode(t, "a reset without the right", sign().Modify(m), codeInsufficientAccess)
	res, err := sign().Search(goldap.NewSearchRequest(bob, 0, 0, 0, 0, false, "(objectClass=*)", []string{"*", "+", "unicodePwd", "userPassword"}, nil))
	if err != nil || len(res.Entries) != 1 {
		t.Fatal(res, err)
	}
	for _, a := range res.Entries[0].Attributes {
		if strings.EqualFold(a.Name, "unicodePwd") || strings.EqualFold(a.Name, "userPassword") {
			t.Errorf("%s is shown", a.Name)
		}
	}
}

// TestSyncWithPostgres follows the real directory, and comes back to it.
func TestSyncWithPostgres(t *testing.T) {
	w := startReal(t)
	c, d := w.in(t), w.in(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	bob := w.dnOf(t, c, "bob")
	res, err := c.Search(find("(sAMAccountName=bob)", "entryUUID"))
	if err != nil {
		t.Fatal(err)
	}
	uuid := res.Entries[0].GetAttributeValue("entryUUID")
	words := follow(t, d.Syncrepl(ctx, find("(objectCategory=person)", "cn", "title"), 10, goldap.SyncRequestModeRefreshAndPersist, nil, false))
	cookie := ""
	await := func(want string) string {
		t.Helper()
		timeout := time.After(10 * time.Second)
		for {
			select {
			case got := <-words:
				if strings.HasPrefix(got, want) {
					return got
				}
				t.Logf("before %q: %q", want, got)
			case <-timeout:
				t.Fatalf("nothing comes, want %q", want)
			}
		}
	}
	await("CN=Bob state 1")
	cookie = strings.TrimPrefix(await("all told "), "all told ")
	mod := goldap.NewModifyRequest(bob, nil)
	mod.Replace("title", []string{"Clerk"})
	wantCode(t, "modify", c.Modify(mod), codeSuccess)
	await("CN=Bob state 2 usn=")
	wantCode(t, "rename", c.ModifyDN(goldap.NewModifyDNRequest(bob, "CN=Robert", true, "")), codeSuccess)
	await("CN=Robert state 2 usn=")
	w.user(t, "eve", "People", 0)
	await("CN=Eve state 1 usn=")
	wantCode(t, "delete", c.Del(goldap.NewDelRequest("CN=Robert,OU=People,DC=example,DC=test", nil)), codeSuccess)
	await("gone [" + uuid + "]")
	cancel()

	words = follow(t, w.in(t).Syncrepl(t.Context(), find("(objectCategory=person)", "cn"), 10, goldap.SyncRequestModeRefreshOnly, []byte(cookie), false))
	seen := map[string]bool{}
	for {
		word := await("")
		seen[strings.Fields(word)[0]] = true
		if strings.HasPrefix(word, "done") {
			if !strings.HasSuffix(word, "true") {
				t.Errorf("%q does not tell that deletes were told", word)
			}
			break
		}
	}
	if !seen["CN=Eve"] || !seen["gone"] || seen["CN=Ann"] {
		t.Errorf("since %s: %v", cookie, seen)
	}
}

// BenchmarkReal is an equality search of the real directory over a connection.
func BenchmarkReal(b *testing.B) {
	w := startReal(b)
	var users []directory.NewUser
	for i := range 5000 {
		users = append(users, directory.NewUser{User: directory.User{Address: fmt.Sprintf("p%04d@example.test", i), Account: fmt.Sprintf("p%04d", i), Name: fmt.Sprintf("p%04d", i), Surname: "P", OU: "People", Enabled: true}})
	}
	if _, err := w.store.AddUsers(b.Context(), system, users); err != nil {
		b.Fatal(err)
	}
	const flight = 16
	r := dialRaw(b, w.addr)
	_ = r.c.SetDeadline(time.Time{})
	r.bind()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%flight != 0 {
			continue
		}
		var all strings.Builder
		for j := range flight {
			all.WriteString(message(int64(2+j), searchOp("DC=example,DC=test", 2, equal("mail", fmt.Sprintf("p%04d@example.test", (i+j)%5000)))))
		}
		r.send(all.String())
		for done := 0; done < flight; {
			x, err := r.receive()
			if err != nil {
				b.Fatal(err)
			}
			if x.tag == 0x65 {
				done++
			}
		}
	}
}
