package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"waypost/directory"
	"waypost/directory/authn"
	"waypost/directory/postgres"
	"waypost/directory/tree"
	"waypost/internal/pgtest"
	"waypost/migrations"
)

// scaleObjects is how many objects TestScale makes: WAYPOST_DIRECTORY_OBJECTS,
// by default 3,000; production has 480,000.
func scaleObjects() int {
	if n, err := strconv.Atoi(os.Getenv("WAYPOST_DIRECTORY_OBJECTS")); err == nil && n >= 1000 {
		return n
	}
	return 3000
}

// rss is the process's resident memory in MiB, 0 where it is not told.
func rss() int {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		return 0
	}
	return resident * os.Getpagesize() >> 20
}

// population gives entries in the proportions of production, parents first.
type population struct {
	r   *rand.Rand
	ous []tree.DN
}

func (p *population) next(i, total int) postgres.NewEntry {
	entry := func(rdn string, up tree.DN, lines ...string) postgres.NewEntry {
		r, err := tree.ParseRDN(rdn)
		if err != nil {
			panic(err)
		}
		var list []tree.Attribute
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			list = append(list, tree.Attribute{Name: name, Values: []string{value}})
		}
		return postgres.NewEntry{DN: up.Child(r), Attributes: list}
	}
	some := func() tree.DN { return p.ous[p.r.IntN(len(p.ous))] }
	switch f := float64(i) / float64(total); {
	case f < 0.027:
		e := entry(fmt.Sprintf("OU=Unit %d", i), p.ous[p.r.IntN(min(len(p.ous), 1+len(p.ous)/3))], "objectClass: organizationalUnit", "description: A unit")
		p.ous = append(p.ous, e.DN)
		return e
	case f < 0.61:
		given, sur := givens[p.r.IntN(len(givens))], surs[p.r.IntN(len(surs))]
		return entry(fmt.Sprintf("CN=%s %s %d", given, sur, i), some(), "objectClass: user", fmt.Sprintf("sAMAccountName: u%d", i),
			fmt.Sprintf("userPrincipalName: u%d@example.test", i), fmt.Sprintf("mail: %s.%s%d@example.test", given, sur, i), fmt.Sprintf("mailNickname: u%d", i),
			"givenName: "+given, "sn: "+sur, fmt.Sprintf("displayName: %s %s", given, sur), "title: Engineer", "department: Department "+strconv.Itoa(i%500),
			"company: Example", "physicalDeliveryOfficeName: B "+strconv.Itoa(i%300), fmt.Sprintf("telephoneNumber: +1 555 %d", i), fmt.Sprintf("mobile: +1 556 %d", i),
			"l: Town "+strconv.Itoa(i%100), "c: DE", "employeeID: "+strconv.Itoa(i), "legacyExchangeDN: /o=Example/ou=First/cn=Recipients/cn=u"+strconv.Itoa(i),
			"homeMDB: CN=default,CN=Mailbox Databases,CN=Waypost,CN=Services,CN=Configuration,DC=example,DC=test")
	case f < 0.71:
		return entry(fmt.Sprintf("CN=PC%d", i), some(), "objectClass: computer", fmt.Sprintf("sAMAccountName: PC%d$", i), fmt.Sprintf("dNSHostName: pc%d.example.test", i), "operatingSystem: Linux")
	case f < 0.80:
		return entry(fmt.Sprintf("CN=Contact %d", i), some(), "objectClass: contact", fmt.Sprintf("mail: c%d@elsewhere.test", i), fmt.Sprintf("targetAddress: SMTP:c%d@elsewhere.test", i), "displayName: Contact "+strconv.Itoa(i))
	case f < 0.89:
		return entry(fmt.Sprintf("CN=Group %d", i), some(), "objectClass: group", fmt.Sprintf("mail: g%d@example.test", i), "groupType: 8", "displayName: Group "+strconv.Itoa(i))
	}
	return entry(fmt.Sprintf("CN=Folder %d", i), some(), "objectClass: publicFolder", "displayName: Folder "+strconv.Itoa(i))
}

var (
	givens = strings.Fields("John Mary Anna Peter Li Wei Joerg Jose Renee Pierre Yuki Aiko Raj Priya Tom Sarah Emma Paul Laura Max")
	surs   = strings.Fields("Smith Johnson Mueller Schmidt Garcia Lopez Silva Santos Dubois Tanaka Suzuki Kumar Sharma Brown Taylor Wilson")
)

// TestScale imports a population in batches, opens another process on it, and
// tells how long that took and how much memory it needs. With 480,000 objects it
// wants the figures of the issue.
func TestScale(t *testing.T) {
	total := scaleObjects()
	dburl := pgtest.New(t, migrations.Directory)
	h := authn.NewHasher(cheap)
	s, _ := process(t, dburl, h)
	ctx := t.Context()
	if _, err := s.AddDomain(ctx, system, "example.test"); err != nil {
		t.Fatal(err)
	}
	root, err := tree.ParseDN("DC=example,DC=test")
	if err != nil {
		t.Fatal(err)
	}
	p := &population{r: rand.New(rand.NewPCG(1, 2)), ous: []tree.DN{root}}
	began := time.Now()
	for i := 0; i < total; {
		batch := make([]postgres.NewEntry, 0, 5000)
		for ; i < total && len(batch) < 5000; i++ {
			batch = append(batch, p.next(i, total))
		}
		added, err := s.AddEntries(ctx, system, batch, tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for k, a := range added {
			if a.Err != nil {
				t.Fatalf("%s: %v", batch[k].DN, a.Err)
			}
		}
	}
	imported := time.Since(began)
	t.Logf("import of %d objects: %v, %.0f a second, %d MiB", total, imported.Round(time.Millisecond), float64(total)/imported.Seconds(), rss())

	if total <= 20000 {
		checkSound(t, s)
	}
	// A process that begins now, for itself.
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestScaleChild$", "-test.v") //nolint:gosec // this program
	child.Env = append(os.Environ(), "WAYPOST_DIRECTORY_CHILD="+dburl, "WAYPOST_DIRECTORY_OBJECTS="+strconv.Itoa(total))
	out, err := child.CombinedOutput()
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.Contains(line, "scale_test.go") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("the other process: %v\n%s", err, out)
	}
	if total >= 480000 && imported > 3*time.Minute {
		t.Errorf("import took %v, want under 3m", imported)
	}
}

// TestScaleChild is the other process of TestScale.
func TestScaleChild(t *testing.T) {
	dburl := os.Getenv("WAYPOST_DIRECTORY_CHILD")
	if dburl == "" {
		t.Skip("part of TestScale")
	}
	total := scaleObjects()
	ctx := t.Context()
	began := time.Now()
	s, _ := process(t, dburl, authn.NewHasher(cheap))
	opened := time.Since(began)
	t.Logf("start: %v, %v of processor time, %d MiB", opened.Round(time.Millisecond), processor().Round(time.Millisecond), rss())
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("settled: %d MiB resident, %d MiB of heap", rss(), m.HeapAlloc>>20)
	if total >= 480000 && (opened > 15*time.Second || rss() > 1024) {
		t.Errorf("start %v with %d MiB: want under 15s and 1 GiB", opened, rss())
	}
	root, err := tree.ParseDN("DC=example,DC=test")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	q := &tree.Query{Base: root, Scope: tree.Sub, Filter: &tree.Filter{Op: tree.Equal, Attribute: "sAMAccountName", Value: fmt.Sprintf("u%d", total/2)}}
	began, before := time.Now(), processor()
	const many = 5000
	for range many {
		if err := s.Tree().Search(ctx, system, q, func(*tree.Entry) error { found++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("equality search: %v each, %v of processor time", time.Since(began)/many, (processor()-before)/many)
	if found != many {
		t.Errorf("found %d of %d", found, many)
	}
	began = time.Now()
	if r, err := s.Resolve(ctx, fmt.Sprintf("g%d@example.test", total*85/100)); err != nil || r.Standing != directory.List {
		t.Errorf("a group resolves to %+v, %v", r, err)
	}
	t.Logf("resolve: %v", time.Since(began))
	// Add, find and delete, as many at once as there are.
	const workers, each = 64, 12
	began, before = time.Now(), processor()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("New %d-%d", w, i)
				dn := root.Child(tree.RDN{{Attribute: "cn", Value: name}})
				if _, err := s.Tree().AddEntry(ctx, system, dn, []tree.Attribute{{Name: "objectClass", Values: []string{"user"}}}, tree.Options{}); err != nil {
					t.Error(err)
				}
				hit := 0
				one := &tree.Query{Base: root, Scope: tree.Sub, Filter: &tree.Filter{Op: tree.Equal, Attribute: "cn", Value: name}}
				if err := s.Tree().Search(ctx, system, one, func(*tree.Entry) error { hit++; return nil }); err != nil || hit != 1 {
					t.Errorf("%s is found %d times, %v", dn, hit, err)
				}
				if _, err := s.Tree().DeleteEntry(ctx, system, dn, tree.Options{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("add, find and delete, %d at once: %.0f a second, %v of processor time each", workers, workers*each/took.Seconds(), (processor()-before)/(workers*each))
}

// processor is the processor time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
