package ldap

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"waypost/directory/tree"
	"waypost/services/ldap/ber"
)

func extendedOp(oid string, value ...string) string {
	parts := []string{element(ber.Context(0), oid)}
	for _, v := range value {
		parts = append(parts, element(ber.Context(1), v))
	}
	return element(ber.ApplicationOf(23), parts...)
}

func cancelOp(id int64) string { return extendedOp(oidCancel, element(ber.Sequence, integer(id))) }

func TestAbandonAndCancel(t *testing.T) {
	w := start(t)
	w.crowd(100)
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.slow = 20 * time.Millisecond
	all := searchOp("DC=example,DC=test", 2, anyObject, "1.1")
	r.send(message(2, all))
	r.send(message(3, element(ber.Application(16), "\x02"))) // abandon 2
	r.send(message(4, all))
	time.Sleep(50 * time.Millisecond)
	r.send(message(5, cancelOp(4)))
	canceled := false
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.id == 2 && x.tag == ber.ApplicationOf(5) || x.id == 3 {
			t.Errorf("an abandoned search has a result: %v", x.code)
		}
		if x.id == 4 && x.tag == ber.ApplicationOf(5) {
			canceled = x.code == codeCanceled
		}
		if x.id == 5 {
			if x.code != codeSuccess || !canceled {
				t.Errorf("Cancel: %v (%s), the search was canceled before: %v", x.code, x.text, canceled)
			}
			break
		}
	}
	r.send(message(6, cancelOp(4)))
	r.want(6, codeNoSuchOperation)
	r.send(message(7, cancelOp(7)))
	r.want(7, codeNoSuchOperation)
	r.send(message(8, extendedOp(oidCancel)))
	r.want(8, codeProtocolError)
	r.send(message(9, element(ber.Application(16), "junk junk junk"))) // no id: ignored
	w.tree.slow = 0
	r.send(message(10, searchOp("DC=example,DC=test", 2, equal("cn", "ann"), "1.1")))
	if done, _ := r.results(10); done.code != codeSuccess {
		t.Errorf("afterwards: %v", done.code)
	}
}

func TestMessageIDInUse(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.slow = 50 * time.Millisecond
	all := searchOp("DC=example,DC=test", 2, anyObject, "1.1")
	r.send(message(2, all) + message(2, all))
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.id == 0 {
			if x.code != codeProtocolError {
				t.Errorf("notice with %v", x.code)
			}
			break
		}
	}
}

// TestBindAbandons: RFC 4511 §4.2.1.
func TestBindAbandons(t *testing.T) {
	w := start(t)
	w.crowd(100)
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.slow = 20 * time.Millisecond
	r.send(message(2, searchOp("DC=example,DC=test", 2, anyObject, "1.1")))
	time.Sleep(30 * time.Millisecond)
	r.send(message(3, bindOp("bob", "hidden")))
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.id == 2 && x.tag == ber.ApplicationOf(5) {
			t.Errorf("the search before the bind has a result: %v", x.code)
		}
		if x.id == 3 {
			break
		}
	}
	w.tree.slow = 0
	r.send(message(4, extendedOp(oidWhoAmI)))
	if x := r.want(4, codeSuccess); x.body[len(x.body)-len(`EXAMPLE\bob`):] != `EXAMPLE\bob` {
		t.Errorf("now it is %q", x.body)
	}
}

// TestOperationsAtOnce: a slow search does not hold others up, more than
// MaxOperations wait, and all are answered.
func TestOperationsAtOnce(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxOperations = 4 })
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.slow = 100 * time.Millisecond
	r.send(message(2, searchOp("DC=example,DC=test", 2, anyObject, "1.1"))) // five entries
	r.send(message(3, searchOp("", 0, anyObject, "1.1")))
	first := int64(0)
	for {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.tag == ber.ApplicationOf(5) {
			if first == 0 {
				first = x.id
			}
			if x.id == 2 {
				break
			}
		}
	}
	if first != 3 {
		t.Error("a slow search holds others up")
	}
	w.tree.slow = 20 * time.Millisecond
	go func() {
		for i := range 50 {
			_, _ = io.WriteString(r.c, message(int64(10+i), searchOp("OU=People,DC=example,DC=test", 0, anyObject, "1.1")))
		}
	}()
	for n := 0; n < 50; {
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		if x.tag == ber.ApplicationOf(5) {
			n++
		}
	}
}

// TestWritesInOrder: they are answered, and done, in the order sent.
func TestWritesInOrder(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	const n = 200
	all := ""
	for i := range n {
		all += message(int64(10+i), element(ber.ApplicationOf(6), octets("CN=bob,OU=People,DC=example,DC=test"), element(ber.Sequence,
			element(ber.Sequence, enumerated(0), element(ber.Sequence, octets("description"), element(ber.Set, octets(fmt.Sprint(i))))))))
	}
	r.send(all)
	for i := range n {
		r.want(int64(10+i), codeSuccess)
	}
	w.tree.mu.Lock()
	defer w.tree.mu.Unlock()
	o, err := w.tree.find(mustDN("CN=bob,OU=People,DC=example,DC=test"), false)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range o.values["description"] {
		if v != fmt.Sprint(i) {
			t.Fatalf("value %d is %s", i, v)
		}
	}
}

func TestPersistentSearch(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	people := searchOp("OU=People,DC=example,DC=test", 2, equal("objectClass", "person"), "cn", "objectGUID")
	psearch := func(types int64, changesOnly bool) string {
		return controlOf(oidPersistent, true, element(ber.Sequence, integer(types), boolean(changesOnly), boolean(true)))
	}
	r.send(message(2, people, psearch(15, false)))
	for range 2 {
		if x := r.want(2, 0); x.tag != ber.ApplicationOf(4) || x.controls != "" {
			t.Errorf("first come those that are there: %x %x", x.tag, x.controls)
		}
	}
	change := func(want int64) {
		t.Helper()
		x, err := r.receive()
		if err != nil {
			t.Fatal(err)
		}
		d := ber.NewDecoder(controlIn(t, x.controls, oidEntryChange))
		in := d.Inside(ber.Sequence)
		if kind := in.Enum(); kind != want {
			t.Errorf("change %d, want %d", kind, want)
		}
	}
	const name = "CN=x,OU=People,DC=example,DC=test"
	w.tree.put(name, "cn", "x", "objectClass", "person")
	change(changeAdd)
	r.send(message(3, people, controlOf(oidNotification, true, "")))
	if x, err := r.receive(); err != nil || x.id != 3 || x.code != codeUnwilling {
		t.Errorf("notification with another filter: %+v, %v", x, err)
	}
	if _, err := w.tree.MoveEntry(t.Context(), w.accounts.people[0].who, mustDN(name), mustDN("CN=y")[0], true, nil, tree.Options{}); err != nil {
		t.Fatal(err)
	}
	change(changeMove)
	if _, err := w.tree.DeleteEntry(t.Context(), w.accounts.people[0].who, mustDN("CN=y,OU=People,DC=example,DC=test"), tree.Options{}); err != nil {
		t.Fatal(err)
	}
	change(changeDelete)
	// A connection has five at most.
	for i := range 4 {
		r.send(message(int64(20+i), people, psearch(15, true)))
	}
	r.send(message(24, people, psearch(15, true)))
	x, err := r.receive() // any of them, for they begin at once
	if err != nil || x.code != codeAdminLimit {
		t.Errorf("the sixth: %+v, %v", x, err)
	}
	one := int64(20)
	if x.id == one {
		one++
	}
	r.send(message(31, cancelOp(one)))
	r.want(one, codeCanceled)
	r.want(31, codeSuccess)
	r.send(message(32, people, psearch(15, true)) + message(33, searchOp("", 0, anyObject, "1.1")))
	if done, _ := r.results(33); done.code != codeSuccess {
		t.Errorf("beside five of them: %v", done.code)
	}
}

func TestNotification(t *testing.T) {
	w := start(t)
	r := dialRaw(t, w.addr)
	r.bind()
	r.send(message(2, searchOp("OU=People,DC=example,DC=test", 1, anyObject, "cn"), controlOf(oidNotification, true, "")))
	deadline := time.Now().Add(5 * time.Second)
	for {
		w.server.mu.Lock()
		n := w.server.conns
		w.server.mu.Unlock()
		if n == 1 || time.Now().After(deadline) {
			break
		}
	}
	time.Sleep(50 * time.Millisecond)
	w.tree.put("CN=x,OU=People,DC=example,DC=test", "cn", "x", "objectClass", "person")
	if x, err := r.receive(); err != nil || x.id != 2 || x.tag != ber.ApplicationOf(4) {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestStop(t *testing.T) {
	w := start(t)
	w.crowd(30)
	idle, busy, watch := dialRaw(t, w.addr), dialRaw(t, w.addr), dialRaw(t, w.addr)
	for _, r := range []*raw{idle, busy, watch} {
		r.bind()
	}
	w.tree.slow = 10 * time.Millisecond
	busy.send(message(2, searchOp("DC=example,DC=test", 2, anyObject, "1.1")))
	watch.send(message(2, searchOp("OU=People,DC=example,DC=test", 1, anyObject, "cn"), controlOf(oidNotification, true, "")))
	time.Sleep(50 * time.Millisecond)
	w.stop()
	idle.wantNotice("idle", codeUnavailable)
	if done, entries := busy.results(2); done.code != codeSuccess || len(entries) < 35 {
		t.Errorf("a running search: %v with %d entries", done.code, len(entries))
	}
	busy.wantNotice("busy", codeUnavailable)
	watch.want(2, codeUnavailable)
	watch.wantNotice("watching", codeUnavailable)
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("the door is still open")
	}
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	w := start(t, func(c *Config) { c.Grace = 100 * time.Millisecond })
	r := dialRaw(t, w.addr)
	r.bind()
	w.tree.slow = time.Minute
	r.send(message(2, searchOp("DC=example,DC=test", 2, anyObject, "1.1")))
	time.Sleep(20 * time.Millisecond)
	begin := time.Now()
	w.stop()
	if done, _ := r.results(2); done.code != codeUnavailable {
		t.Errorf("a cut-off search: %v", done.code)
	}
	r.wantNotice("then", codeUnavailable)
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestTimeLimit(t *testing.T) {
	w := start(t)
	w.tree.slow = 300 * time.Millisecond
	r := dialRaw(t, w.addr)
	r.bind()
	r.send(message(2, element(ber.ApplicationOf(3), octets("DC=example,DC=test"), enumerated(2), enumerated(0), integer(0), integer(1), boolean(false), anyObject, element(ber.Sequence))))
	if done, entries := r.results(2); done.code != codeTimeLimit || len(entries) == 0 || len(entries) > 4 {
		t.Errorf("%v with %d entries", done.code, len(entries))
	}
}

func TestManyClients(t *testing.T) {
	w := start(t)
	w.crowd(50)
	var all sync.WaitGroup
	for i := range 20 {
		c := w.in(t)
		all.Go(func() {
			for j := range 20 {
				r, err := c.Search(find(fmt.Sprintf("(cn=p%04d)", (i*20+j)%50), "cn"))
				if err != nil || len(r.Entries) != 1 {
					t.Errorf("%v, %v", r, err)
					return
				}
			}
		})
	}
	all.Wait()
}
