package orggen

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"image/jpeg"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"waypost/internal/ldif"
)

func generator(t testing.TB, o Options, profile string) *Generator {
	t.Helper()
	var err error
	if o.Profile, err = Named(profile); err != nil {
		t.Fatal(err)
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func digest(t *testing.T, g *Generator, first int) string {
	t.Helper()
	h := sha256.New()
	w := ldif.NewWriter(h)
	if err := g.From(first, w.Write); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// The bytes are a function of the options: the ones below were made by another
// run, and must not change unless the generator does.
func TestSameBytes(t *testing.T) {
	o := Options{Seed: 1, Photos: 0.1, Broken: true, Passwords: 3}
	got := digest(t, generator(t, o, "tiny"), 0)
	if want := tinyDigest; got != want {
		t.Errorf("tiny: got %s, want %s", got, want)
	}
	if again := digest(t, generator(t, o, "tiny"), 0); again != got {
		t.Errorf("two runs differ: %s and %s", got, again)
	}
	o.Seed = 2
	if other := digest(t, generator(t, o, "tiny"), 0); other == got {
		t.Error("another seed gives the same bytes")
	}
}

const tinyDigest = "23f214108d8b83b23e471edf19a324d47ec706aecf7691d938a8454409eab88d"

func TestFromAnywhere(t *testing.T) {
	g := generator(t, Options{Seed: 7}, "tiny")
	var all []string
	if err := g.From(0, func(r *ldif.Record) error { all = append(all, r.DN); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, first := range []int{1, 2, 17, 200, len(all) - 1, len(all), len(all) + 5} {
		var rest []string
		if err := g.From(first, func(r *ldif.Record) error {
			if r.Line != first+len(rest)+1 {
				t.Fatalf("record %d calls itself %d", first+len(rest)+1, r.Line)
			}
			rest = append(rest, r.DN)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := all[min(first, len(all)):]; !slices.Equal(want, rest) {
			t.Errorf("from %d: %d records, want %d", first, len(rest), len(want))
		}
	}
	stop := errors.New("stop")
	if err := g.From(0, func(*ldif.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestWrongProfiles(t *testing.T) {
	if _, err := Named("huge"); err == nil {
		t.Error("there is a profile huge")
	}
	good, _ := Named("tiny")
	for name, change := range map[string]func(*Options){
		"few users":  func(o *Options) { o.Profile.Users = 3 },
		"few units":  func(o *Options) { o.Profile.Units = 2 },
		"few others": func(o *Options) { o.Profile.Others = 41 },
		"children":   func(o *Options) { o.Profile.Children = 40 },
		"photos":     func(o *Options) { o.Photos = 1.5 },
		"negative":   func(o *Options) { o.Profile.Folders = -1 },
	} {
		o := Options{Profile: good}
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	custom := good
	custom.Users, custom.Groups, custom.Children = 777, 99, 5
	g, err := New(Options{Profile: custom, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	check(t, g)
}

func TestOrganisations(t *testing.T) {
	for _, tt := range []struct {
		profile string
		total   int
	}{{"tiny", 440}, {"lab", 40_000}, {"production", 480_000}} {
		t.Run(tt.profile, func(t *testing.T) {
			if tt.total > 100_000 && testing.Short() {
				t.Skip("not with -short")
			}
			g := generator(t, Options{Seed: 42, Broken: true}, tt.profile)
			if got := g.p.Total(); got != tt.total || g.Len() != tt.total+brokenRecords {
				t.Errorf("got %d objects and %d records, want %d objects", got, g.Len(), tt.total)
			}
			check(t, g)
		})
	}
}

// check holds a whole organisation to the specification.
func check(t *testing.T, g *Generator) {
	t.Helper()
	seen := make(map[string]int32, g.Len()) // by DN: the record's number
	links := map[string]bool{"manager": true, "member": true, "altRecipient": true, "publicDelegates": true, "authOrig": true, "managedBy": true, "siteObject": true, "siteList": true, "pFContacts": true, "msExchDynamicDLBaseDN": true}
	unique := map[string]string{}
	take := func(key, dn string) {
		if other, ok := unique[key]; ok && !strings.Contains(dn, "CN=Broken ") {
			t.Errorf("%s is of %s and of %s", key, other, dn)
		}
		unique[key] = dn
	}
	refused := map[string]bool{}
	forward := map[string]string{}
	for _, f := range g.Planted() {
		if f.Refused {
			refused[f.DN] = true
		} else if strings.Contains(f.Kind, "cycle") || strings.Contains(f.Kind, "loop") {
			forward[f.DN] = f.Detail
		}
	}
	classes := map[string]int{}
	var sizes []int
	johns, domainUsers, flat := 0, map[string]int{}, 0
	names := map[string]int{}
	late := map[string]string{}
	kindsOf := func(r *ldif.Record) string { c := r.Get("objectClass"); return c[len(c)-1] }
	hard := map[string]bool{}
	n := 0
	err := g.From(0, func(r *ldif.Record) error {
		n++
		broken := n > g.p.Total()
		_, there := seen[r.DN]
		switch {
		case broken:
			if !refused[r.DN] {
				t.Errorf("%s is not among what must be refused", r.DN)
			}
			return nil
		case there:
			t.Errorf("two entries %s", r.DN)
		}
		seen[r.DN] = int32(n)
		kind := kindsOf(r)
		classes[kind]++
		parent := r.DN[afterRDN(r.DN):]
		if _, ok := seen[parent]; !ok && kind != "domainDNS" && !strings.Contains(parent, "CN=Configuration,") && !strings.HasPrefix(parent, "CN=System,") && !strings.HasPrefix(parent, "CN=Subnets,") {
			t.Errorf("%s comes before its parent", r.DN)
		}
		for _, a := range r.Attributes {
			for _, v := range a.Values {
				if v == "" || len(v) > maxPhoto {
					t.Errorf("%s: %s has a value of %d bytes", r.DN, a.Name, len(v))
				}
			}
			if !links[a.Name] {
				continue
			}
			for _, v := range a.Values {
				if _, ok := seen[v]; !ok && v != r.DN {
					if forward[r.DN] == v {
						late[r.DN] = v
					} else {
						t.Errorf("%s: %s leads to %s, which is not there yet", r.DN, a.Name, v)
					}
				}
			}
			if len(a.Values) > 1 {
				sorted := slices.Clone(a.Values)
				slices.Sort(sorted)
				if len(slices.Compact(sorted)) != len(a.Values) {
					t.Errorf("%s: %s has a value twice", r.DN, a.Name)
				}
			}
		}
		for _, p := range r.Get("proxyAddresses") {
			take(strings.ToLower(p), r.DN)
		}
		for _, name := range []string{"sAMAccountName", "mailNickname", "legacyExchangeDN"} {
			for _, v := range r.Get(name) {
				take(name+" "+strings.ToLower(v), r.DN)
			}
		}
		for _, mark := range []string{`\,`, `\+`, "/", `\"`, `\ ,`, `\#`, `\\`, "'", "ü", "王", "كهن", "כהן"} {
			if strings.Contains(r.DN, mark) {
				hard[mark] = true
			}
		}
		switch kind {
		case "user":
			cn := r.Get("displayName")[0]
			names[cn]++
			if strings.Contains(cn, "John") && strings.Contains(cn, "Smith") && !strings.Contains(cn, "-") {
				johns++
			}
			domainUsers[r.DN[strings.Index(r.DN, ",DC="):]]++
			if strings.Contains(r.DN, ",OU=All Staff,") && strings.Count(r.DN, "OU=") == 2 {
				flat++
			}
		case "group":
			sizes = append(sizes, len(r.Get("member")))
		case "subnet":
			if _, err := netip.ParsePrefix(r.Get("cn")[0]); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p := g.p
	for kind, want := range map[string]int{
		"user": p.Users, "publicFolder": p.Folders, "computer": p.Computers, "organizationalUnit": p.Units, "subnet": p.Subnets,
		"site": p.Sites, "domainDNS": p.Children + 1, "contact": p.Contacts,
	} {
		if classes[kind] != want {
			t.Errorf("%d of %s, want %d", classes[kind], kind, want)
		}
	}
	if got := classes["group"] + classes["msExchDynamicDistributionList"]; got != p.Groups {
		t.Errorf("%d groups, want %d", got, p.Groups)
	}
	for dn, to := range late {
		if _, ok := seen[to]; !ok {
			t.Errorf("%s leads to %s, which never comes", dn, to)
		}
	}
	for dn := range forward {
		if _, ok := seen[dn]; !ok {
			t.Errorf("planted in %s, which is not there", dn)
		}
	}
	checkGroups(t, g, sizes)
	if p.Name != "production" {
		return
	}
	if johns < 40 {
		t.Errorf("%d John Smiths", johns)
	}
	if flat != 25_000 {
		t.Errorf("%d people in the flat unit", flat)
	}
	for _, d := range []struct {
		name  string
		share float64
	}{{"na", 0.353}, {"emea", 0.177}, {"apac", 0.118}} {
		if got := float64(domainUsers[","+domainDN(d.name+".corp.test")]) / float64(p.Users); math.Abs(got-d.share) > 0.002 {
			t.Errorf("domain %s has %.3f of the people, want %.3f", d.name, got, d.share)
		}
	}
	var counts []int
	for _, n := range names {
		counts = append(counts, n)
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	top := 0
	for _, n := range counts[:len(counts)/100] {
		top += n
	}
	t.Logf("%d John Smiths; %d names, the top 1%% are %.1f%% of the people", johns, len(counts), 100*float64(top)/float64(p.Users))
	for _, mark := range []string{`\,`, `\+`, "/", `\"`, `\ ,`, `\#`, `\\`, "'", "ü", "王", "כהן"} {
		if !hard[mark] {
			t.Errorf("no name has %s", mark)
		}
	}
	var levels [8]int
	for _, l := range g.units.level {
		levels[l-1]++
	}
	if want := [8]int{10, 150, 1500, 4500, 5000, 1700, 130, 10}; levels != want {
		t.Errorf("units by level: got %v, want %v", levels, want)
	}
}

// afterRDN is where the parent's name begins.
func afterRDN(dn string) int {
	for i := 0; i < len(dn); i++ {
		switch dn[i] {
		case '\\':
			i++
		case ',':
			return i + 1
		}
	}
	return len(dn)
}

func checkGroups(t *testing.T, g *Generator, sizes []int) {
	t.Helper()
	large := len(g.groups.large) + len(g.groups.chunks)
	if g.p.Name == "production" {
		big, huge, most := 0, 0, 0
		for _, n := range sizes {
			most = max(most, n)
			if n > 1500 {
				big++
			}
			if n > 10_000 {
				huge++
			}
		}
		if big < 60 || huge != 5 || most != 120_000 {
			t.Errorf("%d groups above 1,500, %d above 10,000, the largest %d", big, huge, most)
		}
		usual := slices.Clone(sizes[large:g.groups.first[1]])
		usual = slices.DeleteFunc(usual, func(n int) bool { return n == 0 })
		slices.Sort(usual)
		// A log-normal's percentiles: 8·exp(1.6·z).
		for _, q := range []struct{ at, z float64 }{{0.5, 0}, {0.9, 1.2816}, {0.99, 2.3263}} {
			got, want := float64(usual[int(q.at*float64(len(usual)))]), 8*math.Exp(1.6*q.z)
			if math.Abs(got-want)/want > 0.03 {
				t.Errorf("percentile %v of group sizes: got %.0f, want %.0f", q.at, got, want)
			}
		}
	}
	// Everybody is in "All employees", at its third level.
	members := map[string]bool{}
	root := g.groups.first[2]
	inner := func(i int) []string { return g.group(i).Get("member") }
	byDN := map[string]int{}
	for d := range g.domains {
		byDN[g.groupDN(g.groups.first[1]+d)] = g.groups.first[1] + d
	}
	for k := range g.groups.chunks {
		byDN[g.groupDN(len(g.groups.large)+k)] = len(g.groups.large) + k
	}
	for _, d := range inner(root) {
		for _, c := range inner(byDN[d]) {
			for _, u := range inner(byDN[c]) {
				members[u] = true
			}
		}
	}
	if len(members) != g.p.Users {
		t.Errorf("%d people are employees, want %d", len(members), g.p.Users)
	}
}

func TestPhotos(t *testing.T) {
	g := generator(t, Options{Seed: 5, Photos: 1}, "lab")
	planted := map[string]int{}
	for _, f := range g.Planted() {
		planted[f.Kind]++
	}
	if planted["largest photo"] != exactMost || planted["invalid photo"] != invalid {
		t.Errorf("planted: %v", planted)
	}
	var sizes []int
	seen := map[string]bool{}
	wrong := 0
	for _, k := range g.people.person[:1500] {
		photo := g.photo(int(k))
		sizes = append(sizes, len(photo))
		if seen[photo] && len(photo) > 100 {
			t.Error("two photos are the same")
		}
		seen[photo] = true
		if _, err := jpeg.Decode(strings.NewReader(photo)); err != nil {
			wrong++
		}
		if len(photo) > maxPhoto {
			t.Errorf("a photo of %d bytes", len(photo))
		}
	}
	if wrong != invalid {
		t.Errorf("%d photos are none, want %d", wrong, invalid)
	}
	slices.Sort(sizes)
	if m := sizes[len(sizes)/2]; m < 5_500 || m > 7_000 {
		t.Errorf("median size %d", m)
	}
	if n := len(slices.Collect(func(yield func(int) bool) {
		for _, s := range sizes {
			if s == maxPhoto && !yield(s) {
				return
			}
		}
	})); n < exactMost {
		t.Errorf("%d photos of the largest size", n)
	}
}

// An LDIF reader gives back what was generated.
func TestReadBack(t *testing.T) {
	g := generator(t, Options{Seed: 9, Photos: 0.5}, "tiny")
	var b bytes.Buffer
	w := ldif.NewWriter(&b)
	if err := g.From(0, w.Write); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r := ldif.NewReader(&b, ldif.Limits{})
	if err := g.From(0, func(want *ldif.Record) error {
		got, err := r.Next()
		if err != nil {
			return err
		}
		if got.DN != want.DN || len(got.Attributes) != len(want.Attributes) {
			t.Errorf("got %q with %d attributes, want %q with %d", got.DN, len(got.Attributes), want.DN, len(want.Attributes))
		}
		for _, a := range want.Attributes {
			if !slices.Equal(got.Get(a.Name), a.Values) {
				t.Errorf("%s: %s: got %q, want %q", want.DN, a.Name, got.Get(a.Name), a.Values)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func BenchmarkLab(b *testing.B) {
	for b.Loop() {
		g := generator(b, Options{Seed: 1}, "lab")
		w := ldif.NewWriter(io.Discard)
		if err := g.From(0, w.Write); err != nil {
			b.Fatal(err)
		}
		_ = w.Flush()
	}
}
