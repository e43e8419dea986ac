package ldap

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"waypost/directory/schema"
	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

// crowd adds n people p0000 and so on, whose sn runs the other way.
func (w *world) crowd(n int) {
	for i := range n {
		name := fmt.Sprintf("p%04d", i)
		w.tree.put("CN="+name+",OU=People,DC=example,DC=test", "objectClass", "person", "cn", name, "sn", fmt.Sprintf("s%04d", n-i))
	}
}

func TestPageCap(t *testing.T) {
	w := start(t)
	w.crowd(1200)
	c := w.in(t)
	r, err := c.Search(find("(cn=p*)", "1.1"))
	if wantCode(t, "more than a page", err, codeSizeLimit); len(r.Entries) != 1000 {
		t.Errorf("%d entries", len(r.Entries))
	}
}

func TestPaging(t *testing.T) {
	w := start(t)
	w.crowd(2500)
	c := w.in(t)
	for _, size := range []uint32{1, 7, 999, 1000, 5000} {
		filter := "(cn=p*)"
		want := 2500
		if size == 1 {
			filter, want = "(cn=p00*)", 100
		}
		r, err := c.SearchWithPaging(find(filter, "cn"), size)
		if err != nil {
			t.Errorf("pages of %d: %v", size, err)
			continue
		}
		seen := map[string]bool{}
		for _, e := range r.Entries {
			seen[e.DN] = true
		}
		if len(r.Entries) != want || len(seen) != want {
			t.Errorf("pages of %d: %d entries, %d different, want %d", size, len(r.Entries), len(seen), want)
		}
	}
}

func TestPagingMeetsEachOnceWhileOthersWrite(t *testing.T) {
	w := start(t)
	w.crowd(1000)
	c := w.in(t)
	paged := goldap.NewControlPaging(50)
	req := find("(cn=p*)", "cn")
	req.Controls = []goldap.Control{paged}
	seen := map[string]int{}
	for page := 0; ; page++ {
		r, err := c.Search(req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Entries {
			seen[e.GetAttributeValue("cn")]++
		}
		// Written meanwhile: one that was given goes, one comes, one is renamed.
		if page < 18 {
			w.tree.put(fmt.Sprintf("CN=a%04d,OU=People,DC=example,DC=test", page), "cn", "other")
			for _, name := range []string{fmt.Sprintf("CN=p%04d,OU=People,DC=example,DC=test", page)} {
				if _, err := w.tree.DeleteEntry(t.Context(), w.accounts.people[0].who, mustDN(name), tree.Options{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		answer := goldap.FindControl(r.Controls, goldap.ControlTypePaging).(*goldap.ControlPaging)
		if len(answer.Cookie) == 0 {
			break
		}
		paged.SetCookie(answer.Cookie)
	}
	for i := range 1000 {
		if n := seen[fmt.Sprintf("p%04d", i)]; n != 1 {
			t.Errorf("p%04d was given %d times", i, n)
		}
	}
}

func TestCookiesAreBound(t *testing.T) {
	w := start(t)
	w.crowd(100)
	c := w.in(t)
	first := func(filter string) []byte {
		req := find(filter, "cn")
		req.Controls = []goldap.Control{goldap.NewControlPaging(10)}
		r, err := c.Search(req)
		if err != nil {
			t.Fatal(err)
		}
		return goldap.FindControl(r.Controls, goldap.ControlTypePaging).(*goldap.ControlPaging).Cookie
	}
	cookie := first("(cn=p*)")
	again := func(c *goldap.Conn, filter string, cookie []byte, size uint32) ([]*goldap.Entry, error) {
		req := find(filter, "cn")
		p := goldap.NewControlPaging(size)
		p.SetCookie(cookie)
		req.Controls = []goldap.Control{p}
		r, err := c.Search(req)
		return r.Entries, err
	}
	if e, err := again(c, "(cn=p*)", cookie, 20); err != nil || len(e) != 20 || e[0].GetAttributeValue("cn") != "p0010" {
		t.Errorf("with another size: %d, %v", len(e), err)
	}
	if e, err := again(c, "(cn=p*)", cookie, 0); err != nil || len(e) != 0 {
		t.Errorf("given up: %d, %v", len(e), err)
	}
	_, err := again(c, "(sn=*)", cookie, 10)
	wantCode(t, "another filter", err, codeUnwilling)
	bent := slices.Clone(cookie)
	bent[5] ^= 1
	_, err = again(c, "(cn=p*)", bent, 10)
	wantCode(t, "another position", err, codeUnwilling)
	_, err = again(c, "(cn=p*)", []byte("x"), 10)
	wantCode(t, "nonsense", err, codeUnwilling)
	bob := dial(t, w.addr)
	if err := bob.Bind("bob", "hidden"); err != nil {
		t.Fatal(err)
	}
	_, err = again(bob, "(cn=p*)", cookie, 10)
	wantCode(t, "somebody else's", err, codeUnwilling)
}

// TestCookiesOfAnotherProcess: positions in a result are the process's that gave
// them. Another one says so plainly, and a list view begins anew there.
func TestCookiesOfAnotherProcess(t *testing.T) {
	here, there := start(t), start(t)
	here.crowd(50)
	there.crowd(50)
	for what, more := range map[string]goldap.Control{"as it is": nil, "sorted": goldap.NewControlServerSideSortingWithSortKeys([]*goldap.SortKey{{AttributeType: "cn"}})} {
		page := func(w *world, cookie []byte) ([]byte, error) {
			req := find("(cn=p*)", "cn")
			p := goldap.NewControlPaging(10)
			p.SetCookie(cookie)
			req.Controls = []goldap.Control{p}
			if more != nil {
				req.Controls = append(req.Controls, more)
			}
			r, err := w.in(t).Search(req)
			if err != nil {
				return nil, err
			}
			return goldap.FindControl(r.Controls, goldap.ControlTypePaging).(*goldap.ControlPaging).Cookie, nil
		}
		cookie, err := page(here, nil)
		if err != nil || len(cookie) == 0 {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := page(here, cookie); err != nil {
			t.Errorf("%s, on another connection: %v", what, err)
		}
		_, err = page(there, cookie)
		wantCode(t, what+", at another process", err, codeUnwilling)
		if err != nil && !strings.Contains(err.Error(), "cookie") {
			t.Errorf("%s: %v does not say that it is the cookie", what, err)
		}
	}
}

func TestPagingWithSizeLimit(t *testing.T) {
	w := start(t)
	w.crowd(100)
	c := w.in(t)
	req := find("(cn=p*)", "cn")
	req.SizeLimit = 25
	r, err := c.SearchWithPaging(req, 10)
	if wantCode(t, "size limit", err, codeSizeLimit); r != nil && len(r.Entries) > 25 {
		t.Errorf("%d entries", len(r.Entries))
	}
}

func names(entries []*goldap.Entry) (list []string) {
	for _, e := range entries {
		list = append(list, e.GetAttributeValue("cn"))
	}
	return list
}

func sortBy(reverse bool, attribute string) *goldap.ControlServerSideSorting {
	return goldap.NewControlServerSideSortingWithSortKeys([]*goldap.SortKey{{AttributeType: attribute, Reverse: reverse}})
}

func TestSort(t *testing.T) {
	w := start(t)
	w.crowd(30)
	c := w.in(t)
	req := find("(cn=p*)", "cn")
	req.Controls = []goldap.Control{sortBy(false, "sn")}
	r, err := c.Search(req)
	if err != nil || len(r.Entries) != 30 || r.Entries[0].GetAttributeValue("cn") != "p0029" {
		t.Fatalf("by sn: %v, %v", names(r.Entries), err)
	}
	if x := goldap.FindControl(r.Controls, goldap.ControlTypeServerSideSortingResult); x == nil {
		t.Error("no response control")
	}
	req.Controls = []goldap.Control{sortBy(true, "surname")}
	if r, err = c.Search(req); err != nil || r.Entries[0].GetAttributeValue("cn") != "p0000" {
		t.Errorf("by surname in reverse: %v, %v", names(r.Entries), err)
	}
	// Pages of a sorted result, while an entry comes and one goes.
	req.Controls = []goldap.Control{sortBy(false, "sn"), goldap.NewControlPaging(7)}
	var got []string
	for {
		r, err := c.Search(req)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, names(r.Entries)...)
		cookie := goldap.FindControl(r.Controls, goldap.ControlTypePaging).(*goldap.ControlPaging).Cookie
		if len(got) == 7 {
			w.tree.put("CN=pp,OU=People,DC=example,DC=test", "cn", "pp", "sn", "s0000")
			if _, err := w.tree.DeleteEntry(t.Context(), w.accounts.people[0].who, mustDN("CN=p0000,OU=People,DC=example,DC=test"), tree.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if len(cookie) == 0 {
			break
		}
		p := goldap.NewControlPaging(7)
		p.SetCookie(cookie)
		req.Controls[1] = p
	}
	var want []string
	for i := 29; i > 0; i-- {
		want = append(want, fmt.Sprintf("p%04d", i))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("sorted pages: %s", d)
	}
}

func TestSortThatCannotBe(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	for i, tt := range []struct {
		key  string
		want code
	}{
		{element(ber.Sequence, octets("noSuchThing")), codeNoSuchAttribute},
		{element(ber.Sequence, octets("cn"), element(ber.Context(0), "1.2.3")), codeInappropriateMatching},
		{element(ber.Sequence, octets("member")), codeInappropriateMatching},
	} {
		id := int64(10 + 2*i)
		op := searchOp("DC=example,DC=test", 2, equal("cn", "ann"), "cn")
		r.send(message(id, op, controlOf(oidSortRequest, true, element(ber.Sequence, tt.key))))
		done, entries := r.results(id)
		if done.code != codeCriticalExtension || len(entries) != 0 || !strings.Contains(done.controls, enumerated(int64(tt.want))) {
			t.Errorf("critical %d: %v, %d entries, %x", i, done.code, len(entries), done.controls)
		}
		r.send(message(id+1, op, controlOf(oidSortRequest, false, element(ber.Sequence, tt.key))))
		if done, entries = r.results(id + 1); done.code != codeSuccess || len(entries) < 1 {
			t.Errorf("not critical %d: %v, %d entries", i, done.code, len(entries))
		}
	}
}

// vlvValue is the value of the VLV control, by offset or by value.
func vlvValue(before, after, offset, count int64, value string, context string) string {
	target := element(ber.ContextOf(0), integer(offset), integer(count))
	if value != "" {
		target = element(ber.Context(1), value)
	}
	if context != "" {
		context = octets(context)
	}
	return element(ber.Sequence, integer(before), integer(after), target, context)
}

func TestVLV(t *testing.T) {
	w := start(t)
	w.crowd(100)
	r := dialRaw(t, w.addr)
	r.bind()
	sorted := controlOf(oidSortRequest, true, element(ber.Sequence, element(ber.Sequence, octets("cn"))))
	reversed := controlOf(oidSortRequest, true, element(ber.Sequence, element(ber.Sequence, octets("cn"), "\x81\x01\xff")))
	op := searchOp("OU=People,DC=example,DC=test", 1, element(ber.ContextOf(4), octets("cn"), element(ber.Sequence, element(ber.Context(0), "p"))), "cn")
	context := ""
	for i, tt := range []struct {
		sort, value string
		first       string
		n           int
		position    int64
		code        code
	}{
		{sorted, vlvValue(0, 9, 1, 0, "", ""), "p0000", 10, 1, 0},
		{sorted, vlvValue(2, 2, 50, 0, "", "*"), "p0047", 5, 50, 0},
		{sorted, vlvValue(0, 4, 100, 100, "", "*"), "p0099", 1, 100, 0},
		{sorted, vlvValue(1, 0, 5000, 10000, "", "*"), "p0048", 2, 50, 0}, // half way
		{sorted, vlvValue(0, 2, 0, 0, "p0042", "*"), "p0042", 3, 43, 0},
		{sorted, vlvValue(3, 2, 0, 0, "p0042x", "*"), "p0040", 6, 44, 0},
		{sorted, vlvValue(1, 2, 0, 0, "zzz", "*"), "p0099", 1, 101, 0},
		{reversed, vlvValue(0, 1, 0, 0, "p0042", ""), "p0042", 2, 58, 0},
		{sorted, vlvValue(0, 1, 0, 0, "", "*"), "", 0, 0, codeOffsetRange},
		{"", vlvValue(0, 1, 1, 0, "", ""), "", 0, 0, codeSortControlMissing},
	} {
		id := int64(10 + i)
		value := tt.value
		if strings.HasSuffix(value, octets("*")) {
			value = strings.TrimSuffix(value, octets("*")) // make room for the real one
			value = element(ber.Sequence, value[2:], octets(context))
		}
		r.send(message(id, op, slices.DeleteFunc([]string{tt.sort, controlOf(oidVLVRequest, true, value)}, func(s string) bool { return s == "" })...))
		done, entries := r.results(id)
		if done.code != tt.code || len(entries) != tt.n || tt.n > 0 && !strings.Contains(entries[0].body, tt.first) {
			t.Errorf("%d: %v (%s), %d entries %+v", i, done.code, done.text, len(entries), entries)
			continue
		}
		v := controlIn(t, done.controls, oidVLVResponse)
		d := ber.NewDecoder(v)
		in := d.Inside(ber.Sequence)
		position, count, result := in.Int(), in.Int(), in.Enum()
		if id, ok := in.Optional(ber.Octets); ok && tt.sort == sorted {
			context = id
		}
		if tt.code == 0 && (position != tt.position || count != 100) || code(result) != tt.code {
			t.Errorf("%d: position %d of %d, result %d", i, position, count, result)
		}
	}
}

// controlIn finds a response control's value.
func controlIn(t testing.TB, controls, oid string) string {
	t.Helper()
	d := ber.NewDecoder(controls)
	for d.More() {
		in := d.Inside(ber.Sequence)
		name := in.Octets()
		in.OptionalBool(ber.Boolean)
		v, _ := in.Optional(ber.Octets)
		if name == oid {
			return v
		}
	}
	t.Errorf("no control %s in %x", oid, controls)
	return ""
}

func TestMatchedValues(t *testing.T) {
	w := start(t)
	w.tree.put("CN=x,OU=People,DC=example,DC=test", "cn", "x", "objectClass", "person", "proxyAddresses", "SMTP:x@example.test", "proxyAddresses", "smtp:old@example.test", "proxyAddresses", "X500:/o=x")
	c := w.in(t)
	req := find("(cn=x)", "proxyAddresses", "cn")
	filters := element(ber.Sequence, element(ber.ContextOf(4), octets("proxyAddresses"), element(ber.Sequence, element(ber.Context(0), "smtp:"))))
	req.Controls = []goldap.Control{goldap.NewControlString(oidMatchedValues, true, filters)}
	r, err := c.Search(req)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"SMTP:x@example.test", "smtp:old@example.test"}
	if d := cmp.Diff(want, r.Entries[0].GetAttributeValues("proxyAddresses")); d != "" || len(r.Entries[0].Attributes) != 1 {
		t.Errorf("%s, %v", d, r.Entries[0].Attributes)
	}
}

func TestAssertionAndReadEntry(t *testing.T) {
	w := start(t)
	const bob = "CN=bob,OU=People,DC=example,DC=test"
	r := dialRaw(t, w.addr)
	r.bind()
	replace := func(value string) string {
		return element(ber.ApplicationOf(6), octets(bob), element(ber.Sequence, element(ber.Sequence, enumerated(2), element(ber.Sequence, octets("sn"), element(ber.Set, octets(value))))))
	}
	pre := controlOf(oidPreRead, true, element(ber.Sequence, octets("sn")))
	post := controlOf(oidPostRead, true, element(ber.Sequence, octets("sn"), octets("mail")))
	r.send(message(2, replace("one"), controlOf(oidAssertion, true, equal("sn", "other"))))
	r.want(2, codeAssertionFailed)
	r.send(message(3, replace("one"), controlOf(oidAssertion, true, equal("sn", "bob")), pre, post))
	x := r.want(3, codeSuccess)
	if v := controlIn(t, x.controls, oidPreRead); !strings.Contains(v, "bob") || strings.Contains(v, "one") || !strings.HasPrefix(v, "\x64") {
		t.Errorf("before: %q", v)
	}
	if v := controlIn(t, x.controls, oidPostRead); !strings.Contains(v, "one") || !strings.Contains(v, "bob@example.test") {
		t.Errorf("after: %q", v)
	}
	compare := element(ber.ApplicationOf(14), octets(bob), element(ber.Sequence, octets("sn"), octets("one")))
	r.send(message(4, compare, controlOf(oidAssertion, true, equal("sn", "other"))))
	r.want(4, codeAssertionFailed)
	r.send(message(5, compare, controlOf(oidAssertion, true, equal("sn", "one"))))
	r.want(5, codeCompareTrue)
	r.send(message(6, searchOp(bob, 0, anyObject), controlOf(oidAssertion, true, equal("sn", "other"))))
	if done, _ := r.results(6); done.code != codeAssertionFailed {
		t.Errorf("search: %v", done.code)
	}
	// Pre-read does not go with an add.
	add := element(ber.ApplicationOf(8), octets("CN=n,OU=People,DC=example,DC=test"), element(ber.Sequence, element(ber.Sequence, octets("cn"), element(ber.Set, octets("n")))))
	r.send(message(7, add, pre))
	r.want(7, codeCriticalExtension)
}

func TestControls(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	op := searchOp("DC=example,DC=test", 2, equal("cn", "ann"), "1.1")
	var many []string
	for i := range maxControls + 1 {
		many = append(many, controlOf(fmt.Sprintf("1.2.3.%d", i), false, ""))
	}
	for i, tt := range []struct {
		controls []string
		want     code
	}{
		{[]string{controlOf("1.2.3.4", false, "x")}, codeSuccess},
		{[]string{controlOf("1.2.3.4", true, "x")}, codeCriticalExtension},
		{[]string{element(ber.Sequence, octets("1.2.3.4"))}, codeSuccess}, // neither criticality nor value
		{[]string{controlOf(oidTreeDelete, true, "")}, codeCriticalExtension},
		{[]string{controlOf(oidTreeDelete, false, "")}, codeSuccess},
		{[]string{controlOf(oidPaged, true, "junk")}, codeProtocolError},
		{[]string{controlOf(oidPaged, true, "")}, codeProtocolError},
		{[]string{controlOf(oidManageDSA, true, ""), controlOf(oidManageDSA, true, "")}, codeProtocolError},
		{[]string{controlOf("1.2.840.113556.1.4.801", true, element(ber.Sequence, integer(7)))}, codeSuccess},
		{[]string{controlOf("2.16.840.1.113730.3.4.18", true, "u:bob")}, codeCriticalExtension}, // proxied authorization
		{many, codeAdminLimit},
	} {
		id := int64(10 + i)
		r.send(message(id, op, tt.controls...))
		if done, _ := r.results(id); done.code != tt.want {
			t.Errorf("%d: %v (%s), want %v", i, done.code, done.text, tt.want)
		}
	}
}

func TestExtendedDN(t *testing.T) {
	w := start(t)
	sid, _ := schema.ParseSid("S-1-5-21-1-2-3-1105")
	id := w.tree.put("CN=x,OU=People,DC=example,DC=test", "cn", "x", "objectSid", sid, "manager", "CN=ann,OU=People,DC=example,DC=test", "manager", "CN=gone,DC=example,DC=test")
	g := guidOf(id)
	c := w.in(t)
	req := find("(cn=x)", "manager")
	req.Controls = []goldap.Control{goldap.NewControlString(oidExtendedDN, true, element(ber.Sequence, integer(1)))}
	r, err := c.Search(req)
	if err != nil || len(r.Entries) != 1 {
		t.Fatal(r, err)
	}
	if want := "<GUID=" + schema.FormatGUID(g) + ">;<SID=S-1-5-21-1-2-3-1105>;CN=x,OU=People,DC=example,DC=test"; r.Entries[0].DN != want {
		t.Errorf("%s, want %s", r.Entries[0].DN, want)
	}
	got := r.Entries[0].GetAttributeValues("manager")
	if len(r.Entries[0].Attributes) != 1 || len(got) != 2 || !strings.HasSuffix(got[0], ">;CN=ann,OU=People,DC=example,DC=test") || got[1] != "CN=gone,DC=example,DC=test" {
		t.Errorf("manager: %q", got)
	}
	req.Controls = []goldap.Control{goldap.NewControlString(oidExtendedDN, true, "")}
	r, err = c.Search(req)
	if err != nil || !strings.HasPrefix(r.Entries[0].DN, "<GUID="+hex.EncodeToString(g[:])+">;<SID=0105") {
		t.Errorf("as digits: %v, %v", r.Entries[0].DN, err)
	}
}

func TestDirSync(t *testing.T) {
	w := start(t)
	w.crowd(2500)
	c := w.in(t)
	ask := func(c *goldap.Conn, flags int64, cookie []byte) (*goldap.SearchResult, *goldap.ControlDirSync, error) {
		req := find("(objectClass=*)", "cn")
		req.Controls = []goldap.Control{goldap.NewRequestControlDirSync(flags, 1<<20, cookie)}
		r, err := c.Search(req)
		if err != nil {
			return r, nil, err
		}
		return r, goldap.FindControl(r.Controls, goldap.ControlTypeDirSync).(*goldap.ControlDirSync), nil
	}
	var cookie []byte
	total, calls := 0, 0
	for more := true; more; calls++ {
		r, d, err := ask(c, 0, cookie)
		if err != nil {
			t.Fatal(err)
		}
		total += len(r.Entries)
		cookie, more = d.Cookie, d.Flags != 0
	}
	if total != 2505 || calls != 3 {
		t.Errorf("%d entries in %d answers", total, calls)
	}
	if r, d, err := ask(c, 0, cookie); err != nil || len(r.Entries) != 0 || d.Flags != 0 {
		t.Errorf("nothing changed: %v, %v", r.Entries, err)
	}
	if err := c.ModifyDN(goldap.NewModifyDNRequest("CN=p0007,OU=People,DC=example,DC=test", "CN=renamed", true, "")); err != nil {
		t.Fatal(err)
	}
	r, d, err := ask(c, 0, cookie)
	if err != nil || len(r.Entries) != 1 || !strings.HasPrefix(r.Entries[0].DN, "CN=renamed") || r.Entries[0].GetRawAttributeValue("objectGUID") == nil {
		t.Fatalf("a rename: %v, %v", r.Entries, err)
	}
	if err := c.Del(goldap.NewDelRequest("CN=renamed,OU=People,DC=example,DC=test", nil)); err != nil {
		t.Fatal(err)
	}
	if r, _, err := ask(c, 0, d.Cookie); err != nil || len(r.Entries) != 1 {
		t.Errorf("a tombstone: %v, %v", r.Entries, err)
	}
	_, _, err = ask(c, 0, []byte("nonsense"))
	wantCode(t, "nonsense", err, codeUnwilling)
	bob := dial(t, w.addr)
	if err := bob.Bind("bob", "hidden"); err != nil {
		t.Fatal(err)
	}
	_, _, err = ask(bob, 0, nil)
	wantCode(t, "without the right", err, codeInsufficientAccess)
	if _, _, err = ask(bob, objectSecurity, nil); err != nil {
		t.Errorf("with object security: %v", err)
	}
}
