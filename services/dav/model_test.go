package dav

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"

	"waypost/directory"
	"waypost/store"
)

// replica is a client that knows a collection by sync-collection alone.
type replica struct {
	s     *site
	rnd   *rand.Rand
	path  string
	token string
	etags map[string]string // by address
}

var responsePart = regexp.MustCompile(`(?s)<D:response><D:href>([^<]*)</D:href>(.*?)</D:response>`)

// sync asks once, in a page of some size, and forgets the answer now and then, as
// one whose connection broke. It tells whether there is more.
func (c *replica) sync() bool {
	limit := ""
	if n := c.rnd.IntN(8); n > 0 {
		limit = fmt.Sprintf("<limit><nresults>%d</nresults></limit>", n)
	}
	a := c.s.do("REPORT", c.path, syncBody(c.token, limit))
	if a.code != 207 {
		c.s.t.Errorf("sync from %q: %d %s", c.token, a.code, a.body)
		return false
	}
	if c.rnd.IntN(6) == 0 {
		return true
	}
	c.token = tokenOf(a)
	more := false
	for _, m := range responsePart.FindAllStringSubmatch(a.body, -1) {
		_, tag, found := strings.Cut(m[2], "<D:getetag>")
		switch {
		case m[1] == c.path:
			more = true
		case found:
			c.etags[m[1]], _, _ = strings.Cut(tag, "<")
		case strings.Contains(m[2], "404"):
			delete(c.etags, m[1])
		}
	}
	return more
}

// all syncs until there is no more.
func (c *replica) all() {
	for c.sync() {
	}
}

// whole is what PROPFIND says.
func (s *site) whole(path string) map[string]string {
	etags := map[string]string{}
	a := s.want(207, "PROPFIND", path, `<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>`, "Depth: 1")
	for _, m := range responsePart.FindAllStringSubmatch(a.body, -1) {
		if _, tag, found := strings.Cut(m[2], "<D:getetag>"); found {
			etags[m[1]], _, _ = strings.Cut(tag, "<")
		}
	}
	return etags
}

// TestReplicas has writers at several doors change two calendars at random while
// clients follow them by sync-collection in pages, with answers lost and asked for
// again. In the end all of them hold what there is.
func TestReplicas(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	s := newSite(t, Options{})
	s.want(201, "MKCALENDAR", calHome+"other/", "")
	paths := []string{s.standard("Calendar"), calHome + "other/"}
	var ids []store.FolderID
	folders, _, err := s.store.Folders(t.Context(), directory.System("test"), 7)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.Role == store.RoleCalendar || f.Name == "other" {
			ids = append(ids, f.ID)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		writers.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range rounds {
				path, name := paths[rnd.IntN(2)], fmt.Sprintf("n%d.ics", rnd.IntN(12))
				var code int
				switch rnd.IntN(8) {
				default:
					text := event(strings.TrimSuffix(name, ".ics"), fmt.Sprintf("DTSTART:20260301T100000Z\nSUMMARY:%d by %d", i, w))
					code = s.do("PUT", path+name, text).code
				case 4, 5:
					code = s.do("DELETE", path+name, "").code
				case 6:
					code = s.do("MOVE", path+name, "", "Destination: "+paths[rnd.IntN(2)]+name, "Overwrite: "+[]string{"T", "F"}[rnd.IntN(2)]).code
				case 7: // another door marks, or moves, items
					as, from, to := directory.System("test"), rnd.IntN(2), rnd.IntN(2)
					list, err := s.store.ObjectList(t.Context(), as, 7, ids[from], 0, 1+rnd.IntN(5))
					if err != nil || len(list) == 0 {
						continue
					}
					item := list[len(list)-1].Item
					if rnd.IntN(2) == 0 {
						_, err = s.store.Flag(t.Context(), as, 7, store.FlagChange{Folder: ids[from], Items: []store.ItemID{item}, Set: store.Flagged})
					} else {
						_, _ = s.store.Move(t.Context(), as, 7, ids[from], []store.ItemID{item}, ids[to])
					}
					if err != nil {
						t.Error(err)
					}
				}
				if code >= 500 {
					t.Errorf("code %d", code)
				}
			}
		})
	}
	var replicas []*replica
	for i := range 4 {
		c := &replica{s: s, rnd: rand.New(rand.NewPCG(seed, uint64(100+i))), path: paths[i%2], etags: map[string]string{}}
		replicas = append(replicas, c)
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.sync()
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for i, c := range replicas {
		c.all()
		if want := s.whole(c.path); !maps.Equal(c.etags, want) {
			t.Errorf("client %d of %s holds\n%v\nthere is\n%v", i, c.path, c.etags, want)
		}
	}
}
