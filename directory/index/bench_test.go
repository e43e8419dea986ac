package index_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/index"
	"waypost/directory/schema"
	"waypost/directory/tree"
)

// load fills an index as directory/postgres does: batches, two at a time.
func load(tb testing.TB, o *organisation, cold index.Cold) *index.Index {
	tb.Helper()
	x := index.New(schema.Base(), cold)
	l := x.Load()
	work := make(chan []index.Object)
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for objects := range work {
				if err := l.Add(objects); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for at := 0; at < len(o.objects); at += 256 {
		work <- o.objects[at:min(at+256, len(o.objects))]
	}
	close(work)
	wait.Wait()
	if err := l.Done(o.usn); err != nil {
		tb.Fatal(err)
	}
	return x
}

var shared struct {
	sync.Once
	o               *organisation
	x               *index.Index
	mails, accounts []string
}

func organisationLoaded(tb testing.TB) (*organisation, *index.Index) {
	shared.Do(func() {
		shared.o = generate(objectCount())
		shared.x = load(tb, shared.o, nil)
		for i := range 1000 {
			id := shared.o.people[i*7919%len(shared.o.people)]
			shared.mails = append(shared.mails, value(shared.o, id, "mail"))
			shared.accounts = append(shared.accounts, value(shared.o, id, "sAMAccountName"))
		}
		if len(shared.o.objects) > 50_000 {
			shared.o.objects = nil // a real process has not everything twice
		}
	})
	return shared.o, shared.x
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkLoad tells how long it takes to load everything and how much memory
// it then is.
func BenchmarkLoad(b *testing.B) {
	o := generate(objectCount())
	var x *index.Index
	for range b.N {
		x = nil
		before := heap()
		start := time.Now()
		processor(b)
		x = load(b, o, nil)
		b.ReportMetric(time.Since(start).Seconds(), "load-s")
		b.ReportMetric(heap()-before, "MiB")
	}
	runtime.KeepAlive(x)
	b.ReportMetric(float64(len(o.objects)), "objects")
}

func filter(tb testing.TB, text string) *tree.Filter {
	tb.Helper()
	f, err := tree.ParseFilter(text)
	if err != nil {
		tb.Fatalf("filter %s: %v", text, err)
	}
	return f
}

func dn(tb testing.TB, text string) tree.DN {
	tb.Helper()
	d, err := tree.ParseDN(text)
	if err != nil {
		tb.Fatalf("name %s: %v", text, err)
	}
	return d
}

func count(tb testing.TB, x *index.Index, q *tree.Query) (n int) {
	tb.Helper()
	err := x.Search(context.Background(), q, nil, func(*tree.Entry) error { n++; return nil })
	if r, limited := err.(*tree.Refusal); err != nil && (!limited || r.Code != tree.ResultSizeLimit) {
		tb.Fatal(err)
	}
	return n
}

func value(o *organisation, id directory.ObjectID, name string) string {
	for _, a := range o.objects[id-1].Attributes {
		if a.Name == name {
			return a.Values[0]
		}
	}
	return ""
}

// processor reports the processor time of each turn of b.N, which other
// programs on the machine disturb less than the clock.
func processor(b *testing.B) {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	b.Cleanup(func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") })
}

func BenchmarkEquality(b *testing.B) {
	_, x := organisationLoaded(b)
	for _, c := range []struct {
		attribute string
		values    []string
	}{{"mail", shared.mails}, {"sAMAccountName", shared.accounts}} {
		b.Run(c.attribute, func(b *testing.B) {
			b.ReportAllocs()
			var filters []*tree.Filter
			for _, v := range c.values {
				filters = append(filters, &tree.Filter{Op: tree.Equal, Attribute: c.attribute, Value: v})
			}
			b.ResetTimer()
			processor(b)
			for i := range b.N {
				if n := count(b, x, &tree.Query{Scope: tree.Sub, Global: true, Filter: filters[i%len(filters)]}); n != 1 {
					b.Fatal(n)
				}
			}
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	_, x := organisationLoaded(b)
	for _, c := range []struct {
		name, filter string
		limit        int
	}{
		{"anr smi limit 100", "(&(anr=smi)(mailNickname=*))", 100},
		{"anr joh limit 100", "(anr=joh)", 100},
		{"anr two words limit 100", "(anr=jo smi)", 100},
		{"anr nobody", "(anr=qqx)", 100},
		{"anr smi all", "(anr=smi)", 0},
		{"cn=*smith* limit 100", "(cn=*smith*)", 100},
		{"cn=*blacksmith123* ", "(cn=*blacksmith 123*)", 0},
		{"cn=*smith* all", "(cn=*smith*)", 0},
		{"mail=*nobody*", "(mail=*no.such.body*)", 0},
		{"proxyAddresses prefix", "(proxyAddresses=smtp:john.smith*)", 100},
		{"department", "(department=department 17)", 100},
		{"disabled limit 100", "(&(objectCategory=person)(objectClass=user)(userAccountControl:1.2.840.113556.1.4.803:=2))", 100},
		{"not indexed, none", "(streetAddress=nowhere)", 0},
		{"not indexed not", "(&(objectClass=user)(!(c=DE))(objectCategory=person))", 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := &tree.Query{Scope: tree.Sub, Global: true, Filter: filter(b, c.filter), Limit: c.limit, Attributes: []string{"displayName", "mail"}}
			n := count(b, x, q)
			b.ResetTimer()
			processor(b)
			for range b.N {
				n = count(b, x, q)
			}
			b.ReportMetric(float64(n), "found")
		})
	}
}

// BenchmarkPaged walks everything in pages of 1,000, as ldapsearch -E pr=1000.
func BenchmarkPaged(b *testing.B) {
	_, x := organisationLoaded(b)
	for _, c := range []struct{ name, filter string }{{"objectClass", "(objectClass=*)"}, {"people", "(&(objectCategory=person)(objectClass=user))"}, {"mail", "(mail=*)"}} {
		b.Run(c.name, func(b *testing.B) {
			processor(b)
			for range b.N {
				q := &tree.Query{Scope: tree.Sub, Global: true, Filter: filter(b, c.filter), Limit: 1000, Attributes: []string{"displayName", "mail"}}
				total := 0
				for {
					n := 0
					_ = x.Search(context.Background(), q, nil, func(e *tree.Entry) error { q.After = e.ID; n++; return nil })
					total += n
					if n < q.Limit {
						break
					}
				}
				b.ReportMetric(float64(total), "entries")
			}
		})
	}
}

func BenchmarkMembers(b *testing.B) {
	o, x := organisationLoaded(b)
	var n int
	processor(b)
	for range b.N {
		n = len(x.Members(o.groups[1]))
	}
	b.ReportMetric(float64(n), "members")
}

func BenchmarkInChain(b *testing.B) {
	o, x := organisationLoaded(b)
	name, _ := x.Name(o.groups[1])
	q := &tree.Query{Scope: tree.Sub, Global: true, Attributes: []string{"1.1"}, Filter: &tree.Filter{Op: tree.Extensible, Attribute: "memberOf", Rule: schema.InChain, Value: name}}
	n := 0
	processor(b)
	for range b.N {
		n = count(b, x, q)
	}
	b.ReportMetric(float64(n), "found")
}

// BenchmarkRange reads one piece of the largest group.
func BenchmarkRange(b *testing.B) {
	o, x := organisationLoaded(b)
	q := &tree.Query{Attributes: []string{"member"}, Ranges: []tree.Range{{Name: "member", First: 1500, Last: 2999}}, MaxRange: 1500}
	processor(b)
	for range b.N {
		if _, err := x.Get(context.Background(), o.groups[0], q, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSorted(b *testing.B) {
	_, x := organisationLoaded(b)
	q := &tree.Query{Scope: tree.Sub, Global: true, Filter: filter(b, "(sn=smith)"), Attributes: []string{"displayName"}, Sort: []tree.SortKey{{Attribute: "displayName"}}, Limit: 100}
	processor(b)
	for range b.N {
		count(b, x, q)
	}
}

// BenchmarkApply changes a telephone number.
func BenchmarkApply(b *testing.B) {
	o := generate(objectCount())
	x := load(b, o, nil)
	b.ReportAllocs()
	b.ResetTimer()
	usn := o.usn + 10_000
	processor(b)
	for i := range b.N {
		usn++
		obj := o.objects[o.people[i*7919%len(o.people)]-1]
		obj.Attributes = append([]tree.Attribute(nil), obj.Attributes...)
		for j := range obj.Attributes {
			if obj.Attributes[j].Name == "telephoneNumber" {
				obj.Attributes[j].Values = []string{fmt.Sprintf("+49 40 %07d", i)}
			}
		}
		obj.Changed, obj.KeepLinks = usn, true
		if err := x.Apply(usn, []index.Object{obj}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
